//! Whether, where and how objects are written to disk when the arena is full.

use std::path::{Path, PathBuf};

use serde_json::Value;
use whipray_node::shell::SpillSites;
use whipray_store::core::SpillSettings;

use super::DaemonOptions;
use super::flags::{FlagError, Flags};

/// How full a file system may be until objects are not spilled to it any more.
const FULL_SHARE: f64 = 0.95;

/// Why objects cannot be spilled as asked. The text is what the user reads.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SpillingError {
    #[error(transparent)]
    Flag(#[from] FlagError),
    #[error("object_spilling_config is no JSON with a type and params: {0}")]
    Malformed(String),
    #[error(
        "objects cannot be spilled to {0}: only to directories of this machine, given as paths or \
         as file:// addresses (a bucket can be mounted as one)"
    )]
    Unsupported(String),
    #[error("the directory for spilled objects must be an absolute path, and is {0:?}")]
    Relative(String),
}

/// The settings of the store; `None` where spilling is switched off.
///
/// # Errors
/// A number is none.
pub fn settings(flags: &Flags<'_>) -> Result<Option<SpillSettings>, SpillingError> {
    if flags.truth("automatic_object_spilling_enabled")? == Some(false) {
        return Ok(None);
    }
    let mut settings = SpillSettings::default();
    if let Some(bytes) = flags.number("min_spilling_size")? {
        settings.file_bytes = (bytes as u64).max(1);
    }
    if let Some(count) = flags.number("max_fused_object_count")? {
        settings.file_objects = (count as usize).max(1);
    }
    if let Some(count) = flags.number("max_io_workers")? {
        settings.jobs = (count as usize).clamp(1, 64);
    }
    Ok(Some(settings))
}

/// The directories to spill to; that of the sessions where nothing was said.
///
/// # Errors
/// What was said names no directories.
pub fn sites(
    options: &DaemonOptions,
    flags: &Flags<'_>,
    temp_directory: &Path,
    session_name: &str,
) -> Result<SpillSites, SpillingError> {
    let directories = match &options.object_spilling_directory {
        Some(directory) => vec![directory_of(directory)?],
        None => match flags.text("object_spilling_config") {
            Some(text) => configured(&text)?,
            None => match flags.text("object_spilling_directory") {
                Some(directory) => vec![directory_of(&directory)?],
                None => vec![temp_directory.to_owned()],
            },
        },
    };
    let full_share = flags.number("local_fs_capacity_threshold")?;
    Ok(SpillSites {
        directories,
        full_share: full_share.unwrap_or(FULL_SHARE).min(1.0),
        session_name: session_name.to_owned(),
    })
}

/// The directories that Ray's JSON names: `{"type": "filesystem", "params": {"directory_path":
/// one or a list}}`, or with `uri` in the place of paths.
fn configured(text: &str) -> Result<Vec<PathBuf>, SpillingError> {
    let malformed = |why: &str| SpillingError::Malformed(format!("{why}: {text}"));
    let config: Value =
        serde_json::from_str(text).map_err(|error| SpillingError::Malformed(error.to_string()))?;
    let params = &config["params"];
    let places = match config["type"].as_str() {
        Some("filesystem") => &params["directory_path"],
        Some("smart_open" | "ray_storage") => &params["uri"],
        Some(other) => return Err(SpillingError::Unsupported(other.to_owned())),
        None => return Err(malformed("it has no type")),
    };
    let places: Vec<&str> = match places {
        Value::String(place) => vec![place],
        Value::Array(places) => places.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if places.is_empty() {
        return Err(malformed("it names no directory"));
    }
    places.into_iter().map(directory_of).collect()
}

fn directory_of(place: &str) -> Result<PathBuf, SpillingError> {
    let path = match place.split_once("://") {
        None => place,
        Some(("file", path)) => path,
        Some(_) => return Err(SpillingError::Unsupported(place.to_owned())),
    };
    if path.starts_with('/') {
        Ok(PathBuf::from(path))
    } else {
        Err(SpillingError::Relative(path.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn directories(config: Value) -> Result<Vec<PathBuf>, SpillingError> {
        let config = BTreeMap::from([("object_spilling_config".to_owned(), config)]);
        let options = DaemonOptions::default();
        let sites = sites(&options, &Flags::alone(&config), Path::new("/tmp/w"), "s")?;
        Ok(sites.directories)
    }

    fn paths(names: &[&str]) -> Result<Vec<PathBuf>, SpillingError> {
        Ok(names.iter().map(PathBuf::from).collect())
    }

    #[test]
    fn directories_may_be_named_in_several_ways() {
        assert_eq!(directories(Value::Null), paths(&["/tmp/w"]));
        let one = r#"{"type": "filesystem", "params": {"directory_path": "/a"}}"#;
        assert_eq!(directories(Value::from(one)), paths(&["/a"]));
        let two = serde_json::json!(
            {"type": "filesystem", "params": {"directory_path": ["/a", "file:///b"]}}
        );
        assert_eq!(directories(two), paths(&["/a", "/b"]));
    }

    #[test]
    fn what_is_no_directory_is_refused() {
        let bucket = r#"{"type": "smart_open", "params": {"uri": "s3://bucket/path"}}"#;
        assert_eq!(
            directories(Value::from(bucket)),
            Err(SpillingError::Unsupported("s3://bucket/path".to_owned()))
        );
        for text in ["{", "{}", r#"{"type": "filesystem"}"#] {
            let outcome = directories(Value::from(text));
            assert!(
                matches!(outcome, Err(SpillingError::Malformed(_))),
                "{outcome:?}"
            );
        }
        let relative = r#"{"type": "filesystem", "params": {"directory_path": "a"}}"#;
        assert!(matches!(
            directories(Value::from(relative)),
            Err(SpillingError::Relative(_))
        ));
    }

    #[test]
    fn spilling_can_be_switched_off() -> Result<(), SpillingError> {
        let config = BTreeMap::from([(
            "automatic_object_spilling_enabled".to_owned(),
            Value::from(false),
        )]);
        assert_eq!(settings(&Flags::alone(&config))?, None);
        let none = BTreeMap::new();
        assert_eq!(
            settings(&Flags::alone(&none))?,
            Some(SpillSettings::default())
        );
        Ok(())
    }
}
