//! Verbs that are Python programs of the package.

use std::os::unix::process::CommandExt;
use std::process::Command;

use super::VerbError;

/// Becomes `python -m module rest`. Comes back only where that cannot be run.
pub fn become_module(module: &str, rest: &[String]) -> Result<(), VerbError> {
    let program = std::env::var("WHIPRAY_PYTHON")
        .ok()
        .filter(|path| !path.is_empty())
        .unwrap_or_else(|| "python3".to_owned());
    let error = Command::new(&program)
        .args(["-m", module])
        .args(rest)
        .exec();
    Err(VerbError::Exec { program, error })
}
