//! Identifiers: small, fixed in size, and cheap to copy, hash and compare.
//!
//! Their sizes are the sizes that users of Ray see in hexadecimal. On the wire an id is a message of
//! fixed-width integers, so that decoding one allocates nothing.

use std::fmt;

/// Fills `buffer` with random bytes from the operating system.
fn fill_random(buffer: &mut [u8]) {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::rand::getrandom(&mut buffer[filled..], rustix::rand::GetRandomFlags::empty())
        {
            Ok(count) => filled += count,
            // Only EINTR is possible for these flags; asking again is the answer to it.
            Err(_) => continue,
        }
    }
}

/// Random bytes, for tokens and session names.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill_random(&mut bytes);
    bytes
}

/// Lower-case hexadecimal.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)] as char);
        text.push(DIGITS[usize::from(byte & 15)] as char);
    }
    text
}

/// The bytes of a hexadecimal text, or `None` where it is not one.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

fn word64(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

fn word32(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

macro_rules! common {
    ($name:ident, $bytes:literal) => {
        impl $name {
            /// The size in bytes.
            pub const SIZE: usize = $bytes;

            /// An id that no other process will make.
            pub fn random() -> Self {
                Self::from_array(random_bytes())
            }

            /// The id that stands for none: all ones.
            pub fn nil() -> Self {
                Self::from_array([0xff; $bytes])
            }

            /// Whether this is the nil id.
            pub fn is_nil(&self) -> bool {
                *self == Self::nil()
            }

            /// The id with these bytes, or `None` where the length is wrong.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                <[u8; $bytes]>::try_from(bytes).ok().map(Self::from_array)
            }

            /// The id that this hexadecimal text names.
            pub fn from_hex(text: &str) -> Option<Self> {
                from_hex(text).and_then(|bytes| Self::from_slice(&bytes))
            }

            /// Lower-case hexadecimal, as users see it.
            pub fn to_hex(&self) -> String {
                to_hex(&self.to_array())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.to_hex())
            }
        }
    };
}

macro_rules! wide_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Message)]
        pub struct $name {
            #[prost(fixed64, tag = "1")]
            a: u64,
            #[prost(fixed64, tag = "2")]
            b: u64,
            #[prost(fixed64, tag = "3")]
            c: u64,
            #[prost(fixed32, tag = "4")]
            d: u32,
        }

        impl $name {
            /// The id with these bytes.
            pub fn from_array(bytes: [u8; 28]) -> Self {
                Self {
                    a: word64(&bytes, 0),
                    b: word64(&bytes, 8),
                    c: word64(&bytes, 16),
                    d: word32(&bytes, 24),
                }
            }

            /// The bytes.
            pub fn to_array(&self) -> [u8; 28] {
                let mut bytes = [0; 28];
                bytes[..8].copy_from_slice(&self.a.to_le_bytes());
                bytes[8..16].copy_from_slice(&self.b.to_le_bytes());
                bytes[16..24].copy_from_slice(&self.c.to_le_bytes());
                bytes[24..].copy_from_slice(&self.d.to_le_bytes());
                bytes
            }
        }

        common!($name, 28);
    };
}

wide_id!(
    /// A process that runs or submits tasks: a worker or a driver.
    WorkerId
);
wide_id!(
    /// One machine of the cluster.
    NodeId
);
wide_id!(
    /// A function or class, by the content of its pickled definition.
    FunctionId
);

impl WorkerId {
    /// The id of the worker with this number on a node: no chance is involved, so that a node's
    /// decisions can be repeated. Different numbers, and different nodes, give different ids.
    pub fn numbered(node: &NodeId, number: u64) -> Self {
        // The finalizer of splitmix64 is a bijection: the first eight bytes alone tell the workers
        // of one node apart.
        let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self {
            a: node.a ^ mixed ^ (mixed >> 31),
            b: node.b,
            c: node.c,
            d: node.d,
        }
    }

    /// Whether [`Self::numbered`] made this of that node: all its workers are told by that.
    pub fn is_of(&self, node: &NodeId) -> bool {
        (self.b, self.c, self.d) == (node.b, node.c, node.d)
    }
}

/// One driver's program.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Message)]
pub struct JobId {
    #[prost(fixed32, tag = "1")]
    number: u32,
}

impl JobId {
    /// The id with these bytes (little-endian: the first job reads `01000000`).
    pub fn from_array(bytes: [u8; 4]) -> Self {
        Self {
            number: u32::from_le_bytes(bytes),
        }
    }

