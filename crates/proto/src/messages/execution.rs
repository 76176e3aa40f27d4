//! Tasks on their way to an executor and back.

use bytes::{BufMut, BytesMut};

use crate::frame::{FrameHeader, HEADER_BYTES};
use crate::ids::{LeaseId, TaskId};
use crate::object::ObjectValue;
use crate::task::{Assignment, TaskReply, TaskSpec};

/// Owner to executor: run this. Tasks of one connection arrive, and start, in order.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PushTask {
    #[prost(message, required, tag = "1")]
    pub spec: TaskSpec,
    /// With the first task of a lease: what the worker was given.
    #[prost(message, optional, tag = "2")]
    pub assignment: Option<Assignment>,
    #[prost(message, optional, tag = "3")]
    pub lease: Option<LeaseId>,
}

impl PushTask {
    /// Appends the frame of a push to `buffer` without a copy of the spec, which its owner keeps
    /// for retries.
    pub fn encode_frame_of(
        spec: &TaskSpec,
        assignment: Option<&Assignment>,
        buffer: &mut BytesMut,
    ) {
        use prost::encoding::message;

        const CODE: u16 = 80;
        let mut length = message::encoded_len(1, spec);
        if let Some(assignment) = assignment {
            length += message::encoded_len(2, assignment);
        }
        buffer.reserve(HEADER_BYTES + length);
        buffer.put_slice(&FrameHeader { length, code: CODE }.to_array());
        message::encode(1, spec, buffer);
        if let Some(assignment) = assignment {
            message::encode(2, assignment, buffer);
        }
    }
}

/// Executor to owner: how it ended.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TaskReplied {
    #[prost(message, required, tag = "1")]
    pub reply: TaskReply,
}

/// Owner to executor: end this task. A queued one does not start; a running one is interrupted.
/// Borrower of a result to its owner, with `by_borrower`: end it as if your own program asked.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CancelTask {
    #[prost(message, required, tag = "1")]
    pub task: TaskId,
    /// Also the tasks that it submitted.
    #[prost(bool, tag = "2")]
    pub recursive: bool,
    /// End the process if the task runs.
    #[prost(bool, tag = "3")]
    pub force: bool,
    #[prost(bool, tag = "4")]
    pub by_borrower: bool,
}

/// Owner to executor: hand back up to this many tasks that have not started, the last ones first.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ReclaimTasks {
    #[prost(uint32, tag = "1")]
    pub count: u32,
}

/// Executor to owner: a task whose results come one by one has made the next one. Those of one try
/// arrive in order, and before the answer.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StreamItem {
    #[prost(message, required, tag = "1")]
    pub task: TaskId,
    /// Which try of the task made it.
    #[prost(uint32, tag = "2")]
    pub attempt: u32,
    /// Counts the items of the task from zero.
    #[prost(uint32, tag = "3")]
    pub index: u32,
    #[prost(message, required, tag = "4")]
    pub value: ObjectValue,
}

/// Owner to executor: the consumer has taken so many items in all; `GeneratorSpec::NONE_WANTED`
/// where it is gone and takes no more.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StreamTaken {
    #[prost(message, required, tag = "1")]
    pub task: TaskId,
    #[prost(uint32, tag = "2")]
    pub taken: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::Message;

    #[test]
    fn the_short_way_of_a_push_is_the_same_frame() {
        let spec = TaskSpec {
            name: "f".into(),
            num_returns: 1,
            ..TaskSpec::default()
        };
        let assignment = Assignment {
            gpus: vec![1],
            ..Assignment::default()
        };
        for assignment in [None, Some(assignment)] {
            let mut long = BytesMut::new();
            let push = PushTask {
                spec: spec.clone(),
                assignment: assignment.clone(),
                lease: None,
            };
            Message::from(push).encode_frame(&mut long);
            let mut short = BytesMut::new();
            PushTask::encode_frame_of(&spec, assignment.as_ref(), &mut short);
            assert_eq!(long, short);
        }
    }
}
