//! Actors as their owners and callers see them.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use whipray_proto::failure::{Failure, FailureKind};
use whipray_proto::ids::ActorId;
use whipray_proto::task::{ActorSpec, TaskKind, TaskSpec};
use whipray_worker::CreatedActor;

use crate::actor_ref::{ActorRef, parse_actor_id};
use crate::connection;
use crate::remote_call::{bytes, function_id, item, resources};
use crate::{arguments, context, groups, hooks};

type NamedActor<'py> = (ActorRef, Bound<'py, PyBytes>);

/// Create an actor; the second value is the pickled handle description of an existing one.
#[pyfunction]
pub fn create_actor<'py>(
    spec: &Bound<'py, PyDict>,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
) -> PyResult<(ActorRef, Option<Bound<'py, PyBytes>>)> {
    let py = spec.py();
    let connection = connection::current(py)?;
    let runtime = &connection.runtime;
    let job = context::job(py, &connection);
    let parent = context::parent(py, &connection);
    let actor = ActorId::new(job);
    let class_name: String = item(spec, "class_name")?.extract()?;
    let described = match spec.get_item("qualified_name")? {
        Some(name) => name.extract()?,
        None => class_name.clone(),
    };
    let arguments = arguments::encode(py, &connection, parent, &described, args, Some(kwargs))?;
    let creation = TaskSpec {
        task: runtime.next_task_id(actor),
        kind: TaskKind::ActorCreation as i32,
        function: function_id(spec)?,
        name: format!("{class_name}.__init__"),
        keywords: arguments.keywords,
        parent,
        ..TaskSpec::default()
    };
    let get_if_exists: bool = item(spec, "get_if_exists")?.extract()?;
    let name: String = item(spec, "name")?
        .extract::<Option<String>>()?
        .unwrap_or_default();
    let full = ActorSpec {
        actor,
        creation,
        job,
        class_name,
        name,
        namespace: item(spec, "namespace")?.extract()?,
        detached: item(spec, "detached")?.extract()?,
        resources: resources(spec, "resources")?,
        placement: resources(spec, "placement")?,
        max_restarts: item(spec, "max_restarts")?.extract()?,
        max_task_retries: item(spec, "max_task_retries")?.extract()?,
        max_concurrency: item(spec, "max_concurrency")?.extract()?,
        is_async: item(spec, "is_async")?.extract()?,
        concurrency_groups: item(spec, "concurrency_groups")?.extract()?,
        handle: bytes(spec, "handle")?,
        owner: runtime.address().clone(),
        environment: item(spec, "environment")?.extract()?,
        max_pending_calls: item(spec, "max_pending_calls")?.extract()?,
        strategy: groups::strategy(spec)?,
    };
    // Waits for the answer where the actor has a name that may be taken.
    let created = py
        .detach(|| runtime.create_actor(full, arguments.inputs, get_if_exists))
        .map_err(|failure| creation_failure(py, &failure))?;
    Ok(match created {
        CreatedActor::New(handle) => (ActorRef::of(handle), None),
        CreatedActor::Existing(spec, handle) => {
            (ActorRef::of(handle), Some(PyBytes::new(py, &spec.handle)))
        }
    })
}

/// A refusal that has no kind of its own is about the name.
fn creation_failure(py: Python<'_>, failure: &Failure) -> PyErr {
    match failure.kind() {
        FailureKind::Unspecified => hooks::engine_error(py, "ActorNameTaken", &failure.message),
        _ => hooks::failure(py, failure),
    }
}

/// A weak reference and the pickled handle description.
#[pyfunction]
pub fn named_actor<'py>(
    py: Python<'py>,
    name: &str,
    namespace: &str,
) -> PyResult<Option<NamedActor<'py>>> {
    let connection = connection::current(py)?;
    let found = py
        .detach(|| connection.runtime.named_actor(name, namespace))
        .map_err(|failure| hooks::failure(py, &failure))?;
    Ok(found.map(|spec| {
        let handle = connection.runtime.actor_handle(spec.actor, None);
        (ActorRef::of(handle), PyBytes::new(py, &spec.handle))
    }))
}

/// Names and namespaces of the actors that have one.
#[pyfunction]
pub fn list_named_actors(
    py: Python<'_>,
    namespace: &str,
    all_namespaces: bool,
) -> PyResult<Vec<(String, String)>> {
    let connection = connection::current(py)?;
    py.detach(|| {
        connection
            .runtime
            .list_named_actors(namespace, all_namespaces)
    })
    .map_err(|failure| hooks::failure(py, &failure))
}

/// End the process of an actor now.
#[pyfunction]
pub fn kill_actor(py: Python<'_>, actor_id: &[u8], no_restart: bool) -> PyResult<()> {
    let actor = parse_actor_id(actor_id)?;
    connection::current(py)?
        .runtime
        .kill_actor(actor, no_restart);
    Ok(())
}
