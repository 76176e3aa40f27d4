//! What processes have counted that are gone.
//!
//! The last ones keep their names, so that whoever computes rates sees a counter that stands still,
//! not one that vanishes and another that jumps. The oldest are added up, so that however many
//! processes come and go, what they leave is bounded.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use whipray_proto::limits;
use whipray_proto::messages::metrics::{MetricFamily, MetricKind, MetricSeries};

use super::ProcessMetrics;

/// A metric whose values can be added up: name, kind, keys of its tags.
type SumKey = (String, i32, Vec<String>);

#[derive(Clone, Debug, PartialEq)]
struct Sum {
    description: String,
    boundaries: Vec<f64>,
    series: FxHashMap<Vec<String>, (f64, Vec<u64>)>,
}

/// The values of all that are gone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Departed {
    recent: VecDeque<Arc<ProcessMetrics>>,
    /// Values in `recent`.
    recent_series: usize,
    sums: FxHashMap<SumKey, Sum>,
    summed_series: usize,
    /// Values that nobody had room for.
    pub dropped: u64,
}

impl Departed {
    /// Keeps what a process has counted; what it measured has gone with it.
    pub fn add(&mut self, said: Arc<ProcessMetrics>) {
        self.dropped += said.dropped;
        let is_kept = |family: &&MetricFamily| {
            family.kind() != MetricKind::Gauge && !family.series.is_empty()
        };
        let families: Vec<MetricFamily> = said.families.iter().filter(is_kept).cloned().collect();
        if families.is_empty() {
            return;
        }
        self.recent_series += count(&families);
        self.recent.push_back(Arc::new(ProcessMetrics {
            worker: said.worker,
            families,
            dropped: 0,
        }));
        while self.recent_series > limits::METRIC_SERIES_DEPARTED
            && let Some(oldest) = self.recent.pop_front()
        {
            self.recent_series -= count(&oldest.families);
            oldest.families.iter().for_each(|family| self.sum(family));
        }
    }

    fn sum(&mut self, family: &MetricFamily) {
        let key = (family.name.clone(), family.kind, family.tag_keys.clone());
        let sum = self.sums.entry(key).or_insert_with(|| Sum {
            description: family.description.clone(),
            boundaries: family.boundaries.clone(),
            series: FxHashMap::default(),
        });
        for series in &family.series {
            if let Some((value, buckets)) = sum.series.get_mut(&series.tag_values) {
                if buckets.len() == series.buckets.len() && sum.boundaries == family.boundaries {
                    *value += series.value;
                    let pairs = buckets.iter_mut().zip(&series.buckets);
                    pairs.for_each(|(bucket, more)| *bucket += more);
                    continue;
                }
            } else if self.summed_series < limits::METRIC_SERIES_SUMMED
                && sum.boundaries == family.boundaries
            {
                self.summed_series += 1;
                let fresh = (series.value, series.buckets.clone());
                sum.series.insert(series.tag_values.clone(), fresh);
                continue;
            }
            self.dropped += 1;
        }
    }

    /// Those that still stand for themselves.
    pub fn recent(&self) -> impl Iterator<Item = &ProcessMetrics> {
        self.recent.iter().map(|said| &**said)
    }

    /// All others together.
    pub fn sums(&self) -> ProcessMetrics {
        let families = self.sums.iter().map(|((name, kind, tag_keys), sum)| {
            let series = sum.series.iter().map(|(tag_values, (value, buckets))| {
                let (tag_values, buckets) = (tag_values.clone(), buckets.clone());
                MetricSeries {
                    tag_values,
                    value: *value,
                    buckets,
                }
            });
            MetricFamily {
                name: name.clone(),
                description: sum.description.clone(),
                kind: *kind,
                tag_keys: tag_keys.clone(),
                boundaries: sum.boundaries.clone(),
                series: series.collect(),
            }
        });
        ProcessMetrics {
            families: families.collect(),
            ..ProcessMetrics::default()
        }
    }
}

fn count(families: &[MetricFamily]) -> usize {
    families.iter().map(|family| family.series.len()).sum()
}
