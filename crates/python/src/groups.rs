//! Placement groups, and the strategies by which tasks and actors are placed.

use std::collections::BTreeMap;

use bytes::Bytes;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use whipray_proto::failure::FailureKind;
use whipray_proto::messages::placement::GroupStatus;
use whipray_proto::resources::Resources;
use whipray_proto::scheduling::{
    BundleSpec, GroupSpec, GroupState, InGroup, LabelSelector, LabelTerm, NodeAffinity,
};
use whipray_proto::{NodeId, PlacementGroupId, SchedulingStrategy};
use whipray_worker::{GroupQuery, GroupWait};

use crate::object_ref::ObjectRef;
use crate::{cluster, connection, context, hooks, waiting};

/// A condition on labels as the package writes it: key, operator, values.
type Term = (String, i32, Vec<String>);

/// A bundle as the package writes it: amounts, and the labels that its node must have.
type Bundle = (BTreeMap<String, f64>, Option<Vec<Term>>);

fn selector(terms: Vec<Term>) -> LabelSelector {
    let terms = terms.into_iter().map(|(key, operator, values)| LabelTerm {
        key,
        operator,
        values,
    });
    LabelSelector {
        terms: terms.collect(),
    }
}

fn group_id(bytes: &[u8]) -> PyResult<PlacementGroupId> {
    PlacementGroupId::from_slice(bytes).ok_or_else(|| {
        PyValueError::new_err(format!(
            "a placement group id has {} bytes, not {}",
            PlacementGroupId::SIZE,
            bytes.len()
        ))
    })
}

fn node_id(bytes: &[u8]) -> PyResult<NodeId> {
    NodeId::from_slice(bytes).ok_or_else(|| PyValueError::new_err("a node id has 28 bytes"))
}

/// The entry `strategy` of a specification; absent or None for the default.
///
/// # Errors
/// It is malformed.
pub fn strategy(specification: &Bound<'_, PyDict>) -> PyResult<Option<Box<SchedulingStrategy>>> {
    let Some(given) = specification.get_item("strategy")? else {
        return Ok(None);
    };
    if given.is_none() {
        return Ok(None);
    }
    let given = given.cast_into::<PyDict>()?;
    let terms = |name: &str| -> PyResult<Option<LabelSelector>> {
        let found = given.get_item(name)?;
        let found = found
            .map(|terms| terms.extract::<Vec<Term>>())
            .transpose()?;
        Ok(found.map(selector))
    };
    let mut strategy = SchedulingStrategy {
        hard: terms("hard")?,
        soft: terms("soft")?,
        ..SchedulingStrategy::default()
    };
    if let Some(spreads) = given.get_item("spreads")? {
        strategy.spreads = spreads.extract()?;
    }
    if let Some(group) = given.get_item("group")? {
        let (id, bundle, captures): (Vec<u8>, Option<u32>, bool) = group.extract()?;
        strategy.group = Some(InGroup {
            group: group_id(&id)?,
            bundle,
            captures,
        });
    }
    if let Some(affinity) = given.get_item("affinity")? {
        let (id, is_soft, spills, fails): (Vec<u8>, bool, bool, bool) = affinity.extract()?;
        strategy.affinity = Some(NodeAffinity {
            node: node_id(&id)?,
            is_soft,
            spills,
            fails_when_busy: fails,
        });
    }
    if let Some(selectors) = given.get_item("selectors")? {
        let selectors: Vec<Vec<Term>> = selectors.extract()?;
        strategy.selectors = selectors.into_iter().map(selector).collect();
    }
    Ok(Some(Box::new(strategy)))
}

fn bundle_spec((amounts, terms): Bundle) -> BundleSpec {
    let resources = amounts
        .iter()
        .fold(Resources::none(), |sum, (name, amount)| {
            sum.with(name, *amount)
        });
    BundleSpec {
        resources,
        selector: terms.map(selector),
    }
}

/// Have the autoscaler see to it that the cluster is large enough for these bundles at the same time,
/// in place of those of the last call.
#[pyfunction]
pub fn request_resources(py: Python<'_>, bundles: Vec<Bundle>) -> PyResult<()> {
    let connection = connection::current(py)?;
    let bundles = bundles.into_iter().map(bundle_spec).collect();
    connection.runtime.request_resources(bundles);
    Ok(())
}

