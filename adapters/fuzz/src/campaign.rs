//! All targets in turn, and the table of what was run.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use crate::targets::{ALL, Target};

/// Names the target that a process is to be.
pub(crate) const TARGET_VARIABLE: &str = "FUZZ_TARGET";

/// Runs the targets named by the arguments, or all of them, for `FUZZ_SECONDS` each, one at a time. Gives the status to exit with.
pub(crate) fn run() -> i32 {
    let seconds: u32 = env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SECONDS);
    let chosen: Vec<String> = env::args().skip(1).collect();
    println!("{:<14} {:>12} {:>8} {:>9} {:>9} {:>7}  found", "target", "executions", "per s", "branches", "features", "corpus");
    let (mut executions, mut failures) = (0, 0);
    for target in ALL.iter().filter(|target| chosen.is_empty() || chosen.iter().any(|name| name == target.name)) {
        match fuzz(target, seconds) {
            Ok(outcome) => {
                let Outcome { features, branches, corpus, .. } = outcome;
                let rate = outcome.executions / u64::from(seconds.max(1));
                let found = outcome.found.as_ref().map_or("nothing".to_owned(), |log| format!("see {}", log.display()));
                println!("{:<14} {:>12} {rate:>8} {branches:>9} {features:>9} {corpus:>7}  {found}", target.name, outcome.executions);
                executions += outcome.executions;
                failures += i32::from(outcome.found.is_some());
            }
            Err(error) => {
                println!("{:<14} cannot be run: {error}", target.name);
                failures += 1;
            }
        }
    }
    println!("{:<14} {executions:>12}", "all");
    i32::from(failures > 0)
}

/// What became of one target.
#[derive(Debug, Default)]
struct Outcome {
    executions: u64,
    /// Places between branches that were reached, and those with how often.
    branches: u64,
    features: u64,
    /// Inputs that each reach something new.
    corpus: u64,
    /// The log, which names the input, if there was one that the target fails for.
    found: Option<PathBuf>,
}

fn fuzz(target: &Target, seconds: u32) -> io::Result<Outcome> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/fuzz").join(target.name);
    let (seeds, corpus, log) = (folder.join("seeds"), folder.join("corpus"), folder.join("log"));
    fs::create_dir_all(&seeds)?;
    fs::create_dir_all(&corpus)?;
    for (number, seed) in target.seeds.iter().enumerate() {
        fs::write(seeds.join(number.to_string()), seed)?;
    }
    let mut command = Command::new(env::current_exe()?);
    command.env(TARGET_VARIABLE, target.name).args([&corpus, &seeds]);
    if target.reads_mail {
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../node/demo/mail"));
    }
    command.arg(format!("-max_total_time={seconds}"));
    command.arg(format!("-artifact_prefix={}/", folder.display())).args(["-timeout=10", "-print_final_stats=1"]);
    command.arg(format!("-max_len={}", target.size_bytes_max));
    if !target.words.is_empty() {
        let words = folder.join("words");
        fs::write(&words, target.words.iter().map(|word| dictionary_entry(word)).collect::<String>())?;
        command.arg(format!("-dict={}", words.display()));
    }
    let status = command.stderr(fs::File::create(&log)?).status()?;
    let outcome = Outcome::read(&String::from_utf8_lossy(&fs::read(&log)?));
    Ok(Outcome { found: (!status.success()).then_some(log), ..outcome })
}

impl Outcome {
    /// Reads what libFuzzer says: `#123 DONE cov: 12 ft: 34 corp: 5/678b ...`, and its statistics.
    fn read(log: &str) -> Self {
        let last = log.lines().rfind(|line| line.starts_with('#') && line.contains(" cov: ")).unwrap_or_default();
        Self {
            executions: number_after(log, "stat::number_of_executed_units:"),
            branches: number_after(last, " cov: "),
            features: number_after(last, " ft: "),
            corpus: number_after(last, " corp: "),
            found: None,
        }
    }
}

fn number_after(text: &str, label: &str) -> u64 {
    let rest = text.split_once(label).map_or("", |(_, rest)| rest.trim_start());
    rest.split(|char: char| !char.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn dictionary_entry(word: &str) -> String {
    let escaped: String = word.bytes().map(|byte| format!("\\x{byte:02x}")).collect();
    format!("\"{escaped}\"\n")
}

/// For each target.
const SECONDS: u32 = 60;
