//! The configuration of an autoscaled cluster, in the form of Ray's cluster launcher.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use whipray_proto::Resources;
use whipray_proto::messages::scaling::NODE_TYPE_LABEL;
use whipray_sched::labels::Labels;

/// The type of the provider that starts nodes as processes of this machine.
pub const PROCESSES: &str = "fake_multinode";

/// The largest amount of a resource, so that sums stay exact.
const MOST: f64 = 1e14;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the autoscaling configuration {path}: {error}")]
    Read {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("the autoscaling configuration is not as it should be: {0}")]
    Syntax(#[from] serde_yaml_ng::Error),
    #[error(
        "provider.type of the autoscaling configuration is {0:?}, which is not there (yet): \
         fake_multinode starts nodes as processes of this machine"
    )]
    Provider(String),
    #[error("head_node_type {0:?} is none of the available_node_types: {1}")]
    HeadType(String, String),
    #[error("available_node_types.{node_type}.{key}: {what}")]
    NodeType {
        node_type: String,
        key: &'static str,
        what: String,
    },
    #[error("{key} must be a number from 0, and is {value}")]
    Number { key: &'static str, value: f64 },
    #[error(
        "the min_workers of all node types are {sum} together, and max_workers is {max_workers}: \
         raise max_workers, or lower some min_workers"
    )]
    TooMany { sum: u64, max_workers: u32 },
}

/// A kind of node that can be started.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeType {
    pub name: String,
    pub resources: Resources,
    /// With the one that names the type.
    pub labels: Labels,
    pub min_workers: u32,
    pub max_workers: u32,
    /// In place of that of the whole cluster.
    pub idle_timeout: Option<Duration>,
    /// Of several types that would do, the highest is taken.
    pub priority: i64,
}

/// What the user wants the cluster to be.
#[derive(Clone, Debug, PartialEq)]
pub struct ScalingConfig {
    pub cluster_name: String,
    /// Nodes besides the head's that may be there at the same time.
    pub max_workers: u32,
    /// How many nodes of a type may be started at the same time, by how many run; a few always.
    pub upscaling_speed: f64,
    pub idle_timeout: Duration,
    pub provider_type: String,
    /// In the order of their names.
    pub types: Vec<NodeType>,
    pub head_type: String,
}

/// Keys of Ray's cluster launcher for whoever sets machines up: they mean nothing for processes.
const OF_LAUNCHER: &[&str] = &[
    "auth",
    "cluster_synced_files",
    "docker",
    "file_mounts",
    "file_mounts_sync_continuously",
    "head_setup_commands",
    "head_start_ray_commands",
    "initialization_commands",
    "metadata",
    "no_restart",
    "rsync_exclude",
    "rsync_filter",
    "setup_commands",
    "worker_setup_commands",
    "worker_start_ray_commands",
];

/// The same of a node type.
const OF_LAUNCHER_IN_TYPE: &[&str] =
    &["docker", "initialization_commands", "worker_setup_commands"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default = "default_name")]
    cluster_name: String,
    #[serde(default = "default_max_workers")]
    max_workers: u32,
    #[serde(default = "default_speed")]
    upscaling_speed: f64,
    #[serde(default = "default_idle_minutes")]
    idle_timeout_minutes: f64,
    provider: serde_yaml_ng::Mapping,
    available_node_types: BTreeMap<String, serde_yaml_ng::Mapping>,
    head_node_type: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenType {
    #[serde(default)]
    resources: BTreeMap<String, f64>,
    #[serde(default)]
    labels: Labels,
    #[serde(default)]
    min_workers: u32,
    max_workers: Option<u32>,
    idle_timeout_s: Option<f64>,
    #[serde(default)]
    priority: i64,
    #[serde(default, rename = "node_config")]
    _node_config: serde_yaml_ng::Value,
}

fn default_name() -> String {
    "default".to_owned()
}

fn default_max_workers() -> u32 {
    2
}

fn default_speed() -> f64 {
    1.0
}

