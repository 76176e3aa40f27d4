//! What a daemon is asked to be.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The options of a daemon, as JSON on its command line. What is absent is chosen by the machine.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct DaemonOptions {
    pub num_cpus: Option<f64>,
    pub num_gpus: Option<f64>,
    /// Custom resources.
    pub resources: Option<BTreeMap<String, f64>>,
    /// In bytes.
    pub object_store_memory: Option<u64>,
    /// Logical memory for tasks and actors, in bytes.
    pub memory: Option<u64>,
    pub temp_dir: Option<String>,
    /// The Python that runs the workers.
    pub python: Option<String>,
    /// Where to listen on TCP; absent: not at all.
    pub port: Option<u16>,
    /// The head of the cluster to join, as `host:port`; absent: this is the head.
    pub address: Option<String>,
    /// Where the token of the cluster is; for a new cluster also where it is to be.
    pub token_file: Option<String>,
    pub node_ip: Option<String>,
    /// Where metrics are read; absent: at any port, once there are some.
    pub metrics_export_port: Option<u16>,
    pub labels: BTreeMap<String, String>,
    /// Variables of the environment for all workers.
    pub environment: BTreeMap<String, String>,
    /// A file that says which nodes may be started; of a head alone.
    pub autoscaling_config: Option<String>,
    /// What the provider that started the machine calls it; absent: `RAY_CLOUD_INSTANCE_ID`.
    pub instance: Option<String>,
    /// The node type of the autoscaler's configuration; absent: `RAY_NODE_TYPE_NAME`.
    pub node_type: Option<String>,
    /// Where objects go that the store has no room for.
    pub object_spilling_directory: Option<String>,
    /// Settings of the engine, by Ray's names.
    pub system_config: BTreeMap<String, serde_json::Value>,
    /// Started by `start`, to outlive whoever started it.
    pub is_detached: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_or_null_is_open() -> serde_json::Result<()> {
        let options: DaemonOptions =
            serde_json::from_str(r#"{"num_cpus": 2, "port": null, "resources": {"gold": 0.5}}"#)?;
        assert_eq!(options.num_cpus, Some(2.0));
        assert_eq!(options.port, None);
        assert_eq!(
            options
                .resources
                .and_then(|custom| custom.get("gold").copied()),
            Some(0.5)
        );
        Ok(())
    }
}
