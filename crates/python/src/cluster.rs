//! The cluster's key-value store, its state, and what it tells the driver's user.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};
use whipray_proto::messages::actor::ActorState;
use whipray_proto::messages::cluster::{
    ActorStatus, BundleStatus, JobStatus, KeyValueReply, KeyValueVerb, LogLines, NodeStatus,
    PendingDemand,
};
use whipray_proto::messages::session::JobDescription;
use whipray_proto::resources::{Resources, UNITS};
use whipray_proto::scheduling::{LabelOperator, LabelSelector, LabelTerm};
use whipray_worker::DriverEvent;

use crate::{connection, get, hooks, waiting};

fn ask(
    py: Python<'_>,
    verb: KeyValueVerb,
    namespace: &str,
    key: &[u8],
    value: &[u8],
) -> PyResult<KeyValueReply> {
    let connection = connection::current(py)?;
    let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
    py.detach(|| connection.runtime.key_value(verb, namespace, key, value))
        .map_err(|failure| hooks::failure(py, &failure))
}

/// The value of a key, or None.
#[pyfunction]
pub fn kv_get<'py>(
    py: Python<'py>,
    namespace: &str,
    key: &[u8],
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let reply = ask(py, KeyValueVerb::Get, namespace, key, &[])?;
    Ok(reply.found.then(|| PyBytes::new(py, &reply.value)))
}

/// Write a key; whether it was there before.
#[pyfunction]
pub fn kv_put(
    py: Python<'_>,
    namespace: &str,
    key: &[u8],
    value: &[u8],
    overwrite: bool,
) -> PyResult<bool> {
    let verb = if overwrite {
        KeyValueVerb::Put
    } else {
        KeyValueVerb::PutNew
    };
    Ok(ask(py, verb, namespace, key, value)?.found)
}

/// Write a new key without waiting for the answer.
#[pyfunction]
pub fn kv_send(py: Python<'_>, namespace: &str, key: &[u8], value: &[u8]) -> PyResult<()> {
    let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
    let connection = connection::current(py)?;
    connection
        .runtime
        .key_value_send(KeyValueVerb::PutNew, namespace, key, value);
    Ok(())
}

/// The value of a key, waiting for it where it is not there yet.
#[pyfunction]
pub fn kv_wait<'py>(py: Python<'py>, namespace: &str, key: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let reply = ask(py, KeyValueVerb::GetWhenThere, namespace, key, &[])?;
    Ok(PyBytes::new(py, &reply.value))
}

/// Delete a key; whether it was there.
#[pyfunction]
pub fn kv_delete(py: Python<'_>, namespace: &str, key: &[u8]) -> PyResult<bool> {
    Ok(ask(py, KeyValueVerb::Delete, namespace, key, &[])?.found)
}

/// Whether a key is there.
#[pyfunction]
pub fn kv_exists(py: Python<'_>, namespace: &str, key: &[u8]) -> PyResult<bool> {
    Ok(ask(py, KeyValueVerb::Exists, namespace, key, &[])?.found)
}

/// All keys that start with `prefix`.
#[pyfunction]
pub fn kv_keys<'py>(
    py: Python<'py>,
    namespace: &str,
    prefix: &[u8],
) -> PyResult<Vec<Bound<'py, PyBytes>>> {
    let reply = ask(py, KeyValueVerb::List, namespace, prefix, &[])?;
    Ok(reply.keys.iter().map(|key| PyBytes::new(py, key)).collect())
}

/// The state of the cluster.
#[pyfunction]
pub fn status(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let connection = connection::current(py)?;
    let status = py
        .detach(|| connection.runtime.status())
        .map_err(|failure| hooks::failure(py, &failure))?;
    let dict = PyDict::new(py);
    dict.set_item("nodes", list(py, &status.nodes, node)?)?;
    dict.set_item("demands", list(py, &status.demands, demand)?)?;
    dict.set_item("actors", list(py, &status.actors, actor)?)?;
    dict.set_item("jobs", list(py, &status.jobs, job_status)?)?;
    dict.set_item("version", &status.version)?;
    dict.set_item("cluster_address", &status.cluster_address)?;
    Ok(dict)
}

/// A list of what `convert` makes of each item.
///
/// # Errors
/// No memory.
pub fn list<'py, T>(
    py: Python<'py>,
    items: &[T],
    convert: fn(Python<'py>, &T) -> PyResult<Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyList>> {
    let dicts = items
        .iter()
        .map(|item| convert(py, item))
        .collect::<PyResult<Vec<_>>>()?;
    PyList::new(py, dicts)
}

