//! A thread that tells the head that this machine is alive, whatever the loop is busy with.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use whipray_net::{Connection, ConnectionError, Waker};
use whipray_proto::messages::membership::{Heartbeat, HeartbeatHello};
use whipray_proto::{Message, NodeId, PROTOCOL_VERSION};

/// What the thread and the loop share.
struct Shared {
    started: Instant,
    /// When the head last answered, in microseconds since the start.
    answered_us: AtomicU64,
    /// Since when nobody listens at the head's address, as above; zero while somebody does.
    nobody_since_us: AtomicU64,
    is_over: AtomicBool,
}

/// How the head is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hearing {
    /// How long ago it answered.
    pub silence: Duration,
    /// For how long nobody has listened at its address.
    pub nobody_there: Option<Duration>,
}

/// The heartbeats of this node.
pub struct Heartbeats {
    shared: Arc<Shared>,
    waker: Waker,
}

/// Where the heartbeats go, and from whom.
pub struct Settings {
    pub head: SocketAddr,
    pub node: NodeId,
    pub token: String,
    /// How often.
    pub period: Duration,
}

impl Heartbeats {
    /// Starts the thread. The waker has the loop look at [`Self::hearing`] while something is wrong.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(settings: Settings, waker: Waker) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            started: Instant::now(),
            answered_us: AtomicU64::new(0),
            nobody_since_us: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        });
        let (of_thread, of_loop) = (shared.clone(), waker.clone());
        thread::Builder::new()
            .name("heartbeat".to_owned())
            .spawn(move || of_thread.beat(&settings, &waker))?;
        let waker = of_loop;
        Ok(Self { shared, waker })
    }

    /// The loop has seen that it was woken.
    pub fn reset_waker(&self) {
        self.waker.reset();
    }

    /// How the head is heard now.
    pub fn hearing(&self) -> Hearing {
        let now = self.shared.now_us();
        let since = |then: u64| Duration::from_micros(now.saturating_sub(then));
        let nobody = self.shared.nobody_since_us.load(Ordering::Acquire);
        Hearing {
            silence: since(self.shared.answered_us.load(Ordering::Acquire)),
            nobody_there: (nobody > 0).then(|| since(nobody)),
        }
    }
}

impl Drop for Heartbeats {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
    }
}

impl Shared {
    fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    fn beat(&self, settings: &Settings, waker: &Waker) {
        let mut beat = 0;
        while !self.is_over() {
            if let Err(error) = self.beat_over_connection(settings, waker, &mut beat) {
                let is_nobody = matches!(
                    &error,
                    ConnectionError::Io(error)
                        if error.kind() == std::io::ErrorKind::ConnectionRefused
                );
                let now = self.now_us().max(1);
                match is_nobody {
                    true => {
                        let since = &self.nobody_since_us;
                        let _ = since.compare_exchange(0, now, Ordering::AcqRel, Ordering::Relaxed);
                    }
                    false => self.nobody_since_us.store(0, Ordering::Release),
                }
                tracing::debug!(%error, "the head does not answer a heartbeat");
                waker.wake();
                thread::sleep(settings.period / 4);
            }
        }
    }

    /// Beats until something goes wrong.
    fn beat_over_connection(
        &self,
        settings: &Settings,
        waker: &Waker,
        beat: &mut u64,
    ) -> Result<(), ConnectionError> {
        let mut connection = Connection::begin(&settings.head, settings.period * 2)?;
        let hello = HeartbeatHello {
            version: PROTOCOL_VERSION,
            token: settings.token.clone(),
            node: settings.node,
        };
        connection.queue(&hello.into());
        while !self.is_over() {
            *beat += 1;
            connection.queue(&Heartbeat { beat: *beat }.into());
            match connection.exchange(settings.period * 2)? {
                Message::Heartbeat(_) => {
                    self.answered_us.store(self.now_us(), Ordering::Release);
                    self.nobody_since_us.store(0, Ordering::Release);
                }
                // It knows of this node's death; the stream has the reason.
                _ => {
                    waker.wake();
                    return Err(ConnectionError::Closed);
                }
            }
            thread::sleep(settings.period);
        }
        Ok(())
    }
}
