//! The daemon: a node and, on the head, the control of the cluster, in one thread.

mod composition;
mod flags;
mod logging;
mod memory;
mod options;
mod ready;
mod resources;
mod session;
mod spilling;

use std::process::ExitCode;
use std::sync::Arc;

use whipray_control::ClusterControl;
use whipray_control::core::Control;
use whipray_control::storage::RedbStorage;
use whipray_net::{Endpoint, HttpListener, Listener};
use whipray_node::core::Config;
use whipray_node::shell::gpus::Gpus;
use whipray_node::shell::{Daemon, DaemonError, EndReason, ListenerKind, Settings, gpus, machine};
use whipray_proto::NodeId;
use whipray_proto::resources::GPU;
use whipray_store::Arena;

use crate::arguments::DaemonArguments;
use crate::session_files;
use composition::Composed;
pub use options::DaemonOptions;
pub use ready::{Ready, ReadyLine};
use session::Session;

/// The label of every node that names it.
const NODE_ID_LABEL: &str = "ray.io/node-id";

/// The label of every node that has accelerators of a known type.
const ACCELERATOR_LABEL: &str = "ray.io/accelerator-type";

/// The variable by which programs see some GPUs of a machine, by index or UUID.
const VISIBLE_GPUS: &str = "CUDA_VISIBLE_DEVICES";

/// Why a daemon does not start. The text is the one line that the user reads.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the options of the daemon cannot be read: {0}")]
    Options(#[from] serde_json::Error),
    #[error(transparent)]
    Resources(#[from] resources::ResourcesError),
    #[error(transparent)]
    Spilling(#[from] spilling::SpillingError),
    #[error(
        "cannot use the folder {folder} for temporary files: {error}; choose another one with --temp-dir"
    )]
    TempDir {
        folder: String,
        error: std::io::Error,
    },
    #[error("cannot write {path}: {error}")]
    SessionFile { path: String, error: std::io::Error },
    #[error(
        "port {port} of {ip} is taken; stop the process that listens there, or choose another --port"
    )]
    PortTaken { ip: String, port: u16 },
    #[error(
        "port {port} of {ip} is taken; stop the process that listens there, or choose another \
         --metrics-export-port"
    )]
    MetricsPortTaken { ip: String, port: u16 },
    #[error("cannot listen on {address}: {error}")]
    Listen {
        address: String,
        error: std::io::Error,
    },
    #[error("{0:?} is no IP address of this machine")]
    NodeIp(String),
    #[error(
        "cannot map {bytes} bytes for the object store: {error}; choose a smaller object_store_memory"
    )]
    Arena { bytes: u64, error: std::io::Error },
    #[error(transparent)]
    Loop(#[from] DaemonError),
    #[error("the variable {name} has no value that makes sense: {text:?}")]
    Variable { name: &'static str, text: String },
    #[error("the system is out of something: {0}")]
    System(std::io::Error),
}

/// Runs a daemon until it is asked to end, or its driver goes.
pub fn main(arguments: &DaemonArguments) -> ExitCode {
    // The daemon outlives the terminal, and signals of the terminal are not for it. It fails where
    // the process leads a group already, which is as good.
    let _ = rustix::process::setsid();
    let mut ready = match Ready::inherit(arguments.ready_fd) {
        Ok(ready) => ready,
        Err(error) => {
            eprintln!("whipray: --ready-fd: {error}");
            return ExitCode::FAILURE;
        }
    };
    let started = start(arguments);
    let (daemon, session) = match started {
        Ok((daemon, session, line)) => {
            ready.say(&line);
            (daemon, session)
        }
        Err(error) => {
            ready.say(&ReadyLine::Failed {
                error: error.to_string(),
            });
            return ExitCode::FAILURE;
        }
    };
    drop(ready);
    let outcome = daemon.run();
    session.end();
    match outcome {
        Ok(reason) => {
            tracing::info!(?reason, "daemon ends");
            match reason {
                // Whoever waits for the driver's processes to be gone should not wait for a disk
                // that keeps the state of a cluster which nobody can come back to.
                EndReason::DriverGone => std::process::exit(0),
                EndReason::Terminated | EndReason::Asked(_) => ExitCode::SUCCESS,
            }
        }
        Err(error) => {
            tracing::error!(%error, "daemon ends");
            ExitCode::FAILURE
        }
    }
}

type Started = (Daemon<Composed<RedbStorage>>, Session, ReadyLine);

fn start(arguments: &DaemonArguments) -> Result<Started, StartError> {
    let options: DaemonOptions = serde_json::from_str(&arguments.options_json)?;
    let lifeline = arguments
        .lifeline_fd
        .map(ready::inherit)
        .transpose()
        .map_err(StartError::System)?;
    let (memory_settings, memory) = memory::of_environment()?;
    let child_file_limit = machine::raise_file_limit();
    let node_ip = options
        .node_ip
        .clone()
        .unwrap_or_else(|| "127.0.0.1".to_owned());
    let store_bytes = resources::object_store_bytes(&options)?;
    let gpus = match options.num_gpus {
        Some(0.0) => Gpus::default(),
        _ => gpus::detect(&gpus::Machine, std::env::var(VISIBLE_GPUS).ok().as_deref()),
    };
    let total = resources::node_resources(&options, &node_ip, store_bytes, &gpus)?;

    let flags = flags::Flags::new(&options.system_config);
    let spilling = spilling::settings(&flags)?;

    let tcp = options
        .port
        .map(|port| listen_tcp(&node_ip, port))
        .transpose()?;
    let metrics_listener = options
        .metrics_export_port
        .map(|port| listen_for_metrics(&node_ip, port))
        .transpose()?;
    let session = Session::create(&options)?;
    logging::start(&session.log_directory(), options.is_detached);
    let spill_sites = spilling::sites(&options, &flags, session.temp_directory(), session.name())?;
    let endpoint = Endpoint::Unix(format!("whipray-{}/node", session.name()));
    let local = Listener::bind(&endpoint).map_err(|error| StartError::Listen {
        address: endpoint.to_string(),
        error,
    })?;
    let arena = Arena::create(store_bytes)
        .map(Arc::new)
        .map_err(|error| StartError::Arena {
            bytes: store_bytes,
            error,
        })?;

    let cluster_address = tcp
        .as_ref()
        .map_or_else(|| endpoint.to_string(), |(_, address)| address.to_string());
    let node = NodeId::random();
    let mut labels = options.labels.clone();
    labels.insert(NODE_ID_LABEL.to_owned(), node.to_hex());
    if let (true, Some(kind)) = (total.units(GPU) > 0, &gpus.accelerator_type) {
        labels.insert(ACCELERATOR_LABEL.to_owned(), kind.clone());
    }
    let mut environment = options.environment.clone();
    if let Some(visible) = gpus.visible {
        environment
            .entry(VISIBLE_GPUS.to_owned())
            .or_insert(visible);
    }
    let config = Config {
        node,
        node_ip: node_ip.clone(),
        hostname: machine::hostname(),
        endpoint: endpoint.to_string(),
        node_endpoint: tcp.as_ref().map_or_else(String::new, |(_, address)| {
            Endpoint::Tcp(*address).to_string()
        }),
        session_directory: session.directory().display().to_string(),
        session_name: session.name().to_owned(),
        cluster_address: cluster_address.clone(),
        resources: total,
        arena_bytes: store_bytes,
        labels,
        spilling,
        is_head: true,
        memory: memory_settings,
    };
    let storage =
        RedbStorage::open(&session.directory().join("control.redb")).map_err(StartError::System)?;
    let control = Control::new(env!("CARGO_PKG_VERSION"), cluster_address.clone());
    let control = Composed(ClusterControl::new(control, storage));
    let line = ReadyLine::Ready {
        endpoint: endpoint.to_string(),
        token: session.token().to_owned(),
        node_ip: node_ip.clone(),
        session_directory: session.directory().display().to_string(),
        cluster_address: cluster_address.clone(),
    };
    let tcp_address = tcp.as_ref().map(|(_, address)| *address);
    let mut listeners = vec![(local, ListenerKind::Local)];
    listeners.extend(tcp.map(|(listener, _)| (listener, ListenerKind::Tcp)));
    let settings = Settings {
        config,
        token: session.token().to_owned(),
        listeners,
        arena,
        spill_sites,
        python: python(&options),
        environment,
        working_directory: session.directory().to_owned(),
        child_file_limit,
        log_directory: session.log_directory(),
        lifeline,
        memory: Box::new(memory),
        metrics_listener,
        metrics_discovery_file: session.directory().join(session_files::METRICS_FILE),
    };
    let daemon = Daemon::new(settings, control)?;
    session.publish(
        &endpoint.to_string(),
        tcp_address,
        &cluster_address,
        &node_ip,
    )?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %endpoint, "daemon is ready");
    Ok((daemon, session, line))
}

