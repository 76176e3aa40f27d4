//! What the program of this process counts and measures. Nothing is sent from here: the values are
//! read when somebody asks, or when it is time to say them.

use rustc_hash::{FxBuildHasher, FxHashMap};
use whipray_proto::limits;
use whipray_proto::messages::metrics::{MetricFamily, MetricKind, MetricSeries, MetricsReported};

/// What a metric is.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    pub name: String,
    pub description: String,
    pub kind: MetricKind,
    pub tag_keys: Vec<String>,
    /// Of a histogram: the upper ends of its buckets.
    pub boundaries: Vec<f64>,
}

/// Stands for a metric of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricNumber(usize);

/// The values of tags in the order of their keys, written one behind the other: what values are kept
/// under, made without an allocation for each of them.
#[derive(Default)]
pub struct TagValues(Vec<u8>);

impl TagValues {
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn push(&mut self, value: &str) {
        // Longer texts than four gigabytes are cut nowhere: nobody has them as tags.
        self.0
            .extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.0.extend_from_slice(value.as_bytes());
    }

    fn read(mut written: &[u8]) -> Vec<String> {
        let mut values = Vec::new();
        while let Some((length, rest)) = written.split_first_chunk::<4>() {
            let length = (u32::from_le_bytes(*length) as usize).min(rest.len());
            let (value, rest) = rest.split_at(length);
            values.push(String::from_utf8_lossy(value).into_owned());
            written = rest;
        }
        values
    }
}

#[derive(Debug)]
enum Values {
    Number(f64),
    Buckets { sum: f64, counts: Box<[u64]> },
}

#[derive(Debug)]
struct Family {
    definition: Definition,
    series: FxHashMap<Box<[u8]>, Values>,
}

/// All metrics of a process.
#[derive(Debug)]
pub struct Registry {
    families: Vec<Family>,
    by_name: FxHashMap<String, Vec<usize>>,
    series: usize,
    dropped: u64,
    is_changed: bool,
}

