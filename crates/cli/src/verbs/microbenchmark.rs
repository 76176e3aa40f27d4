//! `whipray microbenchmark`

use std::os::unix::process::CommandExt;
use std::process::Command;

use super::VerbError;
use crate::arguments::MicrobenchmarkArguments;

/// Becomes the Python program that measures. Comes back only where that cannot be run.
pub fn run(arguments: &MicrobenchmarkArguments) -> Result<(), VerbError> {
    let program = std::env::var("WHIPRAY_PYTHON")
        .ok()
        .filter(|path| !path.is_empty())
        .unwrap_or_else(|| "python3".to_owned());
    let error = Command::new(&program)
        .args(["-m", "whipray._microbenchmark"])
        .args(&arguments.rest)
        .exec();
    Err(VerbError::Exec { program, error })
}