fn default_idle_minutes() -> f64 {
    5.0
}

impl ScalingConfig {
    /// Reads a file; JSON is YAML, too.
    ///
    /// # Errors
    /// It cannot be read, or something in it makes no sense.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Read {
            path: path.to_owned(),
            error,
        })?;
        Self::parse(&text)
    }

    /// Reads the text of a configuration.
    ///
    /// # Errors
    /// Something in it makes no sense.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut keys: serde_yaml_ng::Mapping = serde_yaml_ng::from_str(text)?;
        for key in OF_LAUNCHER {
            keys.remove(*key);
        }
        let written: Written = serde_yaml_ng::from_value(keys.into())?;
        let provider_type = written.provider.get("type").and_then(|it| it.as_str());
        let provider_type = provider_type.unwrap_or_default().to_owned();
        if provider_type != PROCESSES {
            return Err(ConfigError::Provider(provider_type));
        }
        let head_type = written.head_node_type;
        if !written.available_node_types.contains_key(&head_type) {
            let names: Vec<&String> = written.available_node_types.keys().collect();
            return Err(ConfigError::HeadType(head_type, format!("{names:?}")));
        }
        let mut types = Vec::new();
        for (name, keys) in written.available_node_types {
            let most = match name == head_type {
                true => 0,
                false => written.max_workers,
            };
            types.push(node_type(name, keys, most)?);
        }
        let sum: u64 = types.iter().map(|it| u64::from(it.min_workers)).sum();
        if sum > u64::from(written.max_workers) {
            let max_workers = written.max_workers;
            return Err(ConfigError::TooMany { sum, max_workers });
        }
        let minutes = number("idle_timeout_minutes", written.idle_timeout_minutes)?;
        Ok(Self {
            cluster_name: written.cluster_name,
            max_workers: written.max_workers,
            upscaling_speed: number("upscaling_speed", written.upscaling_speed)?,
            idle_timeout: Duration::from_secs_f64(minutes * 60.0),
            provider_type,
            types,
            head_type,
        })
    }

    /// Gives all types that say nothing of a resource this much of it: what a machine has anyway.
    pub fn fill_resources(&mut self, defaults: &Resources) {
        for node_type in &mut self.types {
            for (name, units) in &defaults.amounts {
                let amounts = &mut node_type.resources.amounts;
                amounts.entry(name.clone()).or_insert(*units);
            }
        }
    }
}

fn number(key: &'static str, value: f64) -> Result<f64, ConfigError> {
    match value.is_finite() && (0.0..=1e9).contains(&value) {
        true => Ok(value),
        false => Err(ConfigError::Number { key, value }),
    }
}

