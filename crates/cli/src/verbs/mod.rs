//! The verbs of the command line.

pub mod drain_node;
pub mod explain;
pub mod health_check;
pub mod memory;
pub mod python_program;
mod scaling_report;
pub mod start;
pub mod status;
pub mod stop;
pub mod timeline;

use crate::tool::ToolError;

/// Why a verb could not be done. The text is the one line that the user reads.
#[derive(Debug, thiserror::Error)]
pub enum VerbError {
    #[error(
        "say --head to start a cluster on this machine, or --address=HOST:PORT to join the one whose \
         head is there"
    )]
    NeitherHeadNorAddress,
    #[error("--head starts a cluster and --address joins one: give one of them")]
    HeadAndAddress,
    #[error("--autoscaling-config is for the head: it starts the nodes")]
    AutoscalingWithoutHead,
    #[error("a cluster runs already at {0}; stop it first with `whipray stop`")]
    RunsAlready(String),
    #[error("--resources must be a JSON object of numbers, such as '{{\"gold\": 2}}': {0}")]
    Resources(serde_json::Error),
    #[error("--system-config must be a JSON object: {0}")]
    SystemConfig(serde_json::Error),
    #[error("--labels must be pairs such as 'zone=a,kind=large', and {0:?} is none")]
    Labels(String),
    #[error("{0}")]
    NotStarted(String),
    #[error(
        "the daemon ended before it was ready; its last words are in the log folder of the session"
    )]
    NoReadyLine,
    #[error("the cluster ended with {0}")]
    EndedBadly(std::process::ExitStatus),
    #[error("cannot start a process: {0}")]
    Spawn(std::io::Error),
    #[error("no cluster is running on this machine; start one with `whipray start --head`")]
    NoCluster,
    #[error("no cluster at {0} is running on this machine")]
    NoClusterAt(String),
    #[error(
        "{0:?} is not the id of an object, a task or an actor: 56, 48 or 32 hexadecimal digits"
    )]
    NoId(String),
    #[error(
        "{0:?} is not the id of a node: 56 hexadecimal digits, as `whipray list nodes` shows it"
    )]
    NoNodeId(String),
    #[error("node {node} is not drained: {why}")]
    NotDrained { node: String, why: String },
    #[error("cannot write {path}: {error}")]
    Write { path: String, error: std::io::Error },
    #[error("{0:?} is no component of a cluster: leave --component out to ask for all of it")]
    NoComponent(String),
    #[error("{} of the clusters did not end", .0)]
    NotStopped(usize),
    #[error("cannot run {program}: {error}")]
    Exec {
        program: String,
        error: std::io::Error,
    },
    #[error(transparent)]
    Tool(#[from] ToolError),
}
