//! Questions to the node and to the cluster's control, whose answers are waited for.

use std::time::Duration;

use bytes::Bytes;
use whipray_proto::failure::{Failure, FailureKind};
use whipray_proto::messages::actor::{GetNamedActor, ListNamedActors};
use whipray_proto::messages::cluster::{
    FlushLogs, JobRequest, KeyValueReply, KeyValueRequest, KeyValueVerb, StatusReply, StatusRequest,
};
use whipray_proto::messages::scaling::RequestResources;
use whipray_proto::messages::session::JobDescription;
use whipray_proto::scheduling::BundleSpec;
use whipray_proto::task::ActorSpec;
use whipray_proto::{JobId, Message};

use crate::core::effect::DriverEvent;
use crate::shell::runtime::{Runtime, WaitOutcome};

/// How long a question to the node may take.
pub(crate) const ANSWER_WAIT: Duration = Duration::from_secs(60);

impl Runtime {
    pub(crate) fn ask(
        &self,
        make: impl FnOnce(u64) -> Message,
        timeout: Duration,
    ) -> Result<Message, Failure> {
        self.ask_until(make, timeout, &|| false, &mut || false)
    }

    /// The same, given up once `is_enough`, or when `interrupt` says to stop.
    pub(crate) fn ask_until(
        &self,
        make: impl FnOnce(u64) -> Message,
        timeout: Duration,
        is_enough: &dyn Fn() -> bool,
        interrupt: &mut dyn FnMut() -> bool,
    ) -> Result<Message, Failure> {
        let mut state = self.state.lock();
        let (number, slot) = state.requests.open();
        state.settle(&self.poller);
        self.send(state, make(number));
        let outcome = self.wait_until(
            &|| slot.is_answered() || is_enough(),
            Some(timeout),
            interrupt,
        );
        match slot.take() {
            Some(answer) => Ok(answer),
            None => {
                self.state.lock().requests.close(number);
                Err(if outcome == WaitOutcome::TimedOut {
                    Failure::new(
                        FailureKind::Unspecified,
                        "",
                        format!(
                            "the node daemon did not answer within {} s",
                            timeout.as_secs()
                        ),
                    )
                } else {
                    node_gone()
                })
            }
        }
    }

    /// The actor of that name that is not dead. Blocks.
    ///
    /// # Errors
    /// The node is gone.
    pub fn named_actor(&self, name: &str, namespace: &str) -> Result<Option<ActorSpec>, Failure> {
        let (name, namespace) = (name.to_owned(), namespace.to_owned());
        let make = |request| {
            GetNamedActor {
                request,
                name,
                namespace,
            }
            .into()
        };
        match self.ask(make, ANSWER_WAIT)? {
            Message::NamedActor(named) => Ok(named.spec),
            _ => Err(node_gone()),
        }
    }

    /// Names and namespaces of live actors. Blocks.
    ///
    /// # Errors
    /// The node is gone.
    pub fn list_named_actors(
        &self,
        namespace: &str,
        all: bool,
    ) -> Result<Vec<(String, String)>, Failure> {
        let namespace = namespace.to_owned();
        let make = |request| {
            ListNamedActors {
                request,
                namespace,
                all_namespaces: all,
            }
            .into()
        };
        match self.ask(make, ANSWER_WAIT)? {
            Message::NamedActors(named) => {
                Ok(named.names.into_iter().zip(named.namespaces).collect())
            }
            _ => Err(node_gone()),
        }
    }

    /// One operation on the cluster's key-value store. Blocks; without end for `GetWhenThere`.
    ///
    /// # Errors
    /// The node is gone, or does not answer.
    pub fn key_value(
        &self,
        verb: KeyValueVerb,
        namespace: &str,
        key: Bytes,
        value: Bytes,
    ) -> Result<KeyValueReply, Failure> {
        let namespace = namespace.to_owned();
        let make = |request| {
            KeyValueRequest {
                request,
                verb: verb as i32,
                namespace,
                key,
                value,
            }
            .into()
        };
        match self.ask(make, ANSWER_WAIT)? {
            Message::KeyValueReply(reply) => Ok(reply),
            _ => Err(node_gone()),
        }
    }

    /// The same without waiting for the answer.
    pub fn key_value_send(&self, verb: KeyValueVerb, namespace: &str, key: Bytes, value: Bytes) {
        let namespace = namespace.to_owned();
        self.to_node(
            KeyValueRequest {
                request: 0,
                verb: verb as i32,
                namespace,
                key,
                value,
            }
            .into(),
        );
    }

    /// Has the autoscaler see to it that the cluster is large enough for these bundles.
    pub fn request_resources(&self, bundles: Vec<BundleSpec>) {
        self.to_node(RequestResources { bundles }.into());
    }

    /// The state of the cluster. Blocks.
    ///
    /// # Errors
    /// The node is gone, or does not answer.
    pub fn status(&self) -> Result<StatusReply, Failure> {
        match self.ask(|request| StatusRequest { request }.into(), ANSWER_WAIT)? {
            Message::StatusReply(reply) => Ok(reply),
            _ => Err(node_gone()),
        }
    }

    /// What is known of a job. Blocks.
    ///
    /// # Errors
    /// The node is gone, or does not answer.
    pub fn job_description(&self, job: JobId) -> Result<Option<JobDescription>, Failure> {
        match self.ask(|request| JobRequest { request, job }.into(), ANSWER_WAIT)? {
            Message::JobReply(reply) => Ok(reply.job),
            _ => Err(node_gone()),
        }
    }

    /// The next event for the driver's user. Blocks on a condition, not on the sockets.
    pub fn next_event(&self, timeout: Duration) -> Option<DriverEvent> {
        self.events.next(timeout)
    }

    /// Has the node send what workers wrote until now. Blocks.
    pub fn flush_logs(&self, timeout: Duration) {
        // A node that is gone has no logs to send.
        let _ = self.ask(|request| FlushLogs { request }.into(), timeout);
    }
}

/// Why nothing is answered any more.
pub(crate) fn node_gone() -> Failure {
    Failure::new(
        FailureKind::NodeDied,
        "",
        "The connection to the node daemon is gone: it ended, or was killed.",
    )
}
