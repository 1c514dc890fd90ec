//! The `caps` program.

use clap::Parser;

// What serves people makes no mistake on purpose.
const _: () = assert!(!caps_overlay::bugs::COMPILED_IN, "the feature seeded-bugs is for builds of caps-sim alone");

fn main() -> std::process::ExitCode {
    let cli = caps_node::Cli::parse();
    caps_node::logging::start(cli.log_level());
    // One single-threaded runtime holds endpoint, connections and handlers: crossing threads costs two to four times the CPU of a call.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("caps: the system gives no event loop: {error}");
            return std::process::ExitCode::FAILURE;
        }
    };
    match runtime.block_on(cli.run()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("caps: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
