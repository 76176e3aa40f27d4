//! The command line as a client of a daemon.

use std::time::Duration;

use whipray_diagnosis::Cluster;
use whipray_net::{Connection, ConnectionError, Endpoint, EndpointError};
use whipray_proto::messages::cluster::{KeyValueRequest, KeyValueVerb, StatusReply, StatusRequest};
use whipray_proto::messages::draining::{DrainNode, DrainReason, NodeDrained};
use whipray_proto::messages::inquiry::{Inquiry, InquiryAnswered};
use whipray_proto::messages::session::{Hello, Role, ShutDown};
use whipray_proto::{Message, NodeId, PROTOCOL_VERSION, WorkerId};

use crate::session_files::{self, NodeFile};
use crate::verbs::VerbError;

/// How long a daemon may take for an answer.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// Why a daemon cannot be talked to.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    #[error("cannot read the token in {path}: {error}")]
    Token { path: String, error: std::io::Error },
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error("no daemon answers at {endpoint}: {error}")]
    Connect {
        endpoint: String,
        error: std::io::Error,
    },
    #[error("the daemon does not answer: {0}")]
    Connection(#[from] ConnectionError),
    #[error("the daemon refuses: {0}")]
    Refused(String),
    #[error("the daemon answers with {0}, which was not asked for")]
    Unexpected(&'static str),
}

/// A connection to a daemon that has said welcome.
pub struct Tool {
    connection: Connection,
    node: NodeId,
}

impl Tool {
    /// Says hello to the daemon of a session.
    ///
    /// # Errors
    /// There is no such daemon any more, or it does not know us.
    pub fn connect(node: &NodeFile) -> Result<Self, ToolError> {
        let token =
            std::fs::read_to_string(&node.token_file).map_err(|error| ToolError::Token {
                path: node.token_file.clone(),
                error,
            })?;
        let endpoint: Endpoint = node.endpoint.parse()?;
        let mut connection =
            Connection::connect(&endpoint).map_err(|error| ToolError::Connect {
                endpoint: node.endpoint.clone(),
                error,
            })?;
        // The welcome brings the arena, which a tool has no use for: it is closed at once.
        connection.expect_descriptors(true);
        let hello = Hello {
            version: PROTOCOL_VERSION,
            token: token.trim().to_owned(),
            role: Role::Tool as i32,
            worker: WorkerId::random(),
            pid: std::process::id(),
            ..Hello::default()
        };
        connection.queue(&hello.into());
        match connection.exchange(ANSWER_WAIT)? {
            Message::Welcome(welcome) => Ok(Self {
                connection,
                node: welcome.node,
            }),
            Message::Refused(refused) => Err(ToolError::Refused(refused.reason)),
            other => Err(ToolError::Unexpected(other.name())),
        }
    }

    /// The node whose daemon this is.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Asks for the end of a node, in order.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub fn drain(
        &mut self,
        node: NodeId,
        reason: DrainReason,
        reason_message: &str,
        deadline_ms: u64,
    ) -> Result<NodeDrained, ToolError> {
        let drain = DrainNode {
            request: 1,
            node,
            reason: reason as i32,
            reason_message: reason_message.to_owned(),
            deadline_ms,
        };
        match self.ask(drain.into())? {
            Message::NodeDrained(drained) => Ok(drained),
            other => Err(ToolError::Unexpected(other.name())),
        }
    }

    /// The state of the cluster.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub fn status(&mut self) -> Result<StatusReply, ToolError> {
        self.connection.queue(&StatusRequest { request: 1 }.into());
        match self.connection.exchange(ANSWER_WAIT)? {
            Message::StatusReply(reply) => Ok(reply),
            other => Err(ToolError::Unexpected(other.name())),
        }
    }

    /// Writes a key of the cluster's key-value store.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub fn put(&mut self, namespace: &str, key: &str, value: &str) -> Result<(), ToolError> {
        let request = KeyValueRequest {
            request: 1,
            verb: KeyValueVerb::Put as i32,
            namespace: namespace.to_owned(),
            key: key.to_owned().into(),
            value: value.to_owned().into(),
        };
        match self.ask(request.into())? {
            Message::KeyValueReply(_) => Ok(()),
            other => Err(ToolError::Unexpected(other.name())),
        }
    }

    fn ask(&mut self, message: Message) -> Result<Message, ToolError> {
        self.connection.queue(&message);
        Ok(self.connection.exchange(ANSWER_WAIT)?)
    }

    /// Asks the daemon to end.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn shut_down(&mut self, reason: &str) -> Result<(), ToolError> {
        self.connection.queue(
            &ShutDown {
                reason: reason.to_owned(),
            }
            .into(),
        );
        self.connection.flush()?;
        Ok(())
    }
}

impl Cluster for Tool {
    fn inquire(&mut self, inquiry: Inquiry) -> Option<InquiryAnswered> {
        match self.ask(inquiry.into()) {
            Ok(Message::InquiryAnswered(answer)) => Some(answer),
            _ => None,
        }
    }

    fn status(&mut self) -> Option<StatusReply> {
        Tool::status(self).ok()
    }
}

/// Which clusters are meant where no address is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those that `start` started.
    Detached,
    /// These first, then those that belong to programs.
    Any,
}

/// A connection to the cluster at `address`, or the one that `RAY_ADDRESS` names; to the current
/// one, or any that answers, without either.
///
/// # Errors
/// There is none.
pub fn find(address: Option<&str>, which: Which) -> Result<Tool, VerbError> {
    let of_environment = std::env::var("RAY_ADDRESS").ok();
    let address = address.or(of_environment.as_deref());
    let address = address.filter(|address| !matches!(*address, "" | "auto" | "local"));
    let mut sessions = session_files::known_sessions();
    match address {
        Some(address) => {
            sessions.retain(|node| node.cluster_address == address || node.endpoint == address)
        }
        None if which == Which::Detached => sessions.retain(|node| node.is_detached),
        None => sessions.sort_by_key(|node| !node.is_detached),
    }
    let mut sessions = sessions.iter();
    sessions
        .find_map(|node| Tool::connect(node).ok())
        .ok_or_else(|| match address {
            Some(address) => VerbError::NoClusterAt(address.to_owned()),
            None => VerbError::NoCluster,
        })
}
