//! What the cluster knows of the things that wait, for people.

use std::sync::LazyLock;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use whipray_proto::TaskId;
use whipray_proto::messages::inquiry::{
    EndedReport, Inquiry, ObjectReport, ProcessReport, TaskEnd, TaskReport, WorkerReport,
};
use whipray_worker::ObjectHandle;

use crate::cluster::{self, list};
use crate::connection::{self, Connection};
use crate::hooks;

/// Whether it is recorded where objects are made (`RAY_record_ref_creation_sites`).
static RECORDS_CALL_SITES: LazyLock<bool> =
    LazyLock::new(|| std::env::var("RAY_record_ref_creation_sites").is_ok_and(|it| it == "1"));

/// Notes where the caller makes these objects, where that is recorded. `kind` is how: `put object` or
/// `task call`.
///
/// # Errors
/// What the package raises.
#[inline]
pub fn note_call_site(
    py: Python<'_>,
    connection: &Connection,
    kind: &str,
    handles: &[ObjectHandle],
) -> PyResult<()> {
    if *RECORDS_CALL_SITES {
        let site = format!("({kind}) | {}", hooks::call_site(py)?);
        connection.runtime.note_call_site(handles, &site);
    }
    Ok(())
}

/// Why an object, task or actor is where it is; None for bytes that are no such id.
#[pyfunction]
pub fn explain<'py>(py: Python<'py>, id: &[u8]) -> PyResult<Option<Bound<'py, PyDict>>> {
    let connection = connection::current(py)?;
    let Some(found) = py.detach(|| connection.runtime.explain(id)) else {
        return Ok(None);
    };
    let steps = PyList::empty(py);
    for step in found.steps {
        let dict = PyDict::new(py);
        dict.set_item("code", step.reason.code())?;
        dict.set_item("subject", step.subject)?;
        dict.set_item("seconds", step.age_us.map(|age| age as f64 / 1e6))?;
        dict.set_item("authority", step.authority)?;
        dict.set_item("text", step.text)?;
        dict.set_item("depth", step.depth)?;
        steps.append(dict)?;
    }
    let dict = PyDict::new(py);
    dict.set_item("subject", found.subject)?;
    dict.set_item("kind", found.kind)?;
    dict.set_item("steps", steps)?;
    dict.set_item("cycle", found.cycle)?;
    Ok(Some(dict))
}

/// What the processes of the cluster hold, wait for and run, and what their nodes know of them.
///
/// `limit`: entries of each kind that a process reports at most; `ended_limit`: tasks that are
/// through. Raises `RaySystemError` where the node does not answer.
#[pyfunction]
#[pyo3(signature = (limit, ended_limit = 0))]
pub fn reports(py: Python<'_>, limit: u32, ended_limit: u32) -> PyResult<Bound<'_, PyDict>> {
    let connection = connection::current(py)?;
    let inquiry = Inquiry {
        limit,
        ended_limit,
        with_node: true,
        with_ended_workers: true,
        is_for_all: true,
        ..Inquiry::default()
    };
    let answer = py
        .detach(|| connection.runtime.inquire(inquiry))
        .ok_or_else(|| crate::waiting::disconnected(py))?;
    let dict = PyDict::new(py);
    dict.set_item("processes", list(py, &answer.processes, process)?)?;
    dict.set_item("silent", list(py, &answer.silent, worker)?)?;
    let workers = PyList::empty(py);
    let ended = PyList::empty(py);
    for node in &answer.nodes {
        for report in &node.workers {
            let entry = worker(py, report)?;
            entry.set_item("node_id", node.node.to_hex())?;
            entry.set_item("node_ip", &node.ip)?;
            workers.append(entry)?;
        }
        for report in &node.ended {
            let entry = PyDict::new(py);
            entry.set_item("worker_id", report.worker.to_hex())?;
            entry.set_item("cause", hooks::death_cause(py, &report.cause)?)?;
            entry.set_item("age_us", report.age_us)?;
            entry.set_item("node_id", node.node.to_hex())?;
            entry.set_item("node_ip", &node.ip)?;
            ended.append(entry)?;
        }
    }
    dict.set_item("workers", workers)?;
    dict.set_item("ended", ended)?;
    let own = answer.nodes.into_iter().next().unwrap_or_default();
    dict.set_item("node_id", own.node.to_hex())?;
    dict.set_item("node_ip", own.ip)?;
    Ok(dict)
}

/// What has run, as a JSON array in the Trace Event Format.
///
/// Raises `RaySystemError` where the node does not answer.
#[pyfunction]
pub fn timeline(py: Python<'_>) -> PyResult<String> {
    let connection = connection::current(py)?;
    py.detach(|| connection.runtime.timeline())
        .ok_or_else(|| crate::waiting::disconnected(py))
}

fn process<'py>(py: Python<'py>, report: &ProcessReport) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("worker_id", report.worker.to_hex())?;
    dict.set_item("node_id", report.node.to_hex())?;
    dict.set_item("pid", report.pid)?;
    dict.set_item("is_driver", report.is_driver)?;
    dict.set_item("is_cut", report.is_cut)?;
    dict.set_item("objects", list(py, &report.objects, object)?)?;
    dict.set_item("tasks", list(py, &report.tasks, task)?)?;
    dict.set_item("ended", list(py, &report.ended, ended)?)?;
    let running: Vec<(String, u64)> = report
        .running
        .iter()
        .map(|it| (it.task.to_hex(), it.age_us))
        .collect();
    dict.set_item("running", running)?;
    let queued: Vec<String> = report.queued.iter().map(|task| task.to_hex()).collect();
    dict.set_item("queued", queued)?;
    let blocked: Vec<String> = report.waits.iter().map(|it| it.task.to_hex()).collect();
    dict.set_item("blocked", blocked)?;
    Ok(dict)
}

