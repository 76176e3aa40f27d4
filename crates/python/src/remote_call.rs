//! `f.remote(...)`: from a Python call to a task of the engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use pyo3::exceptions::PyValueError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use whipray_proto::generator::GeneratorMode;
use whipray_proto::ids::FunctionId;
use whipray_proto::messages::lease::SchedulingClass;
use whipray_proto::resources::Resources;
use whipray_worker::{ActorHandle, ClassSlot, ObjectHandle, TaskTemplate};

use crate::actor_ref::ActorRef;
use crate::call_shapes::CallShapes;
use crate::connection::{self, Connection};
use crate::diagnosis::note_call_site;
use crate::object_ref::ObjectRef;
use crate::process_bound::ProcessBound;
use crate::{arguments, context, generator, groups, hooks};

/// What submits one remote function, or one method of one actor, with fixed options.
#[pyclass(frozen, weakref, module = "whipray._core")]
pub struct RemoteCall {
    prepare: Py<PyAny>,
    bind: Py<PyAny>,
    shapes: CallShapes,
    prepared: RwLock<Option<Arc<Prepared>>>,
}

/// What is the same for all calls during one connection.
struct Prepared {
    epoch: u64,
    /// Of what the process has for its tasks; see [`context::captures`].
    captures: u64,
    template: Arc<TaskTemplate>,
    actor: ProcessBound<Option<ActorHandle>>,
    /// The results come one by one.
    streams: bool,
    /// What messages to the user call it.
    described: String,
}

#[pymethods]
impl RemoteCall {
    #[new]
    fn new(prepare: Py<PyAny>, bind: Py<PyAny>) -> Self {
        Self {
            prepare,
            bind,
            shapes: CallShapes::default(),
            prepared: RwLock::new(None),
        }
    }

    /// Submit; an ObjectRef, a list of them (num_returns > 1), or None (num_returns == 0).
    #[pyo3(signature = (*args, **kwargs))]
    fn remote<'py>(
        &self,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = args.py();
        let kwargs = kwargs.filter(|kwargs| !kwargs.is_empty());
        self.check_shape(args, kwargs)?;
        let prepared = self.prepared(py)?;
        let connection = connection::current(py)?;
        let parent = context::parent(py, &connection);
        let arguments =
            arguments::encode(py, &connection, parent, &prepared.described, args, kwargs)?;
        let runtime = &connection.runtime;
        let template = &prepared.template;
        if prepared.streams {
            let (inputs, keywords) = (arguments.inputs, arguments.keywords);
            let stream = runtime
                .submit_stream(prepared.actor.as_ref(), template, parent, inputs, keywords)
                .map_err(|failure| hooks::failure(py, &failure))?;
            return generator::wrap(py, stream);
        }
        let returned = match &*prepared.actor {
            None => runtime.submit(template, parent, arguments.inputs, arguments.keywords),
            Some(actor) => runtime
                .submit_actor(
                    actor,
                    template,
                    parent,
                    arguments.inputs,
                    arguments.keywords,
                )
                .map_err(|failure| hooks::failure(py, &failure))?,
        };
        note_call_site(py, &connection, "task call", &returned)?;
        wrap(py, returned)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.prepare)?;
        visit.call(&self.bind)
    }
}

impl RemoteCall {
    fn check_shape(
        &self,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        if self.shapes.contains(args.len(), kwargs) {
            return Ok(());
        }
        let py = args.py();
        match kwargs {
            Some(kwargs) => self.bind.bind(py).call1((args, kwargs))?,
            None => self.bind.bind(py).call1((args, PyDict::new(py)))?,
        };
        self.shapes.insert(args.len(), kwargs);
        Ok(())
    }

    fn prepared(&self, py: Python<'_>) -> PyResult<Arc<Prepared>> {
        let epoch = connection::current_epoch();
        let captures = context::captures();
        let found = self.prepared.read().clone();
        let is_valid =
            |prepared: &Arc<Prepared>| prepared.epoch == epoch && prepared.captures == captures;
        if let Some(prepared) = found.filter(|prepared| is_valid(prepared) && epoch != 0) {
            return Ok(prepared);
        }
        // May start the engine, and runs Python code that may call this again.
        let specification = self.prepare.bind(py).call0()?.cast_into::<PyDict>()?;
        let connection = connection::current(py)?;
        let prepared = Prepared::from_dict(&connection, captures, &specification)?;
        let prepared = Arc::new(prepared);
        let old = self.prepared.write().replace(Arc::clone(&prepared));
        drop(old);
        Ok(prepared)
    }
}

