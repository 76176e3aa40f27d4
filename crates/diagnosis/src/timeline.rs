//! What ran where and when, in the Trace Event Format, which browsers and Perfetto show.
//!
//! Source of the format: "Trace Event Format", the document of the Chromium project. There is one
//! complete event (`"ph": "X"`) for each task: a row for each worker, a group of rows for each node.

use serde_json::{Value, json};
use whipray_proto::WorkerId;
use whipray_proto::messages::inquiry::{EndedReport, Inquiry, InquiryAnswered, TaskEnd};

use crate::Cluster;

/// Tasks that each process is asked for: all that it remembers.
const ENTRIES: u32 = u32::MAX;

/// The events, as one JSON array; `None` where nobody answers.
pub fn timeline(cluster: &mut dyn Cluster) -> Option<String> {
    let inquiry = Inquiry {
        ended_limit: ENTRIES,
        with_node: true,
        is_for_all: true,
        ..Inquiry::default()
    };
    Some(Value::Array(events(&cluster.inquire(inquiry)?)).to_string())
}

/// In the order in which the tasks began.
fn events(answer: &InquiryAnswered) -> Vec<Value> {
    // A worker that is gone is told by its id alone.
    let node_of = |worker: &WorkerId| {
        let mut nodes = answer.nodes.iter();
        let node = nodes.find(|node| worker.is_of(&node.node));
        let node = node.or(answer.nodes.first());
        node.map_or("", |node| node.ip.as_str())
    };
    let ended = answer.processes.iter().flat_map(|process| &process.ended);
    let mut ran: Vec<(&EndedReport, WorkerId)> = ended
        .filter_map(|ended| Some((ended, ended.worker?)))
        .collect();
    ran.sort_by_key(|(ended, _)| ended.started_at_us);
    ran.into_iter()
        .map(|(ended, worker)| event(ended, worker, node_of(&worker)))
        .collect()
}

fn event(ended: &EndedReport, worker: WorkerId, node: &str) -> Value {
    let colour = match ended.end() {
        TaskEnd::Returned => "generic_work",
        TaskEnd::Raised | TaskEnd::Failed => "terrible",
    };
    json!({
        "cat": format!("task::{}", ended.name),
        "name": ended.name,
        "pid": node,
        "tid": format!("worker:{}", worker.to_hex()),
        "ts": ended.started_at_us,
        "dur": ended.ended_at_us.saturating_sub(ended.started_at_us),
        "ph": "X",
        "cname": colour,
        "args": {
            "name": ended.name,
            "task_id": ended.task.to_hex(),
            "attempt": ended.attempt,
            "submitted_at": ended.submitted_at_us,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use whipray_proto::NodeId;
    use whipray_proto::messages::inquiry::{NodeReport, ProcessReport};

    fn ended(name: &str, worker: Option<WorkerId>, started_at_us: u64) -> EndedReport {
        EndedReport {
            name: name.to_owned(),
            worker,
            started_at_us,
            ended_at_us: started_at_us + 5,
            ..EndedReport::default()
        }
    }

    #[test]
    fn tasks_that_ran_stand_in_their_order() {
        let nodes = [1, 2].map(|number| NodeReport {
            node: NodeId::from_array([number; 28]),
            ip: format!("10.0.0.{number}"),
            ..NodeReport::default()
        });
        let elsewhere = WorkerId::numbered(&nodes[1].node, 7);
        let worker = WorkerId::random();
        let process = ProcessReport {
            ended: vec![
                ended("second", Some(worker), 20),
                ended("never", None, 0),
                ended("first", Some(worker), 10),
                ended("third", Some(elsewhere), 30),
            ],
            ..ProcessReport::default()
        };
        let answer = InquiryAnswered {
            processes: vec![process],
            nodes: nodes.to_vec(),
            ..InquiryAnswered::default()
        };
        let events = events(&answer);
        assert_eq!(events.len(), 3);
        assert_eq!(events[0]["name"], "first");
        assert_eq!(events[1]["cat"], "task::second");
        assert_eq!(events[1]["ts"], 20);
        assert_eq!(events[1]["dur"], 5);
        assert_eq!(events[1]["pid"], "10.0.0.1");
        assert_eq!(events[2]["pid"], "10.0.0.2");
        assert_eq!(events[1]["tid"], format!("worker:{}", worker.to_hex()));
    }
}
