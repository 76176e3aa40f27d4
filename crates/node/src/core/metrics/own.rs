//! What the node says of itself, with Ray's names where the meaning is Ray's. All of it is known
//! anyway, and counted together when somebody reads.

use std::collections::BTreeMap;

use whipray_proto::messages::inquiry::WorkerStage;
use whipray_proto::resources::OBJECT_STORE_MEMORY;

use super::super::Node;
use super::super::memory::MachineMemory;
use super::super::placement::Stage;
use super::text::Shown;

/// Labels and a value.
type Value = (Vec<(&'static str, String)>, f64);

/// One metric of the node.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnMetric {
    pub name: &'static str,
    pub shown: Shown,
    pub description: &'static str,
    pub values: Vec<Value>,
}

fn gauge(name: &'static str, description: &'static str, values: Vec<Value>) -> OwnMetric {
    OwnMetric {
        name,
        shown: Shown::Gauge,
        description,
        values,
    }
}

fn single(value: impl Into<f64>) -> Vec<Value> {
    vec![(Vec::new(), value.into())]
}

fn label(key: &'static str, value: &str) -> (&'static str, String) {
    (key, value.to_owned())
}

impl Node {
    pub(super) fn own_metrics(
        &self,
        memory: Option<MachineMemory>,
        silent: usize,
    ) -> Vec<OwnMetric> {
        let mut metrics = vec![
            gauge(
                "ray_resources",
                "Logical resources of the node by name and state",
                self.resource_values(),
            ),
            gauge(
                "ray_running_jobs",
                "Drivers that are connected",
                single(self.jobs.len() as f64),
            ),
            gauge(
                "ray_actors",
                "Actors of the node by class, job and state",
                self.actor_values(),
            ),
            gauge(
                "ray_scheduler_tasks",
                "Workers that tasks wait for",
                self.waiting_values(),
            ),
            gauge(
                "whipray_workers",
                "Worker processes by what they are there for",
                self.worker_values(),
            ),
            gauge(
                "whipray_metrics_silent_processes",
                "Processes whose values are those of before, since they did not answer in time",
                single(silent as f64),
            ),
            OwnMetric {
                name: "whipray_metrics_dropped_values_total",
                shown: Shown::Counter,
                description: "Values of metrics that had no room",
                values: single(self.dropped_metrics() as f64),
            },
        ];
        metrics.extend(self.store_metrics());
        if let Some(memory) = memory {
            metrics.extend(self.memory_metrics(memory));
        }
        metrics
    }

    fn dropped_metrics(&self) -> u64 {
        let living = self.metrics.processes.values().map(|said| said.dropped);
        living.sum::<u64>() + self.metrics.departed.dropped
    }

    fn resource_values(&self) -> Vec<Value> {
        let store = self.objects.usage();
        let (total, available) = (self.ledger.total(), self.ledger.available());
        let names = total.amounts.keys();
        let mut values = Vec::new();
        for name in names.filter(|name| !name.starts_with("node:")) {
            let all = total.amount(name);
            // Nobody asks the ledger for room in the store.
            let used = match name.as_str() {
                OBJECT_STORE_MEMORY => store.used_bytes as f64,
                _ => all - available.amount(name),
            };
            for (state, value) in [("AVAILABLE", all - used), ("USED", used)] {
                values.push((vec![label("Name", name), label("State", state)], value));
            }
        }
        values
    }

    fn actor_values(&self) -> Vec<Value> {
        let mut counts: BTreeMap<(&str, String, &str), u32> = BTreeMap::new();
        for (actor, placement) in &self.placements {
            let state = match placement.stage {
                Stage::Waiting { .. } | Stage::AwaitsWorker => "PENDING_CREATION",
                Stage::Runs { .. } => "ALIVE",
            };
            let key = (
                placement.spec.class_name.as_str(),
                actor.job().to_hex(),
                state,
            );
            *counts.entry(key).or_default() += 1;
        }
        let values = counts.into_iter().map(|((class, job, state), count)| {
            let labels = vec![
                label("JobId", &job),
                label("Name", class),
                label("Source", "gcs"),
                label("State", state),
            ];
            (labels, f64::from(count))
        });
        values.collect()
    }

    fn waiting_values(&self) -> Vec<Value> {
        let wanted = self.demands.values();
        let wanted = wanted.map(|demand| demand.target.saturating_sub(demand.held));
        let count: u32 = wanted.sum();
        vec![(vec![label("State", "Waiting")], f64::from(count))]
    }

    fn worker_values(&self) -> Vec<Value> {
        let mut counts = [0_u32; 5];
        for (worker, entry) in self.pool.iter() {
            if let Some(count) = counts.get_mut(self.report_worker(worker, entry).stage as usize) {
                *count += 1;
            }
        }
        let stages = [
            ("STARTING", WorkerStage::Starting),
            ("IDLE", WorkerStage::Idle),
            ("LEASED", WorkerStage::Leased),
            ("ACTOR", WorkerStage::Actor),
            ("ENDING", WorkerStage::Ending),
        ];
        let values = stages.into_iter().map(|(state, stage)| {
            let count = counts[stage as usize];
            (vec![label("State", state)], f64::from(count))
        });
        values.collect()
    }

    fn store_metrics(&self) -> Vec<OwnMetric> {
        let store = self.objects.usage();
        let free = store.capacity_bytes.saturating_sub(store.used_bytes);
        let by_location = [
            ("MMAP_SHM", store.used_bytes),
            ("SPILLED", store.spilled_bytes),
        ];
        let by_location = by_location.map(|(location, bytes)| {
            let labels = vec![label("Location", location), label("ObjectState", "")];
            (labels, bytes as f64)
        });
        let spilled = |amount: u64| vec![(vec![label("State", "Spilled")], amount as f64)];
        vec![
            gauge(
                "ray_object_store_memory",
                "Bytes of objects by where they are",
                by_location.into(),
            ),
            gauge(
                "ray_object_store_used_memory",
                "Bytes of the object store that are in use",
                single(store.used_bytes as f64),
            ),
            gauge(
                "ray_object_store_available_memory",
                "Bytes of the object store that are free",
                single(free as f64),
            ),
            gauge(
                "ray_object_store_num_local_objects",
                "Objects in the object store",
                single(store.objects as f64),
            ),
            gauge(
                "ray_spill_manager_objects",
                "Objects that are on disk",
                spilled(store.spilled_objects),
            ),
            gauge(
                "ray_spill_manager_objects_bytes",
                "Bytes of objects that are on disk",
                spilled(store.spilled_bytes),
            ),
        ]
    }

    fn memory_metrics(&self, memory: MachineMemory) -> [OwnMetric; 3] {
        let free = memory.total_bytes.saturating_sub(memory.used_bytes);
        let of_node = |bytes: u64| {
            let (is_head, kind) = match self.config.is_head {
                true => ("true", "head"),
                false => ("false", "worker"),
            };
            let labels = vec![
                label("IsHeadNode", is_head),
                label("RayNodeType", kind),
                label("ip", &self.config.node_ip),
            ];
            vec![(labels, bytes as f64)]
        };
        [
            gauge(
                "ray_node_mem_used",
                "Bytes of memory that are in use",
                of_node(memory.used_bytes),
            ),
            gauge(
                "ray_node_mem_available",
                "Bytes of memory that are free",
                of_node(free),
            ),
            gauge(
                "ray_node_mem_total",
                "Bytes of memory that the node has",
                of_node(memory.total_bytes),
            ),
        ]
    }
}
