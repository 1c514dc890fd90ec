//! The `certs-gen` program: reads the arguments, the clock and the system's random numbers, and
//! leaves the rest to the library.

mod cli;

use std::process::ExitCode;
use std::time::SystemTime;

use clap::Parser;
use ring::rand::{SecureRandom, SystemRandom};

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    #[expect(clippy::disallowed_methods, reason = "the shell that reads the real clock")]
    let now = SystemTime::now();
    let system = SystemRandom::new();
    let mut random = |bytes: &mut [u8]| {
        system.fill(bytes).expect("a system without random numbers can make no key, and nothing is begun yet");
    };
    let mut output = std::io::stdout().lock();
    match cli.run(now, &mut random, &mut output) {
        Ok(answer) => answer.into(),
        Err(error) => {
            eprintln!("certs-gen: {error:#}");
            ExitCode::FAILURE
        }
    }
}
