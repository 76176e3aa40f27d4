//! The log of the daemon: `daemon.log` in the session's log folder.

use std::fs::File;
use std::path::Path;
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;

/// The variable of the environment that chooses what is logged, such as `debug`.
const LEVEL_VARIABLE: &str = "WHIPRAY_LOG";

/// Libraries that say what they send to buckets, with the signatures in it. What fails there is told
/// by whoever asked for it.
const SECRETIVE: [&str; 5] = ["object_store", "reqwest", "hyper", "hyper_util", "h2"];

/// Sends what is logged, and panics, to the file; with `all_output` also what anything writes to the
/// standard output and error of the process. A log that cannot be written is no reason not to start.
pub fn start(folder: &Path, all_output: bool) {
    let Ok(file) = File::options()
        .create(true)
        .append(true)
        .open(folder.join("daemon.log"))
    else {
        return;
    };
    if all_output {
        let _ = rustix::stdio::dup2_stdout(&file);
        let _ = rustix::stdio::dup2_stderr(&file);
    }
    let mut filter =
        EnvFilter::try_from_env(LEVEL_VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    for library in SECRETIVE {
        if let Ok(directive) = format!("{library}=off").parse::<Directive>() {
            filter = filter.add_directive(directive);
        }
    }
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(Mutex::new(file))
        .finish();
    let _ = tracing::subscriber::set_global_default(subscriber);
    std::panic::set_hook(Box::new(|info| {
        tracing::error!(panic = %info, "defect in the daemon");
    }));
}
