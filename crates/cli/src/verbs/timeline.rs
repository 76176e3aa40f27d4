//! `whipray timeline`

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use whipray_diagnosis::timeline;

use super::VerbError;
use crate::arguments::TimelineArguments;
use crate::tool::{self, ToolError};

/// Writes what has run to a new file.
pub fn run(arguments: &TimelineArguments) -> Result<(), VerbError> {
    let mut tool = tool::find(arguments.address.as_deref(), tool::Which::Any)?;
    let events =
        timeline(&mut tool).ok_or(ToolError::Unexpected("no answer about what has run"))?;
    let path = new_path();
    let written = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(events.as_bytes()));
    let path = path.display().to_string();
    if let Err(error) = written {
        return Err(VerbError::Write { path, error });
    }
    println!("Trace file written to {path}.");
    println!("Open it in chrome://tracing, or in Perfetto.");
    Ok(())
}

fn new_path() -> PathBuf {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let milliseconds = since.map_or(0, |since| since.as_millis());
    std::env::temp_dir().join(format!("ray-timeline-{milliseconds}.json"))
}