/// Create a placement group; its id.
#[pyfunction]
pub fn create_group<'py>(
    py: Python<'py>,
    bundles: Vec<Bundle>,
    strategy: i32,
    name: String,
    namespace: String,
    detached: bool,
    soft_target: Option<&[u8]>,
) -> PyResult<Bound<'py, PyBytes>> {
    let connection = connection::current(py)?;
    let job = context::job(py, &connection);
    let group = PlacementGroupId::new(job);
    let spec = GroupSpec {
        group,
        name,
        namespace,
        strategy,
        bundles: bundles.into_iter().map(bundle_spec).collect(),
        detached,
        job,
        creator: context::current(py).and_then(|task| task.actor),
        soft_target: soft_target.map(node_id).transpose()?,
    };
    let created = if spec.name.is_empty() {
        connection.runtime.create_group(spec)
    } else {
        py.detach(|| connection.runtime.create_group(spec))
    };
    created.map_err(|failure| match failure.kind() {
        FailureKind::Unspecified => hooks::engine_error(
            py,
            "GroupNotCreated",
            &format!(
                "Failed to create placement group '{group}' because {}",
                failure.message
            ),
        ),
        _ => hooks::failure(py, &failure),
    })?;
    Ok(PyBytes::new(py, &group.to_array()))
}

/// Remove a placement group, without waiting for those inside to be gone.
#[pyfunction]
pub fn remove_group(py: Python<'_>, group: &[u8]) -> PyResult<()> {
    let group = group_id(group)?;
    connection::current(py)?.runtime.remove_group(group);
    Ok(())
}

/// Whether the group is created within `timeout` seconds; None where there is none (any more).
#[pyfunction]
pub fn wait_group(py: Python<'_>, group: &[u8], timeout: Option<f64>) -> PyResult<Option<bool>> {
    let group = group_id(group)?;
    let connection = connection::current(py)?;
    let timeout = waiting::timeout(timeout)?;
    let task = context::waiting_task(py, &connection);
    let waited = waiting::interruptible(py, |interrupt| {
        connection
            .runtime
            .wait_group(group, timeout, task, interrupt)
    })?;
    match waited {
        GroupWait::Created => Ok(Some(true)),
        GroupWait::Removed => Ok(None),
        GroupWait::TimedOut | GroupWait::Interrupted => Ok(Some(false)),
        GroupWait::Disconnected => Err(waiting::disconnected(py)),
    }
}

/// A reference that becomes ready, with a serialized value, once the group is created.
#[pyfunction]
pub fn group_object(py: Python<'_>, group: &[u8], data: &[u8]) -> PyResult<ObjectRef> {
    let group = group_id(group)?;
    let connection = connection::current(py)?;
    let parent = context::parent(py, &connection);
    let data = Bytes::copy_from_slice(data);
    let handle = connection.runtime.group_object(group, parent, data);
    Ok(ObjectRef::of(handle))
}

/// What is known of one group (by its id, or its name and namespace) or of all.
#[pyfunction]
pub fn list_groups<'py>(
    py: Python<'py>,
    group: Option<&[u8]>,
    name: &str,
    namespace: &str,
) -> PyResult<Bound<'py, PyList>> {
    let query = match group {
        Some(group) => GroupQuery::ById(group_id(group)?),
        None if name.is_empty() => GroupQuery::All,
        None => GroupQuery::ByName {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
        },
    };
    let connection = connection::current(py)?;
    let found = py
        .detach(|| connection.runtime.list_groups(query))
        .map_err(|failure| hooks::failure(py, &failure))?;
    let dicts = found
        .iter()
        .map(|status| describe(py, status))
        .collect::<PyResult<Vec<_>>>()?;
    PyList::new(py, dicts)
}

fn describe<'py>(py: Python<'py>, status: &GroupStatus) -> PyResult<Bound<'py, PyDict>> {
    let spec = &status.spec;
    let state = match GroupState::try_from(status.state) {
        Ok(GroupState::Pending) => "PENDING",
        Ok(GroupState::Prepared) => "PREPARED",
        Ok(GroupState::Created) => "CREATED",
        Ok(GroupState::Removed) => "REMOVED",
        Ok(GroupState::Rescheduling) => "RESCHEDULING",
        Err(_) => "UNKNOWN",
    };
    let bundles = spec
        .bundles
        .iter()
        .map(|bundle| cluster::resources(py, &bundle.resources))
        .collect::<PyResult<Vec<_>>>()?;
    let nodes = status.nodes.iter().map(|node| match node.is_nil() {
        true => String::new(),
        false => node.to_hex(),
    });
    let dict = PyDict::new(py);
    dict.set_item("id", PyBytes::new(py, &spec.group.to_array()))?;
    dict.set_item("name", &spec.name)?;
    dict.set_item("strategy", spec.strategy)?;
    dict.set_item("bundles", PyList::new(py, bundles)?)?;
    dict.set_item("nodes", PyList::new(py, nodes)?)?;
    dict.set_item("detached", spec.detached)?;
    dict.set_item("state", state)?;
    dict.set_item("reason", &status.reason)?;
    dict.set_item("infeasible", status.infeasible)?;
    dict.set_item("attempts", status.attempts)?;
    dict.set_item("creation_us", status.creation_us)?;
    dict.set_item("scheduling_us", status.scheduling_us)?;
    Ok(dict)
}
