//! What ran where and when, in the Trace Event Format, which browsers and Perfetto show.
//!
//! Source of the format: "Trace Event Format", the document of the Chromium project. There is one
//! complete event (`"ph": "X"`) for each task and each constructor of an actor: a row for each worker, a
//! group of rows for each node.

use serde_json::{Value, json};
use whipray_proto::messages::cluster::ActorStatus;
use whipray_proto::messages::inquiry::{EndedReport, Inquiry, InquiryAnswered, TaskEnd};
use whipray_proto::{DeathKind, TaskId, WorkerId};

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
    let answer = cluster.inquire(inquiry)?;
    let actors = cluster.status()?.actors;
    Some(Value::Array(events(&answer, &actors)).to_string())
}

/// One row's entry.
struct Span {
    name: String,
    worker: WorkerId,
    started_at_us: u64,
    ended_at_us: u64,
    has_failed: bool,
    /// What is shown of it when it is chosen.
    arguments: Value,
}

/// In the order in which they began.
fn events(answer: &InquiryAnswered, actors: &[ActorStatus]) -> Vec<Value> {
    // A worker that is gone is told by its id alone.
    let node_of = |worker: &WorkerId| {
        let mut nodes = answer.nodes.iter();
        let node = nodes.find(|node| worker.is_of(&node.node));
        let node = node.or(answer.nodes.first());
        node.map_or("", |node| node.ip.as_str())
    };
    let ended = answer.processes.iter().flat_map(|process| &process.ended);
    let tasks = ended.filter_map(of_task);
    let mut spans: Vec<Span> = tasks
        .chain(actors.iter().filter_map(of_constructor))
        .collect();
    spans.sort_by_key(|span| span.started_at_us);
    spans
        .into_iter()
        .map(|span| {
            let node = node_of(&span.worker);
            event(span, node)
        })
        .collect()
}

/// `None` for a task that never ran, and for a try of which nobody knows when it began: its worker is
/// gone.
fn of_task(ended: &EndedReport) -> Option<Span> {
    if ended.started_at_us == 0 {
        return None;
    }
    Some(Span {
        name: ended.name.clone(),
        worker: ended.worker?,
        started_at_us: ended.started_at_us,
        ended_at_us: ended.ended_at_us,
        has_failed: ended.end() != TaskEnd::Returned,
        arguments: json!({
            "name": ended.name,
            "task_id": ended.task.to_hex(),
            "attempt": ended.attempt,
            "submitted_at": ended.submitted_at_us,
        }),
    })
}

/// The last run of the constructor of an actor; `None` where it is not through.
fn of_constructor(actor: &ActorStatus) -> Option<Span> {
    let constructed = actor.constructed;
    let cause = actor.cause.as_deref();
    let worker = actor.worker.or_else(|| Some(cause?.worker))?;
    if constructed.ended_at_us == 0 || worker.is_nil() {
        return None;
    }
    let name = format!("{}.__init__", actor.class_name);
    Some(Span {
        worker,
        started_at_us: constructed.started_at_us,
        ended_at_us: constructed.ended_at_us,
        has_failed: cause.is_some_and(|cause| cause.kind() == DeathKind::ConstructorFailed),
        arguments: json!({
            "name": name,
            "task_id": TaskId::of(u64::MAX, actor.actor).to_hex(),
            "attempt": actor.restarts,
        }),
        name,
    })
}

fn event(span: Span, node: &str) -> Value {
    json!({
        "cat": format!("task::{}", span.name),
        "name": span.name,
        "pid": node,
        "tid": format!("worker:{}", span.worker.to_hex()),
        "ts": span.started_at_us,
        "dur": span.ended_at_us.saturating_sub(span.started_at_us),
        "ph": "X",
        "cname": if span.has_failed { "terrible" } else { "generic_work" },
        "args": span.arguments,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use whipray_proto::messages::actor::Constructed;
    use whipray_proto::messages::inquiry::{NodeReport, ProcessReport};
    use whipray_proto::{DeathCause, NodeId};

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
                ended("crashed", Some(elsewhere), 0),
            ],
            ..ProcessReport::default()
        };
        let constructed = |class: &str, started_at_us| ActorStatus {
            class_name: class.to_owned(),
            worker: Some(elsewhere),
            constructed: Constructed {
                started_at_us,
                ended_at_us: started_at_us + 1,
            },
            ..ActorStatus::default()
        };
        let failed = ActorStatus {
            worker: None,
            cause: Some(Box::new(DeathCause {
                worker,
                ..DeathCause::new(DeathKind::ConstructorFailed, "it raised")
            })),
            ..constructed("Failed", 50)
        };
        let starting = ActorStatus {
            constructed: Constructed::default(),
            ..constructed("Starting", 0)
        };
        let actors = [failed, constructed("Model", 15), starting];
        let answer = InquiryAnswered {
            processes: vec![process],
            nodes: nodes.to_vec(),
            ..InquiryAnswered::default()
        };
        let events = events(&answer, &actors);
        let names: Vec<&Value> = events.iter().map(|event| &event["name"]).collect();
        assert_eq!(
            names,
            [
                "first",
                "Model.__init__",
                "second",
                "third",
                "Failed.__init__"
            ]
        );
        assert_eq!(events[1]["tid"], format!("worker:{}", elsewhere.to_hex()));
        assert_eq!(
            (&events[1]["ts"], &events[1]["dur"]),
            (&json!(15), &json!(1))
        );
        assert_eq!(events[1]["cname"], "generic_work");
        assert_eq!(events[4]["cname"], "terrible");
        assert_eq!(events[4]["tid"], format!("worker:{}", worker.to_hex()));
        assert_eq!(events[2]["cat"], "task::second");
        assert_eq!(events[2]["ts"], 20);
        assert_eq!(events[2]["dur"], 5);
        assert_eq!(events[2]["pid"], "10.0.0.1");
        assert_eq!(events[3]["pid"], "10.0.0.2");
        assert_eq!(events[2]["tid"], format!("worker:{}", worker.to_hex()));
    }
}
