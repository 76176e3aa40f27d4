//! Metrics, for whoever wants to read them.

use std::io;

use whipray_net::{HttpListener, Waker};

use super::super::metrics_door::{self, MetricsDoor};
use super::{Control, Daemon, METRICS};

impl<C: Control> Daemon<C> {
    /// Opens the door at a port that is taken already, or at any.
    pub(super) fn open_metrics_door(&mut self, listener: Option<HttpListener>) {
        if self.metrics_door.is_some() {
            return;
        }
        match self.try_open(listener) {
            Ok(door) => {
                let port = door.port();
                // Written here, not beside the loop: it is done once in the life of a cluster.
                if let Err(error) = door.publish(&self.settings.metrics_discovery_file) {
                    tracing::warn!(%error, "Prometheus is not told where metrics are");
                }
                tracing::info!(port, "metrics can be read");
                self.metrics_door = Some(door);
                self.guarded("door", |daemon| daemon.node.on_metrics_door(port));
            }
            Err(error) => tracing::warn!(%error, "metrics cannot be read"),
        }
    }

    fn try_open(&self, listener: Option<HttpListener>) -> io::Result<MetricsDoor> {
        let listener = match listener {
            Some(listener) => listener,
            None => metrics_door::any_port(&self.settings.config.node_ip)?,
        };
        MetricsDoor::open(listener, Waker::new(&self.poller, METRICS)?)
    }

    /// Somebody wants to read.
    pub(super) fn on_metrics_door(&mut self) {
        let Some(door) = &mut self.metrics_door else {
            return;
        };
        let arrived = door.take_arrived();
        let memory = self.settings.memory.machine(&self.node.worker_pids());
        let now = self.now();
        for reading in arrived {
            self.guarded("reader of metrics", |daemon| {
                daemon.node.on_reading(reading, memory, now)
            });
        }
    }
}
