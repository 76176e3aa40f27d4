//! The `whipray` command: the daemon, and the verbs that start, stop and look at clusters.

mod arguments;
mod daemon;
mod processes;
mod session_files;
mod tool;
mod verbs;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Verb};
use verbs::VerbError;

fn main() -> ExitCode {
    let outcome = match Arguments::parse().verb {
        Verb::Daemon(arguments) => return daemon::main(&arguments),
        Verb::Start(arguments) => verbs::start::run(&arguments),
        Verb::Stop(arguments) => verbs::stop::run(&arguments),
        Verb::Status(arguments) => verbs::status::run(&arguments),
        Verb::HealthCheck(arguments) => verbs::health_check::run(&arguments),
        Verb::DrainNode(arguments) => verbs::drain_node::run(&arguments),
        Verb::Explain(arguments) => verbs::explain::run(&arguments),
        Verb::Memory(arguments) => verbs::memory::run(&arguments),
        Verb::Timeline(arguments) => verbs::timeline::run(&arguments),
        Verb::List(arguments) => ask_state("list", arguments.rest),
        Verb::Get(arguments) => ask_state("get", arguments.rest),
        Verb::Summary(arguments) => ask_state("summary", arguments.rest),
        Verb::Logs(arguments) => ask_state("logs", arguments.rest),
        Verb::Debug(arguments) => {
            verbs::python_program::become_module("whipray._debugger.command", &arguments.rest)
        }
        Verb::Microbenchmark(arguments) => {
            verbs::python_program::become_module("whipray._microbenchmark", &arguments.rest)
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

fn ask_state(verb: &str, mut rest: Vec<String>) -> Result<(), VerbError> {
    rest.insert(0, verb.to_owned());
    verbs::python_program::become_module("whipray._state_command", &rest)
}

fn report(error: &VerbError) {
    eprintln!("whipray: {error}");
}
