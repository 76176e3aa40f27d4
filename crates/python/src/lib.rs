//! The module `whipray._core`: what the package asks of the engine, in the terms of Python.
//!
//! Conversion, and nothing else: ownership, transport and shared memory are in `whipray-worker`.
//! The interface of the module is stated in `python/whipray/_core.pyi`.
//!
//! Every call that can block does so without the interpreter, and looks at signals now and then.
//! Nothing of the engine's own threads ever waits for the interpreter.

mod actor_ref;
mod actors;
mod arguments;
mod call_shapes;
mod cluster;
mod completions;
mod connection;
mod context;
mod diagnosis;
mod forks;
mod generator;
mod get;
mod groups;
mod hooks;
mod metrics;
mod object_ref;
mod objects;
mod process_bound;
mod python_names;
mod remote_call;
mod value;
mod wait;
mod waiting;
mod worker;

use pyo3::prelude::*;

/// The compiled heart of the package.
#[pymodule]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::actor_ref::{ActorRef, actor_at, note_actor};
    #[pymodule_export]
    use crate::actors::{create_actor, kill_actor, list_named_actors, named_actor};
    #[pymodule_export]
    use crate::cluster::{
        flush_logs, kv_delete, kv_exists, kv_get, kv_keys, kv_put, kv_send, kv_wait, next_events,
        status,
    };
    #[pymodule_export]
    use crate::connection::{connect, die_with_parent, disconnect, epoch, is_connected};
    #[pymodule_export]
    use crate::context::{TaskToken, captured_group, context, current_name, is_cancelled};
    #[pymodule_export]
    use crate::diagnosis::{explain, reports, timeline};
    #[pymodule_export]
    use crate::generator::ObjectRefGenerator;
    #[pymodule_export]
    use crate::get::get;
    #[pymodule_export]
    use crate::groups::{
        create_group, group_object, list_groups, remove_group, request_resources, wait_group,
    };
    #[pymodule_export]
    use crate::hooks::install;
    #[pymodule_export]
    use crate::metrics::Metric;
    #[pymodule_export]
    use crate::object_ref::{ObjectRef, note_reference, reference_at, restore_reference};
    #[pymodule_export]
    use crate::objects::{cancel, cancellation, deserialize, free, put, serialize};
    #[pymodule_export]
    use crate::remote_call::RemoteCall;
    #[pymodule_export]
    use crate::value::buffers::ValueBuffer;
    #[pymodule_export]
    use crate::wait::wait;
    #[pymodule_export]
    use crate::worker::{AsyncCall, ItemSink, ThreadedCall, exit_actor, is_leaving, run_worker};

    #[pymodule_init]
    fn prepare() -> PyResult<()> {
        crate::forks::watch()
    }
}
