//! `whipray drain-node`

use whipray_proto::NodeId;
use whipray_proto::messages::draining::DrainReason;

use super::VerbError;
use crate::arguments::{DrainNodeArguments, DrainReasonName};
use crate::tool::{self, Which};

/// Asks the cluster to let a node finish what it has, and to end it.
pub fn run(arguments: &DrainNodeArguments) -> Result<(), VerbError> {
    let mut tool = tool::find(arguments.address.as_deref(), Which::Any)?;
    let node = match &arguments.node_id {
        Some(id) => NodeId::from_hex(id).ok_or_else(|| VerbError::NoNodeId(id.clone()))?,
        None => tool.node(),
    };
    let reason = match arguments.reason {
        DrainReasonName::IdleTermination => DrainReason::Idle,
        DrainReasonName::Preemption => DrainReason::Preemption,
    };
    let seconds = arguments.deadline_remaining_seconds.unwrap_or(0);
    let drained = tool.drain(node, reason, &arguments.reason_message, seconds * 1000)?;
    if !drained.is_accepted {
        return Err(VerbError::NotDrained {
            node: node.to_hex(),
            why: drained.rejection,
        });
    }
    println!(
        "Node {node} gets nothing new from now on, and leaves the cluster once its work is done."
    );
    Ok(())
}
