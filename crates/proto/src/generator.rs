//! Tasks whose results come one by one.

/// Where the items of a generator go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum GeneratorMode {
    /// To the owner, each as soon as it is made.
    Streaming = 0,
    /// Into the answer, behind the one result, whose value has the references to them.
    Dynamic = 1,
}

/// How a task gives its results, where it gives them one by one.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GeneratorSpec {
    #[prost(enumeration = "GeneratorMode", tag = "1")]
    pub mode: i32,
    /// Items that may be made and not be taken by the consumer before the task pauses; zero for any
    /// number.
    #[prost(uint32, tag = "2")]
    pub window: u32,
    /// Above one: each `yield` gives a tuple or list of so many items.
    #[prost(uint32, tag = "3")]
    pub items_per_yield: u32,
    /// The owner needs no item before this one: it has them from an earlier try.
    /// [`GeneratorSpec::NONE_WANTED`] where nobody takes any.
    #[prost(uint32, tag = "4")]
    pub wanted_from: u32,
    /// How many of them the consumer had taken when the task was sent.
    #[prost(uint32, tag = "5")]
    pub taken: u32,
}

impl GeneratorSpec {
    /// The consumer is gone: the task runs to its end without it.
    pub const NONE_WANTED: u32 = u32::MAX;

    /// The index of the first item among the objects of its task; the one before stands for the
    /// whole.
    pub const FIRST_ITEM: u32 = 2;

    /// The most items of one task: as many as there are indexes that no put uses.
    pub const ITEMS: u32 = 0x8000_0000 - Self::FIRST_ITEM;
}