fn listen_tcp(ip: &str, port: u16) -> Result<(Listener, std::net::SocketAddr), StartError> {
    let ip: std::net::IpAddr = ip.parse().map_err(|_| StartError::NodeIp(ip.to_owned()))?;
    let address = std::net::SocketAddr::new(ip, port);
    let bound = Listener::bind(&Endpoint::Tcp(address))
        .and_then(|listener| Ok((listener.tcp_address()?, listener)));
    match bound {
        Ok((address, listener)) => Ok((listener, address)),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(StartError::PortTaken {
            ip: ip.to_string(),
            port,
        }),
        Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable => {
            Err(StartError::NodeIp(ip.to_string()))
        }
        Err(error) => Err(StartError::Listen {
            address: address.to_string(),
            error,
        }),
    }
}

fn listen_for_metrics(node_ip: &str, port: u16) -> Result<HttpListener, StartError> {
    let ip: std::net::IpAddr = node_ip
        .parse()
        .map_err(|_| StartError::NodeIp(node_ip.to_owned()))?;
    HttpListener::bind(ip, port).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => StartError::MetricsPortTaken {
            ip: ip.to_string(),
            port,
        },
        std::io::ErrorKind::AddrNotAvailable => StartError::NodeIp(ip.to_string()),
        _ => StartError::Listen {
            address: format!("{ip}:{port}"),
            error,
        },
    })
}

/// The Python that runs the workers: the one asked for, else the one of whoever runs this command.
fn python(options: &DaemonOptions) -> String {
    let of_caller = || {
        std::env::var("WHIPRAY_PYTHON")
            .ok()
            .filter(|path| !path.is_empty())
    };
    options
        .python
        .clone()
        .or_else(of_caller)
        .unwrap_or_else(|| "python3".to_owned())
}