impl Registry {
    pub const fn new() -> Self {
        Self {
            families: Vec::new(),
            by_name: FxHashMap::with_hasher(FxBuildHasher),
            series: 0,
            dropped: 0,
            is_changed: false,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.families.is_empty()
    }

    /// Whether there are values that nobody was told of.
    pub fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// The metric of this definition, which may be there already; `None` where there are too many.
    pub fn register(&mut self, mut definition: Definition) -> Option<MetricNumber> {
        // Buckets are looked up and added up in their order, and the last one has no end anyway.
        definition.boundaries.retain(|it| it.is_finite());
        definition.boundaries.sort_by(f64::total_cmp);
        definition.boundaries.dedup();
        let same_name = self.by_name.entry(definition.name.clone()).or_default();
        for number in same_name.iter() {
            let other = &self.families[*number].definition;
            if other.kind == definition.kind && other.tag_keys == definition.tag_keys {
                return Some(MetricNumber(*number));
            }
            // Values of one name are added up somewhere: whoever was first says into which buckets.
            definition.boundaries.clone_from(&other.boundaries);
        }
        if self.families.len() >= limits::METRIC_SERIES {
            self.dropped += 1;
            return None;
        }
        same_name.push(self.families.len());
        self.families.push(Family {
            definition,
            series: FxHashMap::default(),
        });
        self.is_changed = true;
        Some(MetricNumber(self.families.len() - 1))
    }

    /// Adds to a counter, sets a gauge, or counts a value of a histogram.
    pub fn record(&mut self, number: MetricNumber, tags: &TagValues, value: f64) {
        let Some(family) = self.families.get_mut(number.0) else {
            return;
        };
        self.is_changed = true;
        let kind = family.definition.kind;
        let boundaries = &family.definition.boundaries;
        let values = match family.series.get_mut(tags.0.as_slice()) {
            Some(values) => values,
            None if self.series >= limits::METRIC_SERIES => {
                self.dropped += 1;
                return;
            }
            None => {
                self.series += 1;
                let fresh = match kind {
                    MetricKind::Counter | MetricKind::Gauge => Values::Number(0.0),
                    MetricKind::Histogram => Values::Buckets {
                        sum: 0.0,
                        counts: vec![0; boundaries.len() + 1].into(),
                    },
                };
                let key = tags.0.clone().into_boxed_slice();
                family.series.entry(key).or_insert(fresh)
            }
        };
        match values {
            Values::Number(number) if kind == MetricKind::Gauge => *number = value,
            Values::Number(number) => *number += value,
            Values::Buckets { sum, counts } => {
                *sum += value;
                let bucket = boundaries.partition_point(|end| *end < value);
                // What is no number is in no bucket that has an end.
                let bucket = if value.is_nan() {
                    boundaries.len()
                } else {
                    bucket
                };
                counts[bucket] += 1;
            }
        }
    }

    /// Everything, for the node.
    pub fn report(&mut self, request: u64) -> MetricsReported {
        self.is_changed = false;
        MetricsReported {
            request,
            families: self.families.iter().map(report_family).collect(),
            dropped: self.dropped,
        }
    }

    /// Forgets all values: whoever was told of them counts them from here on, or they belong to the
    /// process that this one was forked from.
    pub fn forget_values(&mut self) {
        self.families
            .iter_mut()
            .for_each(|family| family.series.clear());
        self.series = 0;
        self.dropped = 0;
        self.is_changed = false;
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

fn report_family(family: &Family) -> MetricFamily {
    let definition = &family.definition;
    let series = family.series.iter().map(|(tags, values)| {
        let (value, buckets) = match values {
            Values::Number(number) => (*number, Vec::new()),
            Values::Buckets { sum, counts } => (*sum, counts.to_vec()),
        };
        MetricSeries {
            tag_values: TagValues::read(tags),
            value,
            buckets,
        }
    });
    MetricFamily {
        name: definition.name.clone(),
        description: definition.description.clone(),
        kind: definition.kind as i32,
        tag_keys: definition.tag_keys.clone(),
        boundaries: definition.boundaries.clone(),
        series: series.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(name: &str, kind: MetricKind) -> Definition {
        Definition {
            name: name.to_owned(),
            description: "what it is".to_owned(),
            kind,
            tag_keys: vec!["place".to_owned()],
            boundaries: Vec::new(),
        }
    }

    fn tags(values: &[&str]) -> TagValues {
        let mut tags = TagValues::default();
        values.iter().for_each(|value| tags.push(value));
        tags
    }

    /// The values of the first metric by the value of its only tag.
    fn values(registry: &mut Registry) -> Vec<(String, f64, Vec<u64>)> {
        let mut report = registry.report(0);
        let mut values: Vec<_> = report
            .families
            .swap_remove(0)
            .series
            .into_iter()
            .map(|mut it| (it.tag_values.swap_remove(0), it.value, it.buckets))
            .collect();
        values.sort_by(|left, right| left.0.cmp(&right.0));
        values
    }

    #[test]
    fn counters_add_up_and_gauges_are_replaced() {
        for (kind, second) in [(MetricKind::Counter, 3.5), (MetricKind::Gauge, 2.0)] {
            let mut registry = Registry::new();
            let number = registry.register(definition("m", kind)).unwrap();
            registry.record(number, &tags(&["a"]), 1.5);
            registry.record(number, &tags(&["a"]), 2.0);
            registry.record(number, &tags(&["b"]), 1.0);
            let expected = [
                ("a".to_owned(), second, vec![]),
                ("b".to_owned(), 1.0, vec![]),
            ];
            assert_eq!(values(&mut registry), expected);
        }
    }

    #[test]
    fn a_value_is_in_the_first_bucket_that_ends_at_or_above_it() {
        let mut registry = Registry::new();
        let number = registry
            .register(Definition {
                boundaries: vec![5.0, 1.0, 5.0, f64::INFINITY],
                ..definition("m", MetricKind::Histogram)
            })
            .unwrap();
        for value in [0.5, 1.0, 1.1, 5.0, 6.0, f64::INFINITY] {
            registry.record(number, &tags(&["a"]), value);
        }
        assert_eq!(values(&mut registry)[0].2, [2, 2, 2]);
        registry.record(number, &tags(&["a"]), f64::NAN);
        assert_eq!(values(&mut registry)[0].2, [2, 2, 3]);
    }

    #[test]
    fn one_definition_is_one_metric_and_others_of_its_name_are_their_own() {
        let mut registry = Registry::new();
        let first = registry.register(definition("m", MetricKind::Counter));
        let described = Definition {
            description: "otherwise".to_owned(),
            boundaries: vec![1.0],
            ..definition("m", MetricKind::Counter)
        };
        assert_eq!(registry.register(described), first);
        assert_ne!(registry.register(definition("m", MetricKind::Gauge)), first);
        assert_eq!(registry.report(0).families.len(), 2);
    }

    #[test]
    fn tags_come_back_as_they_were() {
        let values = ["", "ü", "a\0b", "x".repeat(300).as_str()].map(str::to_owned);
        let written = tags(&values.each_ref().map(String::as_str));
        assert_eq!(TagValues::read(&written.0), values);
    }

    #[test]
    fn values_without_room_are_counted() {
        let mut registry = Registry::new();
        let number = registry
            .register(definition("m", MetricKind::Counter))
            .unwrap();
        for index in 0..limits::METRIC_SERIES + 2 {
            registry.record(number, &tags(&[&index.to_string()]), 1.0);
        }
        let report = registry.report(7);
        assert_eq!((report.request, report.dropped), (7, 2));
        assert_eq!(report.families[0].series.len(), limits::METRIC_SERIES);
    }

    #[test]
    fn what_was_forgotten_starts_from_nothing() {
        let mut registry = Registry::new();
        let number = registry
            .register(definition("m", MetricKind::Counter))
            .unwrap();
        registry.record(number, &tags(&["a"]), 5.0);
        assert!(registry.is_changed());
        registry.forget_values();
        assert!(!registry.is_changed() && !registry.is_empty());
        registry.record(number, &tags(&["a"]), 1.0);
        assert_eq!(values(&mut registry), [("a".to_owned(), 1.0, vec![])]);
    }
}
