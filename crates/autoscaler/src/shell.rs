//! The thread that carries words between control, the plan and the provider.
//!
//! It is a client of the head's daemon like any other, so that nothing of it can hold up the loop.

use std::io;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use whipray_net::{Connection, ConnectionError, Endpoint};
use whipray_proto::messages::draining::{DrainNode, DrainReason};
use whipray_proto::messages::session::{Hello, Role};
use whipray_proto::{Message, PROTOCOL_VERSION, WorkerId};

use crate::config::ScalingConfig;
use crate::plan::{Effect, Micros, Scaler};
use crate::provider::{Launch, Provider};

/// How long the daemon may take to say welcome: it begins to serve after it has started this.
const WELCOME_WAIT: Duration = Duration::from_secs(120);

/// How often the provider is asked what there is while something is on its way.
const QUICK_LOOK: Duration = Duration::from_millis(100);

/// How often it is asked otherwise, and how late an idle node may be noticed.
const SLOW_LOOK: Duration = Duration::from_millis(500);

/// What the thread needs.
pub struct Settings {
    pub config: ScalingConfig,
    pub provider: Box<dyn Provider>,
    /// How long an instance of this provider may take until its node joins.
    pub start_wait: Duration,
    /// The head's daemon.
    pub endpoint: Endpoint,
    pub token: String,
}

/// Why the autoscaler cannot go on.
#[derive(Debug, thiserror::Error)]
enum ShellError {
    #[error("the head's daemon cannot be reached: {0}")]
    Connect(io::Error),
    #[error("the connection to the head's daemon is over: {0}")]
    Connection(#[from] ConnectionError),
    #[error("the head's daemon refuses: {0}")]
    Refused(String),
}

/// The running thread. It ends with the daemon, and with it the instances.
#[derive(Debug)]
pub struct Autoscaler {
    thread: JoinHandle<()>,
}

impl Autoscaler {
    /// Starts it.
    ///
    /// # Errors
    /// The system has no more threads.
    pub fn start(settings: Settings) -> io::Result<Self> {
        let thread = std::thread::Builder::new()
            .name("autoscaler".to_owned())
            .spawn(move || serve(settings))?;
        Ok(Self { thread })
    }

    /// Waits until all instances are gone. The daemon has ended before.
    pub fn wait_for_end(self) {
        if self.thread.join().is_err() {
            tracing::error!("the autoscaler has failed");
        }
    }
}

fn serve(settings: Settings) {
    let Settings {
        config,
        mut provider,
        start_wait,
        endpoint,
        token,
    } = settings;
    let epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    let epoch_unix_ms = epoch.map_or(0, |since| since.as_millis() as u64);
    let mut shell = Shell {
        scaler: Scaler::new(config.clone(), start_wait, epoch_unix_ms),
        config,
        started: Instant::now(),
        effects: Vec::new(),
    };
    if let Err(error) = shell.run(&endpoint, token, &mut *provider) {
        tracing::info!(%error, "the autoscaler ends");
    }
    provider.end();
}

struct Shell {
    config: ScalingConfig,
    scaler: Scaler,
    started: Instant,
    effects: Vec<Effect>,
}

impl Shell {
    fn run(
        &mut self,
        endpoint: &Endpoint,
        token: String,
        provider: &mut dyn Provider,
    ) -> Result<(), ShellError> {
        let mut connection = connect(endpoint, token)?;
        self.scaler.on_start();
        self.carry_out(&mut connection, provider);
        let mut look_at = Instant::now();
        loop {
            let wait = look_at.saturating_duration_since(Instant::now());
            match connection.exchange(wait.max(Duration::from_millis(1))) {
                Ok(Message::ScalingView(view)) => self.scaler.on_view(view, self.now()),
                Ok(Message::NodeDrained(answer)) => {
                    if !answer.is_accepted {
                        tracing::info!(why = answer.rejection, "an idle node is not drained");
                    }
                    let (request, is_accepted) = (answer.request, answer.is_accepted);
                    self.scaler
                        .on_drain_answered(request, is_accepted, self.now());
                }
                Ok(_) | Err(ConnectionError::Timeout(_)) => {}
                Err(error) => return Err(error.into()),
            }
            let is_due = Instant::now() >= look_at;
            if is_due {
                let instances = provider.instances();
                let failures = provider.take_failures();
                self.scaler.on_instances(instances, failures, self.now());
            }
            let has_acted = self.carry_out(&mut connection, provider);
            if is_due || has_acted {
                look_at = Instant::now()
                    + match self.scaler.is_unsettled() {
                        true => QUICK_LOOK,
                        false => SLOW_LOOK,
                    };
            }
        }
    }

    fn now(&self) -> Micros {
        self.started.elapsed().as_micros() as Micros
    }

    /// Does what the plan asks for; whether that was anything for the provider.
    fn carry_out(&mut self, connection: &mut Connection, provider: &mut dyn Provider) -> bool {
        let mut has_acted = false;
        self.scaler.take_effects(&mut self.effects);
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Launch { node_type, launch } => {
                    if let Some(node_type) = self.config.types.get(node_type) {
                        has_acted = true;
                        provider.launch(Launch {
                            number: launch,
                            node_type: node_type.clone(),
                        });
                    }
                }
                Effect::Terminate { instance } => {
                    has_acted = true;
                    provider.terminate(&instance);
                }
                Effect::Drain {
                    request,
                    node,
                    reason,
                } => {
                    let drain = DrainNode {
                        request,
                        node,
                        reason: DrainReason::Idle as i32,
                        reason_message: reason,
                        deadline_ms: 0,
                    };
                    connection.queue(&drain.into());
                }
                Effect::Report(status) => connection.queue(&status.into()),
            }
        }
        has_acted
    }
}

fn connect(endpoint: &Endpoint, token: String) -> Result<Connection, ShellError> {
    let mut connection = Connection::connect(endpoint).map_err(ShellError::Connect)?;
    // The welcome brings the arena, for which there is no use here.
    connection.expect_descriptors(true);
    let hello = Hello {
        version: PROTOCOL_VERSION,
        token,
        role: Role::Tool as i32,
        worker: WorkerId::random(),
        pid: std::process::id(),
        ..Hello::default()
    };
    connection.queue(&hello.into());
    match connection.exchange(WELCOME_WAIT)? {
        Message::Refused(refused) => Err(ShellError::Refused(refused.reason)),
        _ => {
            drop(connection.take_descriptor());
            Ok(connection)
        }
    }
}