fn object<'py>(py: Python<'py>, report: &ObjectReport) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("object_id", report.object.to_hex())?;
    dict.set_item("task_id", report.object.task().to_hex())?;
    dict.set_item("owner_id", report.owner.to_hex())?;
    dict.set_item("is_ready", report.is_ready)?;
    dict.set_item("size_bytes", report.size_bytes)?;
    dict.set_item("is_shared", report.is_shared)?;
    let nodes: Vec<String> = report.nodes.iter().map(|node| node.to_hex()).collect();
    dict.set_item("node_ids", nodes)?;
    dict.set_item("local", report.local)?;
    dict.set_item("by_tasks", report.by_tasks)?;
    dict.set_item("by_objects", report.by_objects)?;
    dict.set_item("is_pinned", report.is_pinned)?;
    dict.set_item("is_actor_handle", report.is_actor_handle)?;
    dict.set_item("call_site", &report.call_site)?;
    Ok(dict)
}

fn identity<'py>(py: Python<'py>, task: &TaskId) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("task_id", task.to_hex())?;
    dict.set_item("job_id", task.job().to_hex())?;
    dict.set_item("actor_id", task.actor().to_hex())?;
    Ok(dict)
}

fn task<'py>(py: Python<'py>, report: &TaskReport) -> PyResult<Bound<'py, PyDict>> {
    let dict = identity(py, &report.task)?;
    dict.set_item("parent_task_id", report.parent.to_hex())?;
    dict.set_item("name", &report.name)?;
    dict.set_item("function", PyBytes::new(py, &report.function.to_array()))?;
    dict.set_item("method", &report.method)?;
    dict.set_item("group_id", report.group.map(|group| group.to_hex()))?;
    dict.set_item("stage", format!("{:?}", report.stage()))?;
    dict.set_item("age_us", report.age_us)?;
    dict.set_item("attempt", report.attempt)?;
    dict.set_item("is_actor_method", report.is_actor_method)?;
    dict.set_item("worker_id", report.worker.map(|worker| worker.to_hex()))?;
    dict.set_item("resources", cluster::resources(py, &report.resources)?)?;
    Ok(dict)
}

fn ended<'py>(py: Python<'py>, report: &EndedReport) -> PyResult<Bound<'py, PyDict>> {
    let dict = identity(py, &report.task)?;
    dict.set_item("parent_task_id", report.parent.to_hex())?;
    dict.set_item("name", &report.name)?;
    dict.set_item("attempt", report.attempt)?;
    dict.set_item("is_actor_method", report.is_actor_method)?;
    dict.set_item("worker_id", report.worker.map(|worker| worker.to_hex()))?;
    dict.set_item("submitted_at_us", report.submitted_at_us)?;
    dict.set_item("started_at_us", report.started_at_us)?;
    dict.set_item("ended_at_us", report.ended_at_us)?;
    dict.set_item("end", format!("{:?}", report.end()))?;
    dict.set_item("failure", format!("{:?}", report.failure()))?;
    dict.set_item("function", PyBytes::new(py, &report.function.to_array()))?;
    dict.set_item("method", &report.method)?;
    dict.set_item("group_id", report.group.map(|group| group.to_hex()))?;
    // Before the pickle stands what kind of value it is.
    let error = match report.end() {
        TaskEnd::Raised => report.error.get(1..).unwrap_or_default(),
        TaskEnd::Failed | TaskEnd::Returned => &report.error,
    };
    dict.set_item("error", PyBytes::new(py, error))?;
    Ok(dict)
}

fn worker<'py>(py: Python<'py>, report: &WorkerReport) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("worker_id", report.worker.to_hex())?;
    dict.set_item("pid", report.pid)?;
    dict.set_item("stage", format!("{:?}", report.stage()))?;
    dict.set_item("name", &report.name)?;
    dict.set_item("age_us", report.age_us)?;
    Ok(dict)
}
