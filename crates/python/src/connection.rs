//! The connection of this process to its cluster: at most one, counted by an epoch.
//!
//! The epoch is zero while there is none. Whatever belongs to a connection (references, prepared
//! calls) remembers its epoch, so that it is never used with a later one. A forked child must not use
//! what it inherited: its sockets and its counts of references belong to the parent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use pyo3::exceptions::{PyConnectionError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use whipray_proto::ids::{ActorId, TaskId, WorkerId};
use whipray_proto::messages::session::{JobDescription, Role};
use whipray_worker::{ConnectOptions, Runtime};

use crate::{cluster, completions, hooks};

/// Zero while not connected.
static EPOCH: AtomicU64 = AtomicU64::new(0);
/// The epoch of the last connection, connected or not.
static LAST_EPOCH: AtomicU64 = AtomicU64::new(0);
/// Epochs up to this one belong to the process that this one was forked from.
static INHERITED_EPOCH: AtomicU64 = AtomicU64::new(0);
static CURRENT: RwLock<Option<Arc<Connection>>> = RwLock::new(None);

/// A connection and what was fixed when it was made.
pub struct Connection {
    pub runtime: Arc<Runtime>,
    pub epoch: u64,
    /// What stands for the task where no task runs: in a driver, or in a thread of the user's.
    pub root_task: TaskId,
    pub is_driver: bool,
}

/// The current epoch; zero while not connected.
#[inline]
pub fn current_epoch() -> u64 {
    EPOCH.load(Ordering::Acquire)
}

/// Whether what was made in `epoch` belongs to the process that this one was forked from.
#[inline]
pub fn is_inherited(epoch: u64) -> bool {
    epoch <= INHERITED_EPOCH.load(Ordering::Relaxed) && epoch != 0
}

/// In a forked child: there is no connection, and what was made until now is the parent's.
pub fn forget_inherited() {
    INHERITED_EPOCH.store(LAST_EPOCH.load(Ordering::Relaxed), Ordering::Relaxed);
    EPOCH.store(0, Ordering::Release);
}

/// The connection, if there is one.
#[inline]
pub fn find() -> Option<Arc<Connection>> {
    if current_epoch() == 0 {
        return None;
    }
    CURRENT.read().clone()
}

/// The connection.
///
/// # Errors
/// The package's exception for a process that is not connected.
#[inline]
pub fn current(py: Python<'_>) -> PyResult<Arc<Connection>> {
    find().ok_or_else(|| {
        hooks::engine_error(
            py,
            "NotConnected",
            "This process is not connected to a cluster.",
        )
    })
}

/// Connect this process as a driver or a worker.
#[pyfunction]
#[pyo3(signature = (*, role, endpoint, token, listen, worker_id, job))]
pub fn connect<'py>(
    py: Python<'py>,
    role: &str,
    endpoint: String,
    token: String,
    listen: String,
    worker_id: &[u8],
    job: Option<Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyDict>> {
    if current_epoch() != 0 {
        return Err(PyRuntimeError::new_err(
            "this process is already connected to a cluster",
        ));
    }
    let role = match role {
        "driver" => Role::Driver,
        "worker" => Role::Worker,
        other => {
            return Err(PyValueError::new_err(format!(
                "no role of a process: {other:?}"
            )));
        }
    };
    let worker = WorkerId::from_slice(worker_id)
        .ok_or_else(|| PyValueError::new_err("a worker id has 28 bytes"))?;
    let version = py.version_info();
    let options = ConnectOptions {
        endpoint,
        token,
        role,
        worker,
        listen,
        python: format!("{}.{}", version.major, version.minor),
        job: job.map(|job| job_description(&job)).transpose()?,
    };
    let runtime = py
        .detach(|| Runtime::connect(options))
        .map_err(|error| PyConnectionError::new_err(error.to_string()))?;
    let described = describe(py, &runtime)?;
    let epoch = LAST_EPOCH.fetch_add(1, Ordering::Relaxed) + 1;
    let root = WorkerId::random().to_array();
    let unique = u64::from_le_bytes([
        root[0], root[1], root[2], root[3], root[4], root[5], root[6], root[7],
    ]);
    let connection = Connection {
        root_task: TaskId::of(unique, ActorId::none_of(runtime.job())),
        runtime,
        epoch,
        is_driver: role == Role::Driver,
    };
    let inherited = CURRENT.write().replace(Arc::new(connection));
    if let Some(old) = inherited.filter(|old| is_inherited(old.epoch)) {
        // Dropping it would say goodbye on the parent's sockets.
        std::mem::forget(old);
    }
    EPOCH.store(epoch, Ordering::Release);
    Ok(described)
}

/// Leave the cluster, and end it where it is this process's own.
#[pyfunction]
#[pyo3(signature = (shut_down_cluster = false))]
pub fn disconnect(py: Python<'_>, shut_down_cluster: bool) {
    let Some(connection) = find() else { return };
    EPOCH.store(0, Ordering::Release);
    py.detach(|| {
        if shut_down_cluster {
            connection.runtime.shut_down_cluster("the driver leaves");
        }
        connection.runtime.disconnect();
    });
    completions::stop(py);
    let old = CURRENT.write().take();
    drop(old);
}

/// Have the kernel send SIGKILL to this process when its parent ends.
#[pyfunction]
pub fn die_with_parent() -> PyResult<()> {
    // SAFETY: changes nothing but this process's own setting.
    match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error().into()),
    }
}

/// Zero while not connected; grows with every connection.
#[pyfunction]
pub fn epoch() -> u64 {
    current_epoch()
}

/// Whether the node can still be reached.
#[pyfunction]
pub fn is_connected() -> bool {
    find().is_some_and(|connection| connection.runtime.is_connected())
}

fn job_description(job: &Bound<'_, PyDict>) -> PyResult<JobDescription> {
    let item = |name: &str| {
        job.get_item(name)?.ok_or_else(|| {
            PyValueError::new_err(format!("the description of the job lacks {name:?}"))
        })
    };
    Ok(JobDescription {
        entrypoint: item("entrypoint")?.extract()?,
        python_path: item("python_path")?.extract()?,
        working_directory: item("working_directory")?.extract()?,
        namespace: item("namespace")?.extract()?,
        environment: item("environment")?.extract()?,
        driver_pid: std::process::id(),
        log_to_driver: item("log_to_driver")?.extract()?,
        runtime_env: item("runtime_env")?.extract()?,
        detached_actors: item("detached_actors")?.extract()?,
        ..JobDescription::default()
    })
}

fn describe<'py>(py: Python<'py>, runtime: &Runtime) -> PyResult<Bound<'py, PyDict>> {
    let welcome = runtime.welcome();
    let dict = PyDict::new(py);
    dict.set_item("node_id", PyBytes::new(py, &welcome.node.to_array()))?;
    dict.set_item("node_ip", &welcome.node_ip)?;
    dict.set_item("session_directory", &welcome.session_directory)?;
    dict.set_item("session_name", &welcome.session_name)?;
    dict.set_item("job_id", PyBytes::new(py, &welcome.job.to_array()))?;
    dict.set_item(
        "worker_id",
        PyBytes::new(py, &runtime.address().worker.to_array()),
    )?;
    dict.set_item("cluster_address", &welcome.cluster_address)?;
    dict.set_item(
        "resources",
        cluster::resources(py, &welcome.node_resources)?,
    )?;
    Ok(dict)
}