fn node<'py>(py: Python<'py>, node: &NodeStatus) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("node_id", node.node.to_hex())?;
    dict.set_item("alive", node.alive)?;
    dict.set_item("ip", &node.ip)?;
    dict.set_item("hostname", &node.hostname)?;
    dict.set_item("endpoint", &node.endpoint)?;
    dict.set_item("node_endpoint", &node.node_endpoint)?;
    dict.set_item("death", &node.death)?;
    dict.set_item("end", node.end)?;
    dict.set_item("total", resources(py, &node.total)?)?;
    dict.set_item("available", resources(py, &node.available)?)?;
    dict.set_item("labels", &node.labels)?;
    dict.set_item("is_head", node.is_head)?;
    dict.set_item("store_used_bytes", node.store_used_bytes)?;
    dict.set_item("store_capacity_bytes", node.store_capacity_bytes)?;
    dict.set_item("store_objects", node.store_objects)?;
    dict.set_item("workers", node.workers)?;
    dict.set_item("metrics_port", node.metrics_port)?;
    dict.set_item("age_us", node.age_us)?;
    dict.set_item("dead_since_us", node.dead_since_us)?;
    dict.set_item("session_directory", &node.session_directory)?;
    dict.set_item("bundles", list(py, &node.bundles, bundle)?)?;
    Ok(dict)
}

fn bundle<'py>(py: Python<'py>, status: &BundleStatus) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("group", status.bundle.group.to_hex())?;
    dict.set_item("index", status.bundle.index)?;
    dict.set_item("available", resources(py, &status.available)?)?;
    dict.set_item("users", status.users)?;
    Ok(dict)
}

fn demand<'py>(py: Python<'py>, demand: &PendingDemand) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("resources", resources(py, &demand.resources)?)?;
    dict.set_item("count", demand.count)?;
    dict.set_item("infeasible", demand.infeasible)?;
    dict.set_item("reason", &demand.reason)?;
    dict.set_item("example", &demand.example)?;
    Ok(dict)
}

fn actor<'py>(py: Python<'py>, actor: &ActorStatus) -> PyResult<Bound<'py, PyDict>> {
    let state = match ActorState::try_from(actor.state) {
        Ok(ActorState::Pending) => "PENDING_CREATION",
        Ok(ActorState::Alive) => "ALIVE",
        Ok(ActorState::Restarting) => "RESTARTING",
        Ok(ActorState::Dead) => "DEAD",
        Err(_) => "UNKNOWN",
    };
    let dict = PyDict::new(py);
    dict.set_item("actor_id", actor.actor.to_hex())?;
    dict.set_item("class_name", &actor.class_name)?;
    dict.set_item("name", &actor.name)?;
    dict.set_item("namespace", &actor.namespace)?;
    dict.set_item("state", state)?;
    dict.set_item("restarts", actor.restarts)?;
    dict.set_item("death", &actor.death)?;
    dict.set_item("is_starting", actor.is_starting)?;
    dict.set_item("waits_for_arguments", actor.waits_for_arguments)?;
    dict.set_item("pending_reason", &actor.pending_reason)?;
    dict.set_item("pid", actor.pid)?;
    dict.set_item("node_id", actor.node.map(|node| node.to_hex()))?;
    dict.set_item("job_id", actor.job.to_hex())?;
    dict.set_item("detached", actor.detached)?;
    dict.set_item("resources", resources(py, &actor.resources)?)?;
    dict.set_item("worker_id", actor.worker.map(|worker| worker.to_hex()))?;
    dict.set_item("owner_id", actor.owner.to_hex())?;
    dict.set_item("restarts_by_drains", actor.restarts_by_drains)?;
    dict.set_item("group_id", actor.group.map(|group| group.to_hex()))?;
    let strategy = actor.strategy.as_deref();
    let labels = strategy.and_then(|strategy| strategy.hard.as_ref());
    dict.set_item("label_selector", labels.map(selector))?;
    dict.set_item("environment", &actor.environment)?;
    dict.set_item("shown_as", &actor.shown_as)?;
    dict.set_item("age_us", actor.age_us)?;
    let constructed = actor.constructed;
    dict.set_item("started_at_us", constructed.started_at_us)?;
    dict.set_item("ended_at_us", constructed.ended_at_us)?;
    dict.set_item("parent_task_id", actor.parent.to_hex())?;
    let cause = actor.cause.as_deref();
    let cause = cause
        .map(|cause| hooks::death_cause(py, cause))
        .transpose()?;
    dict.set_item("cause", cause)?;
    Ok(dict)
}

