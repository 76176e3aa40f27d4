//! The autoscaler of a head, and what nodes are called that one has started.

use std::io;
use std::path::PathBuf;

use whipray_autoscaler::config::{ConfigError, ScalingConfig};
use whipray_autoscaler::provider::processes::{self, Processes};
use whipray_autoscaler::shell::{Autoscaler, Settings};
use whipray_net::{Endpoint, EndpointError};
use whipray_node::shell::machine;
use whipray_proto::Resources;
use whipray_proto::resources::{MEMORY, OBJECT_STORE_MEMORY};

use super::{DaemonOptions, Ground, ReadyLine, python};
use crate::session_files;

/// What a provider calls the machine that a daemon is on.
const INSTANCE: &str = "RAY_CLOUD_INSTANCE_ID";

/// Of which node type the machine is that a daemon is on.
const NODE_TYPE: &str = "RAY_NODE_TYPE_NAME";

/// The object store of a node whose type says nothing of it: several of them are on one machine.
const STORE_BYTES: f64 = 150.0 * 1024.0 * 1024.0;

/// The share of available memory that tasks and actors may ask for.
const MEMORY_SHARE: f64 = 0.7;

/// Why there is no autoscaler.
#[derive(Debug, thiserror::Error)]
pub enum AutoscalingError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("only the head starts nodes: a node that joins has no autoscaling_config")]
    NoHead,
    #[error("an autoscaled cluster needs a port (--port), by which its nodes reach the head")]
    NoPort,
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error("the autoscaler does not start: {0}")]
    System(#[from] io::Error),
}

/// Reads which nodes the head may start, and completes what a node is called.
///
/// # Errors
/// The configuration makes no sense, or is given to a node.
pub fn read(options: &mut DaemonOptions) -> Result<Option<ScalingConfig>, AutoscalingError> {
    let variable = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
    options.instance = options.instance.take().or_else(|| variable(INSTANCE));
    options.node_type = options.node_type.take().or_else(|| variable(NODE_TYPE));
    let Some(path) = &options.autoscaling_config else {
        return Ok(None);
    };
    if options.address.is_some() {
        return Err(AutoscalingError::NoHead);
    }
    if options.port.is_none() {
        return Err(AutoscalingError::NoPort);
    }
    let mut config = ScalingConfig::read(&in_home(path))?;
    let memory = (machine::available_memory() as f64 * MEMORY_SHARE).floor();
    config.fill_resources(
        &Resources::none()
            .with(MEMORY, memory)
            .with(OBJECT_STORE_MEMORY, STORE_BYTES),
    );
    options
        .node_type
        .get_or_insert_with(|| config.head_type.clone());
    Ok(Some(config))
}

fn in_home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(path),
    }
}

/// Starts the autoscaler of a head that is about to serve; `None` where nobody wants one.
///
/// # Errors
/// The system is out of something.
pub(super) fn start(
    ground: &Ground,
    line: &ReadyLine,
) -> Result<Option<Autoscaler>, AutoscalingError> {
    let (
        Some(config),
        ReadyLine::Ready {
            endpoint,
            token,
            cluster_address,
            node_ip,
            ..
        },
    ) = (&ground.scaling, line)
    else {
        return Ok(None);
    };
    let token_file = ground.session.directory().join(session_files::TOKEN_FILE);
    let options = DaemonOptions {
        address: Some(cluster_address.clone()),
        token_file: Some(token_file.display().to_string()),
        node_ip: Some(node_ip.clone()),
        port: Some(0),
        temp_dir: Some(ground.session.temp_directory().display().to_string()),
        python: Some(python(&ground.options)),
        environment: ground.options.environment.clone(),
        ..DaemonOptions::default()
    };
    let options = match serde_json::to_value(options) {
        Ok(serde_json::Value::Object(options)) => options,
        _ => serde_json::Map::new(),
    };
    let provider = Processes::new(processes::Settings {
        program: std::env::current_exe()?,
        options,
    });
    let endpoint: Endpoint = endpoint.parse()?;
    let autoscaler = Autoscaler::start(Settings {
        config: config.clone(),
        provider: Box::new(provider),
        start_wait: processes::START_WAIT,
        endpoint,
        token: token.clone(),
    })?;
    Ok(Some(autoscaler))
}