fn node_type(
    name: String,
    mut keys: serde_yaml_ng::Mapping,
    default_most: u32,
) -> Result<NodeType, ConfigError> {
    let wrong = |key, what: String| ConfigError::NodeType {
        node_type: name.clone(),
        key,
        what,
    };
    for key in OF_LAUNCHER_IN_TYPE {
        keys.remove(*key);
    }
    let written: WrittenType = serde_yaml_ng::from_value(keys.into())
        .map_err(|error| wrong("(its keys)", error.to_string()))?;
    let max_workers = written.max_workers.unwrap_or(default_most);
    if written.min_workers > max_workers {
        let what = format!(
            "{} is more than its max_workers, {max_workers}",
            written.min_workers
        );
        return Err(wrong("min_workers", what));
    }
    let mut resources = Resources::none();
    for (resource, amount) in &written.resources {
        if !amount.is_finite() || !(0.0..=MOST).contains(amount) {
            let what = format!("{resource} must be a number from 0, and is {amount}");
            return Err(wrong("resources", what));
        }
        resources = resources.with(resource, *amount);
    }
    let idle_timeout = match written.idle_timeout_s {
        Some(seconds) => {
            let seconds = number("idle_timeout_s", seconds)
                .map_err(|error| wrong("idle_timeout_s", error.to_string()))?;
            Some(Duration::from_secs_f64(seconds))
        }
        None => None,
    };
    let mut labels = written.labels;
    labels.insert(NODE_TYPE_LABEL.to_owned(), name.clone());
    Ok(NodeType {
        resources,
        labels,
        min_workers: written.min_workers,
        max_workers,
        idle_timeout,
        priority: written.priority,
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use whipray_proto::resources::{CPU, GPU};

    const GOOD: &str = "
cluster_name: test
max_workers: 5
idle_timeout_minutes: 0.05
provider: {type: fake_multinode, head_node_id: x}
auth: {ssh_user: me}
available_node_types:
  head: {resources: {CPU: 2}, node_config: {}}
  gpu:
    resources: {CPU: 4, GPU: 1}
    labels: {zone: a}
    node_config: {anything: 1}
    min_workers: 1
  cpu: {resources: {CPU: 8}, max_workers: 3, idle_timeout_s: 7, priority: 2}
head_node_type: head
";

    fn failure(from: &str, to: &str) -> String {
        let parsed = ScalingConfig::parse(&GOOD.replace(from, to));
        parsed.err().map_or_else(String::new, |it| it.to_string())
    }

    #[test]
    fn what_is_not_said_has_rays_defaults() -> Result<(), ConfigError> {
        let config = ScalingConfig::parse(GOOD)?;
        assert_eq!(config.idle_timeout, Duration::from_secs(3));
        assert_eq!(config.upscaling_speed, 1.0);
        let [cpu, gpu, head] = &config.types[..] else {
            return Err(ConfigError::Provider("three types".to_owned()));
        };
        assert_eq!((cpu.min_workers, cpu.max_workers, cpu.priority), (0, 3, 2));
        assert_eq!(cpu.idle_timeout, Some(Duration::from_secs(7)));
        assert_eq!((gpu.min_workers, gpu.max_workers), (1, 5));
        assert_eq!(gpu.resources.amount(GPU), 1.0);
        assert_eq!(gpu.labels.get("zone").map(String::as_str), Some("a"));
        let name = gpu.labels.get(NODE_TYPE_LABEL);
        assert_eq!(name.map(String::as_str), Some("gpu"));
        assert_eq!((head.max_workers, head.resources.amount(CPU)), (0, 2.0));
        Ok(())
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let cases = [
            ("fake_multinode", "aws", "\"aws\", which is not there"),
            (
                "head_node_type: head",
                "head_node_type: x",
                "\"x\" is none of",
            ),
            (
                "min_workers: 1",
                "min_workers: 6",
                "more than its max_workers, 5",
            ),
            (
                "max_workers: 5",
                "max_workers: 0",
                "more than its max_workers, 0",
            ),
            ("GPU: 1", "GPU: -1", "gpu.resources: GPU must be"),
            ("GPU: 1", "GPU: many", "gpu.(its keys)"),
            (
                "minutes: 0.05",
                "minutes: -1",
                "idle_timeout_minutes must be",
            ),
            (
                "cluster_name",
                "cluster_nmae",
                "unknown field `cluster_nmae`",
            ),
            ("min_workers", "min_wrokers", "unknown field `min_wrokers`"),
        ];
        for (from, to, expected) in cases {
            let text = failure(from, to);
            assert!(text.contains(expected), "{to}: {text}");
        }
        let text = failure(
            "    min_workers: 1",
            "    min_workers: 3\n  more: {min_workers: 3}",
        );
        assert!(text.contains("6 together, and max_workers is 5"), "{text}");
    }

    #[test]
    fn what_a_machine_has_anyway_is_filled_in() -> Result<(), ConfigError> {
        let mut config = ScalingConfig::parse(GOOD)?;
        config.fill_resources(&Resources::none().with("memory", 9.0).with(CPU, 100.0));
        assert_eq!(config.types[0].resources.amount("memory"), 9.0);
        assert_eq!(config.types[0].resources.amount(CPU), 8.0);
        Ok(())
    }
}