fn job_status<'py>(py: Python<'py>, status: &JobStatus) -> PyResult<Bound<'py, PyDict>> {
    let dict = job(py, &status.description)?;
    dict.set_item("node_id", status.node.to_hex())?;
    dict.set_item("age_us", status.age_us)?;
    dict.set_item("is_over", status.is_over)?;
    dict.set_item("over_since_us", status.over_since_us)?;
    Ok(dict)
}

/// Conditions on labels by key, in the words of those who give them.
fn selector(selector: &LabelSelector) -> BTreeMap<&str, String> {
    let terms = selector.terms.iter();
    terms.map(|term| (&*term.key, condition(term))).collect()
}

fn condition(term: &LabelTerm) -> String {
    let values = term.values.join(", ");
    match (term.operator(), term.values.len()) {
        (LabelOperator::In, 1) => values,
        (LabelOperator::In, _) => format!("in({values})"),
        (LabelOperator::NotIn, 1) => format!("!{values}"),
        (LabelOperator::NotIn, _) => format!("!in({values})"),
        (LabelOperator::Exists, _) => "exists()".to_owned(),
        (LabelOperator::DoesNotExist, _) => "!exists()".to_owned(),
    }
}

/// A job's description as the package sees it.
///
/// # Errors
/// No memory.
pub fn job<'py>(py: Python<'py>, job: &JobDescription) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("job_id", PyBytes::new(py, &job.job.to_array()))?;
    dict.set_item("entrypoint", &job.entrypoint)?;
    dict.set_item("python_path", &job.python_path)?;
    dict.set_item("working_directory", &job.working_directory)?;
    dict.set_item("namespace", &job.namespace)?;
    dict.set_item("environment", &job.environment)?;
    dict.set_item("driver_pid", job.driver_pid)?;
    dict.set_item("log_to_driver", job.log_to_driver)?;
    dict.set_item("runtime_env", &job.runtime_env)?;
    dict.set_item("detached_actors", job.detached_actors)?;
    Ok(dict)
}

/// Amounts by name, in whole units.
///
/// # Errors
/// No memory.
pub fn resources<'py>(py: Python<'py>, resources: &Resources) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (name, units) in &resources.amounts {
        dict.set_item(name, *units as f64 / UNITS as f64)?;
    }
    Ok(dict)
}

/// Events for the driver's user, waiting up to `timeout` seconds; None once disconnected.
#[pyfunction]
pub fn next_events(py: Python<'_>, timeout: f64) -> PyResult<Option<Bound<'_, PyList>>> {
    let Some(connection) = connection::find() else {
        return Ok(None);
    };
    let timeout = waiting::timeout(Some(timeout.max(0.0)))?.unwrap_or_default();
    let events = py.detach(|| {
        let mut events = Vec::new();
        let mut next = connection.runtime.next_event(timeout);
        while let Some(event) = next {
            let last = matches!(event, DriverEvent::Closed);
            events.push(event);
            next = if last {
                None
            } else {
                connection.runtime.next_event(Duration::ZERO)
            };
        }
        events
    });
    let list = PyList::empty(py);
    for event in events {
        match event {
            DriverEvent::Log(lines) => list.append(log_event(py, lines)?)?,
            DriverEvent::Warning(text) => list.append(("warning", text))?,
            // What the engine itself reports was reported where it happened.
            DriverEvent::UnhandledError(value) if value.failure.is_some() => {}
            DriverEvent::UnhandledError(value) => {
                if let Err(error) = get::open(py, *value, None, Vec::new()) {
                    list.append(("unhandled", error.into_value(py)))?;
                }
            }
            // What came before the end is delivered first; the next call finds the end again.
            DriverEvent::Closed if list.is_empty() => return Ok(None),
            DriverEvent::Closed => {}
        }
    }
    Ok(Some(list))
}

fn log_event(py: Python<'_>, lines: LogLines) -> PyResult<Bound<'_, PyTuple>> {
    let described = (lines.pid, lines.ip, lines.name, lines.is_error, lines.lines);
    ("log", described).into_pyobject(py)
}

/// Waits until what the workers wrote until now has arrived, `timeout` seconds at most.
#[pyfunction]
pub fn flush_logs(py: Python<'_>, timeout: f64) -> PyResult<()> {
    let connection = connection::current(py)?;
    let timeout = waiting::timeout(Some(timeout.max(0.0)))?.unwrap_or_default();
    py.detach(|| connection.runtime.flush_logs(timeout));
    Ok(())
}
