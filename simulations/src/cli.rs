//! The command line of `caps-sim`.

mod assess;
mod bugs;
mod crew;
mod fidelity;
mod profiles;
mod replay;
mod run;
mod scenarios;
mod seeds;
mod shrink;
mod soak;
mod speed;
mod torture;
mod transport;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::emulator::LabCommand;

/// Runs whole deployments in a simulated world, and tells what becomes of them.
#[derive(Debug, Parser)]
#[command(name = "caps-sim", version, max_term_width = 120, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tell how a deployment will feel, before it exists.
    Assess(assess::Assess),
    /// Run a scenario under one seed or many.
    Run(run::Run),
    /// Run one seed again and tell its story.
    Replay(replay::Replay),
    /// Find the few faults that it takes to make a seed fail.
    Shrink(shrink::Shrink),
    /// Run a scenario under new seeds until the time is over.
    Soak(soak::Soak),
    /// Hunt for bugs made on purpose: is the simulation good for anything?
    Bugs(bugs::Bugs),
    /// Kill real processes while others work with them, and look whether anything was lost.
    Torture(torture::Torture),
    /// Measure the transport on lines of all kinds.
    Transport(transport::Transport),
    /// Measure how fast a simulation goes.
    Speed(speed::SpeedOf),
    /// Run a deployment's real processes over emulated lines, in network namespaces of this machine.
    Lab(LabCommand),
    /// List the library of scenarios.
    Scenarios(scenarios::Scenarios),
    /// Hold predictions against real processes over emulated lines.
    Fidelity(fidelity::Fidelity),
    /// List the link profiles, with their figures and where they come from.
    Profiles(profiles::Profiles),
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

impl Cli {
    /// What is logged if nobody says otherwise: faults, except where nodes are made to fail thousands of times.
    pub fn log_level(&self) -> &'static str {
        match &self.command {
            Command::Torture(command) if command.fails_on_purpose() => "off",
            _ => "error",
        }
    }

    /// Does what was asked for. `false`: it was done, and what was found is not good.
    pub fn run(self) -> anyhow::Result<bool> {
        match self.command {
            Command::Assess(command) => command.run(),
            Command::Run(command) => command.run(),
            Command::Replay(command) => command.run(),
            Command::Shrink(command) => command.run(),
            Command::Soak(command) => command.run(),
            Command::Bugs(command) => command.run(),
            Command::Torture(command) => command.run(),
            Command::Speed(command) => {
                command.run()?;
                Ok(true)
            }
            Command::Transport(command) => {
                command.run()?;
                Ok(true)
            }
            Command::Lab(command) => Ok(command.run()? == ExitCode::SUCCESS),
            Command::Scenarios(command) => command.run().map(|()| true),
            Command::Fidelity(command) => command.run(),
            Command::Profiles(command) => {
                command.run();
                Ok(true)
            }
            Command::Completions { shell } => {
                clap_complete::generate(shell, &mut Self::command(), "caps-sim", &mut std::io::stdout());
                Ok(true)
            }
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  caps-sim run simulations/scenarios/leader-loss.toml
  caps-sim run simulations/scenarios/mixed-faults.toml --seeds 1..200 --jobs 2
  caps-sim replay simulations/scenarios/mixed-faults.toml --seed 17 --trace story.txt
  caps-sim shrink simulations/scenarios/mixed-faults.toml --seed 17 --out small.toml
  caps-sim profiles

Exit status: 0 when everything was as it must be, 1 when a promise was broken, 2 when it could not be found out.
Each command has its own --help with examples.";
