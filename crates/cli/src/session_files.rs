//! The files by which daemons are found.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub const TOKEN_FILE: &str = "token";
pub const NODE_FILE: &str = "node.json";
/// Where Prometheus finds the metrics of the node.
pub const METRICS_FILE: &str = "prom_metrics_service_discovery.json";

/// `node.json` in the folder of a session: how to reach its daemon.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct NodeFile {
    pub endpoint: String,
    pub tcp: Option<String>,
    pub token_file: String,
    pub pid: u32,
    pub cluster_address: String,
    pub node_ip: String,
    pub session_directory: String,
    /// It was started by `start`, and does not end with a driver.
    #[serde(default)]
    pub is_detached: bool,
}

/// `current_cluster` in the default folder: what `auto` means.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct CurrentCluster {
    pub address: String,
    pub session_directory: String,
}

/// The folder that holds sessions, unless another one is asked for.
pub fn default_temp_directory() -> PathBuf {
    let base = std::env::var_os("RAY_TMPDIR").filter(|folder| !folder.is_empty());
    base.map_or_else(|| PathBuf::from("/tmp"), PathBuf::from)
        .join("whipray")
}

pub fn current_cluster_path() -> PathBuf {
    default_temp_directory().join("current_cluster")
}

pub fn read_current_cluster() -> Option<CurrentCluster> {
    read_json(&current_cluster_path())
}

pub fn read_node_file(session_directory: &Path) -> Option<NodeFile> {
    read_json(&session_directory.join(NODE_FILE))
}

/// All sessions that have a daemon, or had one that could not clean up: the current one first,
/// wherever it is, then those of the default folder.
pub fn known_sessions() -> Vec<NodeFile> {
    let current = read_current_cluster().map(|current| PathBuf::from(current.session_directory));
    let mut folders: Vec<PathBuf> = current.into_iter().collect();
    if let Ok(entries) = std::fs::read_dir(default_temp_directory()) {
        let is_session = |path: &PathBuf| {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            name.starts_with("session_") && name != "session_latest"
        };
        let mut found: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(is_session)
            .collect();
        found.sort_unstable();
        folders.extend(found);
    }
    let mut sessions: Vec<NodeFile> = Vec::new();
    for folder in folders {
        if let Some(node) = read_node_file(&folder)
            && !sessions.iter().any(|known| known.endpoint == node.endpoint)
        {
            sessions.push(node);
        }
    }
    sessions
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// Removes the traces by which a daemon is found, which could not do so itself.
pub fn forget(node: &NodeFile) {
    for name in [NODE_FILE, METRICS_FILE] {
        let _ = std::fs::remove_file(Path::new(&node.session_directory).join(name));
    }
    let _ = std::fs::remove_file(&node.token_file);
    let is_current = |current: CurrentCluster| current.session_directory == node.session_directory;
    if read_current_cluster().is_some_and(is_current) {
        let _ = std::fs::remove_file(current_cluster_path());
    }
}
