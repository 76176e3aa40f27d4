//! What a reader gets, put together from what the processes said. The loop of the daemon only collects
//! the parts; to write them down is the work of the reader's own thread.

use std::sync::Arc;

use whipray_proto::WorkerId;
use whipray_proto::messages::metrics::{MetricFamily, MetricKind, MetricSeries};

use super::ProcessMetrics;
use super::departed::Departed;
use super::own::OwnMetric;
use super::text::{Shown, Text, number, plain_name, push_label, push_line};

/// The version of the API that programs speak, which Ray puts beside every value. The package has
/// the same in `_context.py`.
const RAY_VERSION: &str = "2.60.0";

/// Labels that say where a value comes from. A tag of the same name is left out, as Ray does.
const OWN_LABELS: [&str; 5] = [
    "Component",
    "NodeAddress",
    "SessionName",
    "Version",
    "WorkerId",
];

/// What Ray calls the processes that programs run in, and its counterpart of the node.
const PROGRAM: &str = "core_worker";
const NODE: &str = "raylet";

/// All that there is to read at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    pub node_ip: String,
    pub session_name: String,
    pub own: Vec<OwnMetric>,
    pub processes: Vec<Arc<ProcessMetrics>>,
    pub departed: Arc<Departed>,
}

impl Page {
    /// The page in Prometheus' text format.
    pub fn text(&self) -> String {
        let mut text = Text::default();
        self.write_own(&mut text);
        let mut processes: Vec<&ProcessMetrics> = self.processes.iter().map(|it| &**it).collect();
        processes.extend(self.departed.recent());
        // Which of two descriptions of a metric is shown must not change from time to time.
        processes.sort_by_key(|said| said.worker.to_array());
        let sums = self.departed.sums();
        for said in processes.into_iter().chain([&sums]) {
            // Those that are added up have no process any more.
            let worker = match said.worker == WorkerId::default() {
                true => String::new(),
                false => said.worker.to_hex(),
            };
            let labels = self.labels(PROGRAM, &worker);
            for family in &said.families {
                write_family(&mut text, family, &labels);
            }
        }
        text.finish()
    }

    fn labels(&self, component: &str, worker: &str) -> String {
        let mut labels = String::new();
        let values = [
            component,
            &self.node_ip,
            &self.session_name,
            RAY_VERSION,
            worker,
        ];
        for (key, value) in OWN_LABELS.iter().zip(values) {
            push_label(&mut labels, key, value);
        }
        labels
    }

    fn write_own(&self, text: &mut Text) {
        let common = self.labels(NODE, "");
        for metric in &self.own {
            let Some(lines) = text.lines(metric.name, metric.shown, metric.description) else {
                continue;
            };
            for (labels, value) in &metric.values {
                let mut all = common.clone();
                for (key, value) in labels {
                    push_label(&mut all, key, value);
                }
                push_line(lines, metric.name, &all, *value);
            }
        }
    }
}

fn write_family(text: &mut Text, family: &MetricFamily, common: &str) {
    if family.series.is_empty() {
        return;
    }
    let mut name = format!("ray_{}", plain_name(&family.name, true));
    let shown = match family.kind() {
        MetricKind::Counter => Shown::Counter,
        MetricKind::Gauge => Shown::Gauge,
        MetricKind::Histogram => Shown::Histogram,
    };
    if shown == Shown::Counter && !name.ends_with("_total") {
        name.push_str("_total");
    }
    let Some(lines) = text.lines(&name, shown, &family.description) else {
        return;
    };
    let keys: Vec<Option<String>> = label_keys(&family.tag_keys, shown);
    for series in &family.series {
        let mut labels = common.to_owned();
        for (key, value) in keys.iter().zip(&series.tag_values) {
            if let Some(key) = key {
                push_label(&mut labels, key, value);
            }
        }
        match shown {
            Shown::Counter | Shown::Gauge => push_line(lines, &name, &labels, series.value),
            Shown::Histogram => write_buckets(lines, &name, &labels, family, series),
        }
    }
}

/// The names of labels for the keys of tags; `None` for those that are taken.
fn label_keys(tag_keys: &[String], shown: Shown) -> Vec<Option<String>> {
    let mut taken: Vec<String> = OWN_LABELS.iter().map(|key| (*key).to_owned()).collect();
    if shown == Shown::Histogram {
        taken.push("le".to_owned());
    }
    let keys = tag_keys.iter().map(|key| {
        let key = plain_name(key, false);
        let is_free = !taken.contains(&key);
        is_free.then(|| {
            taken.push(key.clone());
            key
        })
    });
    keys.collect()
}

/// Each bucket has all values up to its end, also those of the buckets before it.
fn write_buckets(
    lines: &mut String,
    name: &str,
    labels: &str,
    family: &MetricFamily,
    series: &MetricSeries,
) {
    let bucket_name = format!("{name}_bucket");
    let mut count = 0;
    let ends = family.boundaries.iter().copied().chain([f64::INFINITY]);
    for (end, bucket) in ends.zip(&series.buckets) {
        count += bucket;
        let mut labels = labels.to_owned();
        push_label(&mut labels, "le", &number(end));
        push_line(lines, &bucket_name, &labels, count as f64);
    }
    push_line(lines, &format!("{name}_count"), labels, count as f64);
    push_line(lines, &format!("{name}_sum"), labels, series.value);
}
