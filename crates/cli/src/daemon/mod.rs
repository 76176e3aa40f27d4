//! The daemon: a node and, on the head, the control of the cluster, in one thread.

mod autoscaling;
mod composition;
mod flags;
mod health;
mod logging;
mod memory;
mod options;
mod ready;
mod resources;
mod session;
mod spilling;
mod token;
mod waiting;

use std::collections::BTreeMap;
use std::net::ToSocketAddrs;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Rlimit;
use whipray_autoscaler::config::ScalingConfig;
use whipray_control::ClusterControl;
use whipray_control::core::Control;
use whipray_control::storage::RedbStorage;
use whipray_net::{Endpoint, HttpListener, Listener};
use whipray_node::core::Config;
use whipray_node::shell::gpus::Gpus;
use whipray_node::shell::{
    Daemon, DaemonError, EndReason, Identity, JoinError, Joined, ListenerKind, Patience, Settings,
    gpus, join_patiently, machine,
};
use whipray_proto::messages::scaling::NODE_TYPE_LABEL;
use whipray_proto::resources::GPU;
use whipray_proto::{NodeId, Resources, limits};
use whipray_store::Arena;

use crate::arguments::DaemonArguments;
use crate::session_files;
use composition::Composed;
pub use options::DaemonOptions;
pub use ready::{Ready, ReadyLine};
use session::Session;
use waiting::Waiting;

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
    #[error(transparent)]
    Flag(#[from] flags::FlagError),
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
    Token(#[from] token::TokenError),
    #[error(transparent)]
    Autoscaling(#[from] autoscaling::AutoscalingError),
    #[error(transparent)]
    Join(#[from] JoinError),
    #[error("no way leads from this machine to {address}: {error}")]
    NoWay {
        address: String,
        error: std::io::Error,
    },
    #[error("the Python of the workers, {python}, does not run: {detail}")]
    Python { python: String, detail: String },
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
    let mut ground = match Ground::prepare(arguments) {
        Ok(ground) => ground,
        Err(error) => return fail(&mut ready, &error),
    };
    let mut at_once = Patience {
        silence: Duration::ZERO,
        nobody: Duration::ZERO,
        pause: &mut |_| false,
    };
    let (daemon, line) = match ground.build(&mut at_once) {
        Ok(built) => built,
        Err(error) => {
            ground.session.discard();
            return fail(&mut ready, &error);
        }
    };
    let autoscaler = match autoscaling::start(&ground, &line) {
        Ok(autoscaler) => autoscaler,
        Err(error) => {
            ground.session.discard();
            return fail(&mut ready, &error.into());
        }
    };
    let outcome = daemon.run(Box::new(move |joined| {
        ready.say(&match joined {
            Ok(()) => line,
            Err(error) => ReadyLine::Failed { error },
        });
    }));
    if let Some(autoscaler) = autoscaler {
        autoscaler.wait_for_end();
    }
    let exit = run_on(&mut ground, outcome);
    ground.session.end();
    exit
}

fn fail(ready: &mut Ready, error: &StartError) -> ExitCode {
    ready.say(&ReadyLine::Failed {
        error: error.to_string(),
    });
    ExitCode::FAILURE
}

/// What follows the end of a daemon: one that its cluster has given up joins again, as a new node.
fn run_on(ground: &mut Ground, mut outcome: Result<EndReason, DaemonError>) -> ExitCode {
    let mut has_joined_again = false;
    loop {
        let reason = match outcome {
            Ok(reason) => reason,
            Err(error) => {
                tracing::error!(%error, "daemon ends");
                return ExitCode::FAILURE;
            }
        };
        tracing::info!(?reason, "daemon ends");
        match reason {
            // Whoever waits for the driver's processes to be gone should not wait for a disk
            // that keeps the state of a cluster which nobody can come back to.
            EndReason::DriverGone => std::process::exit(0),
            EndReason::Terminated | EndReason::Asked(_) | EndReason::Drained(_) => {
                return ExitCode::SUCCESS;
            }
            EndReason::Fenced(_) => {}
            // The way to the head may be gone again.
            EndReason::NotJoined(_) if has_joined_again => {}
            EndReason::NotJoined(_) | EndReason::HeadLost(_) => return ExitCode::FAILURE,
        }
        has_joined_again = true;
        let built = ground.waiting().and_then(|waiting| {
            ground.build(&mut Patience {
                silence: limits::REJOIN_WAIT,
                nobody: limits::HEAD_LOST,
                pause: &mut |time| waiting.pause(time),
            })
        });
        outcome = match built {
            Ok((daemon, _)) => daemon.run(Box::new(|_| ())),
            Err(error) => {
                tracing::error!(%error, "the cluster cannot be joined again");
                return ExitCode::FAILURE;
            }
        };
    }
}

/// What lasts from the start of the program to its end, over all lives of its daemon.
struct Ground {
    options: DaemonOptions,
    session: Session,
    node_ip: String,
    lifeline: Option<OwnedFd>,
    child_file_limit: Rlimit,
    gpus: Gpus,
    /// Which nodes the head may start.
    scaling: Option<ScalingConfig>,
    /// The port that the first daemon had: a later one is found there, too.
    port: Option<u16>,
}

impl Ground {
    fn prepare(arguments: &DaemonArguments) -> Result<Self, StartError> {
        let mut options: DaemonOptions = serde_json::from_str(&arguments.options_json)?;
        let scaling = autoscaling::read(&mut options)?;
        let lifeline = arguments
            .lifeline_fd
            .map(ready::inherit)
            .transpose()
            .map_err(StartError::System)?;
        let child_file_limit = machine::raise_file_limit();
        let node_ip = match (&options.node_ip, &options.address) {
            (Some(ip), _) => ip.clone(),
            (None, Some(head)) => address_towards(head)?,
            (None, None) => "127.0.0.1".to_owned(),
        };
        let gpus = match options.num_gpus {
            Some(0.0) => Gpus::default(),
            _ => gpus::detect(&gpus::Machine, std::env::var(VISIBLE_GPUS).ok().as_deref()),
        };
        let session = Session::create(&options)?;
        logging::start(&session.log_directory(), options.is_detached);
        Ok(Self {
            port: options.port,
            scaling,
            options,
            session,
            node_ip,
            lifeline,
            child_file_limit,
            gpus,
        })
    }

    /// What ends the time between two lives.
    fn waiting(&self) -> Result<Waiting, StartError> {
        Waiting::new(self.lifeline()?).map_err(StartError::System)
    }

    fn lifeline(&self) -> Result<Option<OwnedFd>, StartError> {
        let lifeline = self.lifeline.as_ref().map(OwnedFd::try_clone);
        lifeline.transpose().map_err(StartError::System)
    }

    /// A daemon that is ready to run, and what is said once it is one of its cluster. One that is to
    /// join tries so with `patience`.
    fn build(
        &mut self,
        patience: &mut Patience<'_>,
    ) -> Result<(Daemon<Composed>, ReadyLine), StartError> {
        let (memory_settings, memory) = memory::of_environment()?;
        let (options, session, node_ip) = (&self.options, &self.session, &self.node_ip);
        let store_bytes = resources::object_store_bytes(options)?;
        let total = resources::node_resources(options, node_ip, store_bytes, &self.gpus)?;
        let tcp = self
            .port
            .map(|port| listen_tcp(node_ip, port))
            .transpose()?;
        self.port = tcp.as_ref().map(|(_, address)| address.port());
        let metrics_listener = options
            .metrics_export_port
            .map(|port| listen_for_metrics(node_ip, port))
            .transpose()?;
        let tcp_address = tcp.as_ref().map(|(_, address)| *address);
        let python = python(options);
        let identity = Identity {
            node: NodeId::random(),
            token: session.token().to_owned(),
            endpoint: tcp_address
                .map_or_else(String::new, |address| Endpoint::Tcp(address).to_string()),
            python: match options.address {
                Some(_) => python_version(&python)?,
                // The template of the workers says it.
                None => String::new(),
            },
        };
        let joined = options
            .address
            .as_deref()
            .map(|head| join_patiently(head, &identity, patience))
            .transpose()?;

        let system_config = system_config(options, joined.as_ref())?;
        let flags = flags::Flags::new(&system_config);
        let spilling = spilling::settings(&flags)?;
        let spill_sites =
            spilling::sites(options, &flags, session.temp_directory(), session.name())?;
        let endpoint = Endpoint::Unix(format!("whipray-{}/node", session.name()));
        let local = Listener::bind(&endpoint).map_err(|error| StartError::Listen {
            address: endpoint.to_string(),
            error,
        })?;
        let arena =
            Arena::create(store_bytes)
                .map(Arc::new)
                .map_err(|error| StartError::Arena {
                    bytes: store_bytes,
                    error,
                })?;
        let cluster_address = match (&joined, tcp_address) {
            (Some(joined), _) => joined.welcome.cluster_address.clone(),
            (None, Some(address)) => address.to_string(),
            (None, None) => endpoint.to_string(),
        };
        let node = identity.node;
        let config = Config {
            node,
            node_ip: node_ip.clone(),
            hostname: machine::hostname(),
            endpoint: endpoint.to_string(),
            node_endpoint: identity.endpoint.clone(),
            session_directory: session.directory().display().to_string(),
            session_name: joined.as_ref().map_or_else(
                || session.name().to_owned(),
                |joined| joined.welcome.session_name.clone(),
            ),
            cluster_address: cluster_address.clone(),
            labels: self.labels(node, &total),
            instance: options.instance.clone().unwrap_or_default(),
            node_type: options.node_type.clone().unwrap_or_default(),
            resources: total,
            arena_bytes: store_bytes,
            spilling,
            is_head: joined.is_none(),
            memory: memory_settings,
        };
        let control = match &joined {
            Some(_) => Composed::Elsewhere,
            None => {
                let path = session.directory().join("control.redb");
                let storage = RedbStorage::open(&path).map_err(StartError::System)?;
                let mut control = Control::new(env!("CARGO_PKG_VERSION"), cluster_address.clone());
                control.set_health(health::settings(&flags)?);
                Composed::Here(Box::new(ClusterControl::new(control, storage)))
            }
        };
        let line = ReadyLine::Ready {
            endpoint: endpoint.to_string(),
            token: session.token().to_owned(),
            node_ip: node_ip.clone(),
            session_directory: session.directory().display().to_string(),
            cluster_address: cluster_address.clone(),
        };
        let mut listeners = vec![(local, ListenerKind::Local)];
        listeners.extend(tcp.map(|(listener, _)| (listener, ListenerKind::Tcp)));
        let settings = Settings {
            config,
            identity,
            joined,
            health: health::settings(&flags)?,
            system_config: serde_json::to_string(&of_cluster(&system_config, &flags))?,
            listeners,
            arena,
            spill_sites,
            python,
            environment: self.environment(),
            working_directory: session.directory().to_owned(),
            child_file_limit: self.child_file_limit,
            log_directory: session.log_directory(),
            lifeline: self.lifeline()?,
            memory: Box::new(memory),
            metrics_listener,
            metrics_discovery_file: session.directory().join(session_files::METRICS_FILE),
        };
        let daemon = Daemon::new(settings, control)?;
        session.publish(
            &endpoint.to_string(),
            tcp_address,
            &cluster_address,
            node_ip,
        )?;
        tracing::info!(version = env!("CARGO_PKG_VERSION"), %endpoint, %node, "daemon is ready");
        Ok((daemon, line))
    }

    fn labels(&self, node: NodeId, total: &Resources) -> BTreeMap<String, String> {
        let mut labels = self.options.labels.clone();
        labels.insert(NODE_ID_LABEL.to_owned(), node.to_hex());
        if let Some(node_type) = &self.options.node_type {
            labels
                .entry(NODE_TYPE_LABEL.to_owned())
                .or_insert_with(|| node_type.clone());
        }
        if let (true, Some(kind)) = (total.units(GPU) > 0, &self.gpus.accelerator_type) {
            labels.insert(ACCELERATOR_LABEL.to_owned(), kind.clone());
        }
        labels
    }

    /// Variables of the environment for the workers.
    fn environment(&self) -> BTreeMap<String, String> {
        let mut environment = self.options.environment.clone();
        if let Some(visible) = &self.gpus.visible {
            environment
                .entry(VISIBLE_GPUS.to_owned())
                .or_insert_with(|| visible.clone());
        }
        environment
    }
}

/// The settings of the cluster, then those that only this node has.
fn system_config(
    options: &DaemonOptions,
    joined: Option<&Joined>,
) -> Result<BTreeMap<String, serde_json::Value>, StartError> {
    let mut all: BTreeMap<String, serde_json::Value> = match joined {
        Some(joined) if !joined.welcome.system_config.is_empty() => {
            serde_json::from_str(&joined.welcome.system_config)?
        }
        _ => BTreeMap::new(),
    };
    all.extend(options.system_config.clone());
    Ok(all)
}

/// What all nodes are to have in common, from wherever the head has it.
fn of_cluster(
    system_config: &BTreeMap<String, serde_json::Value>,
    flags: &flags::Flags<'_>,
) -> BTreeMap<String, serde_json::Value> {
    let mut all = system_config.clone();
    for name in health::FLAGS {
        if let Some(text) = flags.text(name) {
            all.insert((*name).to_owned(), text.into());
        }
    }
    all
}

/// The address of this machine that a way to the head begins at.
fn address_towards(head: &str) -> Result<String, StartError> {
    let unknown = |error| StartError::NoWay {
        address: head.to_owned(),
        error,
    };
    let target = head
        .to_socket_addrs()
        .map_err(|_| JoinError::Address(head.to_owned()))?
        .next()
        .ok_or_else(|| JoinError::Address(head.to_owned()))?;
    whipray_net::local_address_towards(&target)
        .map(|ip| ip.to_string())
        .map_err(unknown)
}

/// The version of the workers' Python, as far as programs care.
fn python_version(python: &str) -> Result<String, StartError> {
    let failed = |detail: String| StartError::Python {
        python: python.to_owned(),
        detail,
    };
    let output = std::process::Command::new(python)
        .args(["-c", "import sys; print('%d.%d' % sys.version_info[:2])"])
        .output()
        .map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match output.status.success() && !text.is_empty() {
        true => Ok(text),
        false => Err(failed(String::from_utf8_lossy(&output.stderr).into_owned())),
    }
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
