//! `caps completions`.

use clap::{Args, CommandFactory};

/// Print completions for a shell.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  caps completions bash > /etc/bash_completion.d/caps\n  caps completions zsh > ~/.zfunc/_caps")]
pub(super) struct Completions {
    /// The shell.
    shell: clap_complete::Shell,
}

impl Completions {
    pub(super) fn run(&self) {
        clap_complete::generate(self.shell, &mut super::Cli::command(), "caps", &mut std::io::stdout());
    }
}