    /// The bytes.
    pub fn to_array(&self) -> [u8; 4] {
        self.number.to_le_bytes()
    }

    /// The job with this number; jobs count from one.
    pub fn from_number(number: u32) -> Self {
        Self { number }
    }

    /// The number.
    pub fn number(&self) -> u32 {
        self.number
    }
}
common!(JobId, 4);

/// An actor: twelve unique bytes and its job.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Message)]
pub struct ActorId {
    #[prost(fixed64, tag = "1")]
    a: u64,
    #[prost(fixed64, tag = "2")]
    b: u64,
}

impl ActorId {
    /// The id with these bytes.
    pub fn from_array(bytes: [u8; 16]) -> Self {
        Self {
            a: word64(&bytes, 0),
            b: word64(&bytes, 8),
        }
    }

    /// The bytes.
    pub fn to_array(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.a.to_le_bytes());
        bytes[8..].copy_from_slice(&self.b.to_le_bytes());
        bytes
    }

    /// A new actor's id in `job`.
    pub fn new(job: JobId) -> Self {
        let mut bytes: [u8; 16] = random_bytes();
        bytes[12..].copy_from_slice(&job.to_array());
        Self::from_array(bytes)
    }

    /// What stands for the actor in the ids of `job`'s plain tasks.
    pub fn none_of(job: JobId) -> Self {
        let mut bytes = [0xff; 16];
        bytes[12..].copy_from_slice(&job.to_array());
        Self::from_array(bytes)
    }

    /// Whether the id is that of a plain task's absent actor.
    pub fn is_none(&self) -> bool {
        self.to_array()[..12] == [0xff; 12]
    }

    /// The job of the actor.
    pub fn job(&self) -> JobId {
        JobId {
            number: (self.b >> 32) as u32,
        }
    }

    /// The object whose references are the handles of this actor.
    pub fn handle_object(&self) -> ObjectId {
        TaskId::of(u64::MAX, *self).return_id(0)
    }
}
common!(ActorId, 16);

/// A placement group: fourteen unique bytes and the job that created it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Message)]
pub struct PlacementGroupId {
    #[prost(fixed64, tag = "1")]
    a: u64,
    #[prost(fixed64, tag = "2")]
    b: u64,
    /// Two bytes.
    #[prost(fixed32, tag = "3")]
    c: u32,
}

impl PlacementGroupId {
    /// The id with these bytes.
    pub fn from_array(bytes: [u8; 18]) -> Self {
        Self {
            a: word64(&bytes, 0),
            b: word64(&bytes, 8),
            c: u32::from(u16::from_le_bytes([bytes[16], bytes[17]])),
        }
    }

    /// The bytes.
    pub fn to_array(&self) -> [u8; 18] {
        let mut bytes = [0; 18];
        bytes[..8].copy_from_slice(&self.a.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.b.to_le_bytes());
        bytes[16..].copy_from_slice(&(self.c as u16).to_le_bytes());
        bytes
    }

    /// A new group's id in `job`.
    pub fn new(job: JobId) -> Self {
        let mut bytes: [u8; 18] = random_bytes();
        bytes[14..].copy_from_slice(&job.to_array());
        Self::from_array(bytes)
    }

    /// The job that created the group.
    pub fn job(&self) -> JobId {
        JobId {
            number: word32(&self.to_array(), 14),
        }
    }
}
common!(PlacementGroupId, 18);

/// One invocation: eight unique bytes and the actor (or none) that it runs on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Message)]
pub struct TaskId {
    #[prost(fixed64, tag = "1")]
    unique: u64,
    #[prost(fixed64, tag = "2")]
    a: u64,
    #[prost(fixed64, tag = "3")]
    b: u64,
}

impl TaskId {
    /// The id with these bytes.
    pub fn from_array(bytes: [u8; 24]) -> Self {
        Self {
            unique: word64(&bytes, 0),
            a: word64(&bytes, 8),
            b: word64(&bytes, 16),
        }
    }

