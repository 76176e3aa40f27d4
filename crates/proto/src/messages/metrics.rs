//! What programs count and measure: each process keeps its own values, and says them when its node
//! asks, now and then by itself, and last of all before it ends.

/// What the values of a metric mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum MetricKind {
    /// Only ever grows.
    Counter = 0,
    /// The last value counts.
    Gauge = 1,
    /// Values, counted by size.
    Histogram = 2,
}

/// Node to a process: what are the values now?
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MetricsRequest {
    #[prost(uint64, tag = "1")]
    pub request: u64,
}

/// A process to its node: all its values since it connected.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MetricsReported {
    /// Zero where nobody asked.
    #[prost(uint64, tag = "1")]
    pub request: u64,
    #[prost(message, repeated, tag = "2")]
    pub families: Vec<MetricFamily>,
    /// Values that had no room since it connected.
    #[prost(uint64, tag = "3")]
    pub dropped: u64,
}

/// One metric of a process.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MetricFamily {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub description: String,
    #[prost(enumeration = "MetricKind", tag = "3")]
    pub kind: i32,
    #[prost(string, repeated, tag = "4")]
    pub tag_keys: Vec<String>,
    /// Of a histogram: the upper ends of its buckets, in order; the last bucket has none.
    #[prost(double, repeated, tag = "5")]
    pub boundaries: Vec<f64>,
    #[prost(message, repeated, tag = "6")]
    pub series: Vec<MetricSeries>,
}

/// The values of a metric under one set of tags.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MetricSeries {
    /// In the order of the keys.
    #[prost(string, repeated, tag = "1")]
    pub tag_values: Vec<String>,
    /// Of a histogram: the sum.
    #[prost(double, tag = "2")]
    pub value: f64,
    /// Of a histogram: how many values fell into each bucket alone.
    #[prost(uint64, repeated, tag = "3")]
    pub buckets: Vec<u64>,
}
