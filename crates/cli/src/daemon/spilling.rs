//! Whether, where and how objects are written to disk when the arena is full.

use std::path::{Path, PathBuf};

use serde_json::Value;
use whipray_bucket::{Address, AddressError};
use whipray_node::shell::{SpillSite, SpillSites};
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
        "objects cannot be spilled with the type {0:?} of object_spilling_config: it is filesystem, \
         with directory_path, or smart_open, with uri"
    )]
    Unsupported(String),
    #[error("objects cannot be spilled to this place: {0}")]
    Address(#[from] AddressError),
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

/// The places to spill to; the directory of the sessions where nothing was said.
///
/// # Errors
/// What was said names neither directories nor buckets.
pub fn sites(
    options: &DaemonOptions,
    flags: &Flags<'_>,
    temp_directory: &Path,
    session_name: &str,
) -> Result<SpillSites, SpillingError> {
    let sites = match &options.object_spilling_directory {
        Some(directory) => vec![site_of(directory)?],
        None => match flags.text("object_spilling_config") {
            Some(text) => configured(&text)?,
            None => match flags.text("object_spilling_directory") {
                Some(directory) => vec![site_of(&directory)?],
                None => vec![SpillSite::Folder(temp_directory.to_owned())],
            },
        },
    };
    let full_share = flags.number("local_fs_capacity_threshold")?;
    Ok(SpillSites {
        sites,
        local_directory: temp_directory.to_owned(),
        full_share: full_share.unwrap_or(FULL_SHARE).min(1.0),
        session_name: session_name.to_owned(),
    })
}

/// The places that Ray's JSON names: `{"type": "filesystem", "params": {"directory_path": one or a
/// list}}`, or the type `smart_open` and `uri`. Other parameters, such as `buffer_size`, are about
/// how Ray does it.
fn configured(text: &str) -> Result<Vec<SpillSite>, SpillingError> {
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
        return Err(malformed("it names no place"));
    }
    places.into_iter().map(site_of).collect()
}

fn site_of(place: &str) -> Result<SpillSite, SpillingError> {
    let path = match place.split_once("://") {
        None => place,
        Some(("file", path)) => path,
        Some(_) => return Ok(SpillSite::Bucket(Address::parse(place)?)),
    };
    if path.starts_with('/') {
        Ok(SpillSite::Folder(PathBuf::from(path)))
    } else {
        Err(SpillingError::Relative(path.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn configured(config: Value) -> Result<Vec<SpillSite>, SpillingError> {
        let config = BTreeMap::from([("object_spilling_config".to_owned(), config)]);
        let options = DaemonOptions::default();
        let sites = sites(&options, &Flags::alone(&config), Path::new("/tmp/w"), "s")?;
        Ok(sites.sites)
    }

    fn paths(names: &[&str]) -> Result<Vec<SpillSite>, SpillingError> {
        Ok(names
            .iter()
            .map(|name| SpillSite::Folder(PathBuf::from(name)))
            .collect())
    }

    #[test]
    fn directories_may_be_named_in_several_ways() {
        assert_eq!(configured(Value::Null), paths(&["/tmp/w"]));
        let one = r#"{"type": "filesystem", "params": {"directory_path": "/a"}}"#;
        assert_eq!(configured(Value::from(one)), paths(&["/a"]));
        let two = serde_json::json!(
            {"type": "filesystem", "params": {"directory_path": ["/a", "file:///b"]}}
        );
        assert_eq!(configured(two), paths(&["/a", "/b"]));
    }

    #[test]
    fn buckets_are_named_as_addresses() -> Result<(), SpillingError> {
        let bucket = |text| Address::parse(text).map(SpillSite::Bucket);
        let one = serde_json::json!(
            {"type": "smart_open", "params": {"uri": "s3://bucket/path", "buffer_size": 1048576}}
        );
        assert_eq!(configured(one)?, [bucket("s3://bucket/path")?]);
        let several = serde_json::json!(
            {"type": "smart_open", "params": {"uri": ["gs://bucket", "file:///a"]}}
        );
        let folder = SpillSite::Folder(PathBuf::from("/a"));
        assert_eq!(configured(several)?, [bucket("gs://bucket")?, folder]);
        let options = DaemonOptions {
            object_spilling_directory: Some("az://container/path".to_owned()),
            ..DaemonOptions::default()
        };
        let none = BTreeMap::new();
        let sites = sites(&options, &Flags::alone(&none), Path::new("/tmp/w"), "s")?;
        assert_eq!(sites.sites, [bucket("az://container/path")?]);
        Ok(())
    }

    #[test]
    fn what_is_no_place_is_refused() {
        let other = r#"{"type": "smart_open", "params": {"uri": "ftp://bucket/path"}}"#;
        assert!(matches!(
            configured(Value::from(other)),
            Err(SpillingError::Address(_))
        ));
        for text in ["{", "{}", r#"{"type": "filesystem"}"#] {
            let outcome = configured(Value::from(text));
            assert!(
                matches!(outcome, Err(SpillingError::Malformed(_))),
                "{outcome:?}"
            );
        }
        let relative = r#"{"type": "filesystem", "params": {"directory_path": "a"}}"#;
        assert!(matches!(
            configured(Value::from(relative)),
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
