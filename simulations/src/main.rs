//! The `caps-sim` program.

use clap::Parser;

fn main() -> std::process::ExitCode {
    let cli = caps_simulations::Cli::parse();
    caps_node::logging::start(cli.log_level());
    match cli.run() {
        Ok(good) if good => std::process::ExitCode::SUCCESS,
        Ok(_) => std::process::ExitCode::FAILURE,
        Err(error) => {
            eprintln!("caps-sim: {error:#}");
            std::process::ExitCode::from(2)
        }
    }
}