    /// The bytes.
    pub fn to_array(&self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.unique.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.a.to_le_bytes());
        bytes[16..].copy_from_slice(&self.b.to_le_bytes());
        bytes
    }

    /// The task of this number on `actor` (see [`ActorId::none_of`] for a plain task).
    pub fn of(unique: u64, actor: ActorId) -> Self {
        Self {
            unique,
            a: actor.a,
            b: actor.b,
        }
    }

    /// The actor part.
    pub fn actor(&self) -> ActorId {
        ActorId {
            a: self.a,
            b: self.b,
        }
    }

    /// The job of the task.
    pub fn job(&self) -> JobId {
        self.actor().job()
    }

    /// The unique part.
    pub fn unique(&self) -> u64 {
        self.unique
    }

    /// The object with this index among what the task makes; return values count from one.
    pub fn return_id(&self, index: u32) -> ObjectId {
        ObjectId {
            unique: self.unique,
            a: self.a,
            b: self.b,
            index,
        }
    }
}
common!(TaskId, 24);

/// An object: the task that made it, and its index there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Message)]
pub struct ObjectId {
    #[prost(fixed64, tag = "1")]
    unique: u64,
    #[prost(fixed64, tag = "2")]
    a: u64,
    #[prost(fixed64, tag = "3")]
    b: u64,
    #[prost(fixed32, tag = "4")]
    index: u32,
}

impl ObjectId {
    /// The id with these bytes.
    pub fn from_array(bytes: [u8; 28]) -> Self {
        Self {
            unique: word64(&bytes, 0),
            a: word64(&bytes, 8),
            b: word64(&bytes, 16),
            index: word32(&bytes, 24),
        }
    }

    /// The bytes.
    pub fn to_array(&self) -> [u8; 28] {
        let mut bytes = [0; 28];
        bytes[..24].copy_from_slice(&self.task().to_array());
        bytes[24..].copy_from_slice(&self.index.to_le_bytes());
        bytes
    }

    /// The task that makes, or made, the object.
    pub fn task(&self) -> TaskId {
        TaskId {
            unique: self.unique,
            a: self.a,
            b: self.b,
        }
    }

    /// The index among the objects of its task.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The first index of an object that a program puts; those below are results of tasks.
    pub const FIRST_PUT: u32 = 0x8000_0000;
}
common!(ObjectId, 28);

/// The right to one worker, granted by its node. Unique within that node's life.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Message)]
pub struct LeaseId {
    #[prost(uint64, tag = "1")]
    pub number: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_hexadecimal_come_back() {
        let object = TaskId::of(7, ActorId::new(JobId::from_number(3))).return_id(2);
        assert_eq!(ObjectId::from_hex(&object.to_hex()), Some(object));
        assert_eq!(ObjectId::from_slice(&object.to_array()), Some(object));
        assert_eq!(object.task().job(), JobId::from_number(3));
        assert_eq!(object.to_hex().len(), 56);
    }

    #[test]
    fn the_first_job_reads_as_users_know_it() {
        assert_eq!(JobId::from_number(1).to_hex(), "01000000");
    }

    #[test]
    fn text_that_is_no_id_is_refused() {
        assert_eq!(WorkerId::from_hex("zz"), None);
        assert_eq!(WorkerId::from_hex("é0"), None);
        assert_eq!(WorkerId::from_hex(&"0".repeat(54)), None);
    }

    #[test]
    fn numbered_workers_differ_by_number_and_node() {
        let nodes = [NodeId::from_array([1; 28]), NodeId::from_array([2; 28])];
        let ids: std::collections::HashSet<WorkerId> = nodes
            .iter()
            .flat_map(|node| (0..100).map(|number| WorkerId::numbered(node, number)))
            .collect();
        assert_eq!(ids.len(), 200);
        assert_eq!(
            WorkerId::numbered(&nodes[0], 7),
            WorkerId::numbered(&nodes[0], 7)
        );
        assert!(WorkerId::numbered(&nodes[0], 7).is_of(&nodes[0]));
        assert!(!WorkerId::numbered(&nodes[0], 7).is_of(&nodes[1]));
    }

    #[test]
    fn a_group_tells_its_job() {
        let group = PlacementGroupId::new(JobId::from_number(0x0102_0304));
        assert_eq!(group.job(), JobId::from_number(0x0102_0304));
        assert_eq!(PlacementGroupId::from_hex(&group.to_hex()), Some(group));
        assert_eq!(group.to_hex().len(), 36);
        assert!(group.to_hex().ends_with("04030201"));
    }

    #[test]
    fn a_plain_task_has_no_actor() {
        let actor = ActorId::none_of(JobId::from_number(1));
        assert!(actor.is_none());
        assert_eq!(actor.job(), JobId::from_number(1));
        assert!(!ActorId::new(JobId::from_number(1)).is_none());
    }
}