impl Prepared {
    fn from_dict(
        connection: &Connection,
        captures: u64,
        specification: &Bound<'_, PyDict>,
    ) -> PyResult<Self> {
        let py = specification.py();
        let actor = match item(specification, "actor")? {
            actor if actor.is_none() => None,
            actor => Some(actor.cast::<ActorRef>()?.get().handle(py)?.clone()),
        };
        let name: String = item(specification, "name")?.extract()?;
        let described = match specification.get_item("qualified_name")? {
            Some(name) => name.extract()?,
            None => name.clone(),
        };
        let template = TaskTemplate {
            function: function_id(specification)?,
            name,
            method: item(specification, "method")?.extract()?,
            class: SchedulingClass {
                resources: resources(specification, "resources")?,
                job: context::job(py, connection),
                environment: item(specification, "environment")?.extract()?,
                strategy: groups::strategy(specification)?,
                near: None,
            },
            num_returns: item(specification, "num_returns")?.extract()?,
            max_retries: item(specification, "max_retries")?.extract()?,
            retry_any_exception: item(specification, "retry_any_exception")?.extract()?,
            retry_exceptions: bytes(specification, "retry_exceptions")?,
            concurrency_group: item(specification, "concurrency_group")?.extract()?,
            max_calls: item(specification, "max_calls")?.extract()?,
            max_pending_calls: match specification.get_item("max_pending_calls")? {
                Some(most) => most.extract()?,
                None => 0,
            },
            out_of_order: match specification.get_item("out_of_order")? {
                Some(out_of_order) => out_of_order.extract()?,
                None => false,
            },
            generator: generator::specification(specification)?.map(Box::new),
            class_slot: ClassSlot::default(),
        };
        let streams = template.generator.as_ref();
        Ok(Self {
            streams: streams.is_some_and(|spec| spec.mode() == GeneratorMode::Streaming),
            epoch: connection.epoch,
            captures,
            template: Arc::new(template),
            actor: ProcessBound::new(actor),
            described,
        })
    }
}

fn wrap(py: Python<'_>, mut returned: Vec<ObjectHandle>) -> PyResult<Bound<'_, PyAny>> {
    if returned.len() > 1 {
        let references = returned
            .into_iter()
            .map(|handle| Bound::new(py, ObjectRef::of(handle)))
            .collect::<PyResult<Vec<_>>>()?;
        return Ok(PyList::new(py, references)?.into_any());
    }
    match returned.pop() {
        Some(handle) => Ok(Bound::new(py, ObjectRef::of(handle))?.into_any()),
        None => Ok(py.None().into_bound(py)),
    }
}

/// The entry `name` of a specification.
///
/// # Errors
/// `ValueError` where there is none.
pub fn item<'py>(specification: &Bound<'py, PyDict>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    specification
        .get_item(name)?
        .ok_or_else(|| PyValueError::new_err(format!("the specification of a call lacks {name:?}")))
}

/// The entry `name` of a specification, which is `bytes`.
///
/// # Errors
/// There is none, or it is something else.
pub fn bytes(specification: &Bound<'_, PyDict>, name: &str) -> PyResult<Bytes> {
    Ok(Bytes::copy_from_slice(
        item(specification, name)?.extract::<&[u8]>()?,
    ))
}

/// The entry `function_id` of a specification.
///
/// # Errors
/// There is none, or it is no id.
pub fn function_id(specification: &Bound<'_, PyDict>) -> PyResult<FunctionId> {
    FunctionId::from_slice(&bytes(specification, "function_id")?)
        .ok_or_else(|| PyValueError::new_err("a function id has 28 bytes"))
}

/// The entry `name` of a specification as amounts of resources.
///
/// # Errors
/// There is none, or it is no mapping from names to numbers.
pub fn resources(specification: &Bound<'_, PyDict>, name: &str) -> PyResult<Resources> {
    let amounts: BTreeMap<String, f64> = item(specification, name)?.extract()?;
    let empty = Resources::none();
    Ok(amounts.iter().fold(empty, |resources, (name, amount)| {
        resources.with(name, *amount)
    }))
}
