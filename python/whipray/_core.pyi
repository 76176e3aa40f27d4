"""The compiled heart of the package: ownership, transport, shared memory, serialization fast paths.

Private: everything users may call is re-exported by :mod:`whipray`. All ids are raw ``bytes``.
"""

from collections.abc import Callable, Coroutine, Generator, Sequence
from typing import Any, Generic, TypeVar, final

__all__ = [
    "ActorRef",
    "AsyncCall",
    "ItemSink",
    "Metric",
    "ObjectRef",
    "ObjectRefGenerator",
    "RemoteCall",
    "TaskToken",
    "ThreadedCall",
    "ValueBuffer",
    "actor_at",
    "cancel",
    "cancellation",
    "captured_group",
    "connect",
    "context",
    "create_actor",
    "create_group",
    "current_name",
    "deserialize",
    "die_with_parent",
    "disconnect",
    "epoch",
    "exit_actor",
    "explain",
    "flush_logs",
    "free",
    "get",
    "group_object",
    "install",
    "is_cancelled",
    "is_connected",
    "is_leaving",
    "kill_actor",
    "kv_delete",
    "kv_exists",
    "kv_get",
    "kv_keys",
    "kv_put",
    "kv_send",
    "kv_wait",
    "list_groups",
    "list_named_actors",
    "named_actor",
    "next_events",
    "note_actor",
    "note_reference",
    "put",
    "reference_at",
    "reports",
    "remove_group",
    "request_resources",
    "restore_reference",
    "run_worker",
    "serialize",
    "status",
    "timeline",
    "wait",
    "wait_group",
]

_T = TypeVar("_T")

@final
class ObjectRef(Generic[_T]):
    """A reference to an object; dropping the last one lets the object go."""

    def __new__(
        cls,
        id: bytes,
        owner_addr: bytes | str = "",
        call_site_data: str = "",
        skip_adding_local_ref: bool = False,
        tensor_transport: str | None = None,
    ) -> ObjectRef[Any]: ...
    @staticmethod
    def nil() -> ObjectRef[Any]: ...
    @staticmethod
    def from_random() -> ObjectRef[Any]: ...
    @staticmethod
    def from_binary(id_bytes: bytes) -> ObjectRef[Any]: ...
    @staticmethod
    def from_hex(hex_id: str) -> ObjectRef[Any]: ...
    @staticmethod
    def size() -> int: ...
    def binary(self) -> bytes: ...
    def hex(self) -> str: ...
    def is_nil(self) -> bool: ...
    def task_id(self) -> Any: ...
    def job_id(self) -> Any: ...
    def call_site(self) -> str: ...
    def owner_address(self) -> bytes: ...
    def tensor_transport(self) -> str | None: ...
    def future(self) -> Any: ...
    def as_future(self, _internal: bool = False) -> Any: ...
    def __await__(self) -> Generator[Any, None, _T]: ...
    def __class_getitem__(cls, key: Any) -> Any: ...
    def _on_completed(self, callback: Callable[[Any], object]) -> ObjectRef[_T]:
        """Call ``callback`` with the value, or with the exception that it is, once it is ready."""
    def _on_ready(self, callback: Callable[[], object]) -> None:
        """Call ``callback()`` once the object is ready, from whichever thread learns it first."""
    def _is_ready(self) -> bool: ...
    def _is_failed(self) -> bool: ...

@final
class ObjectRefGenerator:
    """References to the results of a generator that runs as a task, in their order.

    Dropping it lets go of those that were not taken; the task may run to its end.
    """

    def __iter__(self) -> ObjectRefGenerator: ...
    def __next__(self) -> ObjectRef[Any]: ...
    def __aiter__(self) -> ObjectRefGenerator: ...
    def __anext__(self) -> Coroutine[Any, Any, ObjectRef[Any]]: ...
    def completed(self) -> ObjectRef[Any]:
        """A reference that is ready once the task is through; an error where it was ended."""
    def next_ready(self) -> bool:
        """Whether the next reference is there."""
    def is_finished(self) -> bool:
        """Whether all references were taken, and no more will come."""
    def send(self, value: Any) -> None:
        """Raises NotImplementedError, as do ``throw``, ``close`` and their asynchronous forms."""
    def throw(self, value: Any) -> None: ...
    def close(self) -> None: ...
    async def asend(self, value: Any) -> None: ...
    async def athrow(self, value: Any) -> None: ...
    async def aclose(self) -> None: ...
    @property
    def _generator_ref(self) -> ObjectRef[Any]: ...
    def _next_sync(self, timeout_s: float | None = None) -> ObjectRef[Any]:
        """The next reference; the nil one where none came within so many seconds."""
    def _take(self) -> ObjectRef[Any] | None:
        """The next reference without waiting; raises StopIteration behind the last one."""
    def _awaited(self) -> ObjectRef[Any]:
        """A reference that is ready once there is something to take, or nothing more will come."""

@final
class ActorRef:
    """The counted reference behind an actor handle. A weak one (by name) keeps nothing alive."""

    @property
    def actor_id(self) -> bytes: ...
    @property
    def is_weak(self) -> bool: ...

@final
class RemoteCall:
    """What submits one remote function, or one method of one actor, with fixed options.

    ``prepare()`` is called at the first use and again after every reconnection; it starts the
    engine where needed, exports the definition and returns the specification (see
    :func:`whipray._function.prepare`): ``function_id`` (28 bytes), ``name``, ``method`` (actor
    calls), ``resources`` (name to amount), ``environment`` (name to value), ``num_returns``,
    ``generator`` (absent, None, or mode, window and items per ``yield``; see
    :func:`whipray._generators.returns_of`), ``max_retries``, ``retry_any_exception``,
    ``retry_exceptions`` (pickled tuple of types or ``b""``), ``concurrency_group``,
    ``max_calls``, ``actor`` (:class:`ActorRef` or None), ``out_of_order`` (absent: calls keep their
    order).

    ``qualified_name`` (with its module, for messages) is optional, as is ``strategy`` (None for the
    default): a dictionary with ``spreads`` (bool), ``group`` (id, bundle or None, whether it
    catches what is submitted from within), ``affinity`` (id of the node, soft, spills, fails when
    busy), ``hard`` and ``soft`` (conditions on labels) and ``selectors`` (lists of conditions). A
    condition is key, operator (see :mod:`whipray._labels`) and values.

    ``bind(args, kwargs)`` raises the precise ``TypeError`` of a call that does not fit; its answer
    depends on the shape of the call alone (how many positional arguments, which keywords), so it is
    asked once for each shape.

    ``prepare()`` raises where the engine cannot start or the definition cannot be pickled: the
    error goes to the caller of ``remote`` and the next call asks again.
    """

    def __new__(
        cls,
        prepare: Callable[[], dict[str, Any]],
        bind: Callable[[tuple[Any, ...], dict[str, Any]], object],
    ) -> RemoteCall: ...
    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Submit; an ObjectRef, a list of them (num_returns > 1), None (num_returns == 0), or an
        ObjectRefGenerator (results that stream)."""

# -- connection ---------------------------------------------------------------------------------

def install(hooks: Any) -> None:
    """Register the Python side (module :mod:`whipray._hooks`); called once at import of it.

    ``hooks.to_exception(kind: str, message: str, subject: str, cause: dict | None,
    exception: bytes) -> BaseException``: the exception of a failure that the engine reports.
    ``kind`` is the name of a ``FailureKind`` (``"WorkerCrashed"``, ``"ActorDied"``, ...) or
    ``"GetTimeout"``, ``"ActorNameTaken"``, ``"NotConnected"``, ``"UnknownOwner"`` (of an earlier
    connection). ``cause`` has ``kind`` (``"Exited"``, ...), ``exit_code, signal, pid, worker_id,
    node_id, node_ip, stderr_tail, detail, headline, description``. ``hooks.load_error(data) ->
    BaseException``: of a value that is an error. ``hooks.pickle(value) -> tuple[bytes,
    list[pickle.PickleBuffer]]``: the general serializer. ``hooks.explain_unserializable(error,
    value, role: str, name: str) -> BaseException``: what to raise where ``hooks.pickle(value)``
    raised ``error``; ``role`` is ``"argument"`` (``name``: the task's or ``Class.method``) or
    ``"put value"``. ``hooks.make_id(name: str, binary: bytes)``: an id object; ``name`` is its
    class.

    References become futures by ``future(ref)``, ``as_future(ref, _internal)`` and
    ``awaiting(ref)`` (an iterator) of :mod:`whipray._futures`.
    """

def connect(
    *,
    role: str,
    endpoint: str,
    token: str,
    listen: str,
    worker_id: bytes,
    job: dict[str, Any] | None,
) -> dict[str, Any]:
    """Connect this process as ``"driver"`` or ``"worker"``.

    ``job`` (drivers): ``entrypoint, python_path, working_directory, namespace, environment,
    log_to_driver, runtime_env, detached_actors``. Returns ``node_id, node_ip, session_directory,
    session_name, job_id, worker_id, cluster_address, resources``.

    Raises ``ConnectionError`` with one line that says what to do.
    """

def disconnect(shut_down_cluster: bool = False) -> None: ...
def die_with_parent() -> None:
    """Have the kernel send SIGKILL to this process when its parent ends (``PR_SET_PDEATHSIG``)."""

def epoch() -> int:
    """Zero while not connected; grows with every connection."""

def is_connected() -> bool: ...

# -- objects ------------------------------------------------------------------------------------

def get(
    refs: ObjectRef[Any] | Sequence[ObjectRef[Any]] | ObjectRefGenerator,
    timeout: float | None = None,
) -> Any:
    """The value, or the list of values; raises what the objects hold. GetTimeoutError by hooks."""

def put(value: Any) -> ObjectRef[Any]: ...
def wait(
    refs: list[ObjectRef[Any]] | list[Any],
    num_returns: int,
    timeout: float | None,
    fetch_local: bool = False,
) -> tuple[list[Any], list[Any]]: ...
def cancel(ref: ObjectRef[Any], force: bool, recursive: bool) -> None:
    """Raises ``TypeError`` for a ref that no task makes.

    One of another owner is cancelled by it.
    """

def cancellation(ref: ObjectRef[Any]) -> str | None:
    """What came of :func:`cancel`, where this process asked: ``"asked"`` while the answer is on its
    way, then ``"not started"``, ``"stopped"``, ``"killed"`` or ``"too late"``."""

def free(refs: Sequence[ObjectRef[Any]], local_only: bool) -> None:
    """Lets go of the values, or with ``local_only`` of the copies in shared memory, as if they were
    lost. Those of other owners stay."""

def serialize(value: Any) -> tuple[bytes, list[ObjectRef[Any]]]:
    """The inline form of a value and the references inside it."""

def deserialize(data: bytes, references: Sequence[ObjectRef[Any]]) -> Any: ...
def note_reference(ref: ObjectRef[Any]) -> int:
    """While a value is being serialized: list ``ref`` among its references, get its index.

    -1 outside of a serialization: the object then lives as long as its owner, because nobody can
    count references that lie in bytes.
    """

def restore_reference(id: bytes, owner: bytes) -> ObjectRef[Any]:
    """A reference that was pickled outside of the engine."""

def reference_at(index: int) -> ObjectRef[Any]:
    """While a value is being deserialized: the reference with this index."""

def note_actor(ref: ActorRef) -> int:
    """The same for the reference behind a handle; -1 for a weak one or outside of a
    serialization."""

def actor_at(actor_id: bytes, index: int) -> ActorRef:
    """While a value is being deserialized: the actor's reference (index -1: a weak one)."""

# -- actors -------------------------------------------------------------------------------------

def create_actor(
    spec: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[ActorRef, bytes | None]:
    """Create an actor; the second value is the pickled handle description of an existing one.

    ``spec``: ``function_id, class_name, name, namespace, detached, get_if_exists, resources,
    placement, max_restarts, max_task_retries, max_concurrency, is_async, concurrency_groups,
    handle`` (bytes), ``environment, max_pending_calls``. A name that is taken raises by
    ``hooks.to_exception("ActorNameTaken", ...)``.
    """

def named_actor(name: str, namespace: str) -> tuple[ActorRef, bytes] | None:
    """A weak reference and the pickled handle description."""

def list_named_actors(namespace: str, all_namespaces: bool) -> list[tuple[str, str]]: ...
def kill_actor(actor_id: bytes, no_restart: bool) -> None: ...

# -- placement groups ---------------------------------------------------------------------------

def create_group(
    bundles: list[tuple[dict[str, float], list[tuple[str, int, list[str]]] | None]],
    strategy: int,
    name: str,
    namespace: str,
    detached: bool,
    soft_target: bytes | None,
) -> bytes:
    """Create a placement group, of amounts and conditions; its id. A name that is taken raises by
    ``hooks.to_exception("GroupNotCreated", ...)``."""

def remove_group(group: bytes) -> None: ...
def request_resources(
    bundles: list[tuple[dict[str, float], list[tuple[str, int, list[str]]] | None]],
) -> None:
    """What the autoscaler is to make room for, of amounts and conditions; the last word counts."""

def wait_group(group: bytes, timeout: float | None) -> bool | None:
    """Whether it is created within ``timeout`` seconds; None where there is none (any more)."""

def group_object(group: bytes, data: bytes) -> ObjectRef[Any]:
    """A reference that becomes ready with the group; ``data``: its value, serialized."""

def list_groups(group: bytes | None, name: str, namespace: str) -> list[dict[str, Any]]:
    """One by id, one by name, or all: ``id, name, strategy, bundles, nodes`` (hex, "" for none),
    ``detached, state, reason, infeasible, attempts, creation_us, scheduling_us``."""

# -- the cluster --------------------------------------------------------------------------------

def kv_get(namespace: str, key: bytes) -> bytes | None: ...
def kv_put(namespace: str, key: bytes, value: bytes, overwrite: bool) -> bool:
    """Whether the key was there before."""

def kv_send(namespace: str, key: bytes, value: bytes) -> None:
    """Write a new key without waiting for the answer (definitions)."""

def kv_wait(namespace: str, key: bytes) -> bytes:
    """The value, waiting for it where it is not there yet."""

def kv_delete(namespace: str, key: bytes) -> bool: ...
def kv_exists(namespace: str, key: bytes) -> bool: ...
def kv_keys(namespace: str, prefix: bytes) -> list[bytes]: ...
def status() -> dict[str, Any]:
    """``nodes`` (dicts: node_id hex, alive, ip, hostname, endpoint, total, available, labels,
    is_head, store_used_bytes, store_capacity_bytes, workers, session_directory, bundles, age_us,
    dead_since_us), ``demands`` (resources, count, infeasible, reason, example), ``actors``
    (actor_id hex, class_name, name, namespace, state, restarts, restarts_by_drains, death, ...),
    ``jobs`` (those that run and the last ones with is_over, age_us, over_since_us),
    ``cluster_address``."""

def next_events(timeout: float) -> list[tuple[str, Any]] | None:
    """Events for the driver's user, waiting up to ``timeout`` seconds; None once disconnected.

    ``("log", (pid, ip, name, is_error, [line, ...]))``, ``("warning", text)`` and
    ``("unhandled", exception)``: of a task whose result nobody looked at.
    """

def flush_logs(timeout: float) -> None: ...

# -- the current task ---------------------------------------------------------------------------

def context() -> dict[str, Any]:
    """``job_id, worker_id, node_id, task_id, task_name, function_name, actor_id`` (bytes or "" /
    None where there is none), ``resources`` (name to amount), ``gpu_ids``, ``session_directory``,
    ``attempt``, ``group`` (the placement group or None), ``captures``."""

def captured_group() -> bytes | None:
    """The placement group that catches what is submitted here without a word about groups."""

def current_name() -> str:
    """The name of the task that this thread runs, "" for none: what the output of the process is
    marked with."""

def is_cancelled() -> bool: ...

# -- the worker ---------------------------------------------------------------------------------

def run_worker(hooks: Any) -> None:
    """The main loop of a worker: take work, run it, answer; returns when the node is gone.

    Raises the ``SystemExit`` with which a task or an actor ended the process.

    ``hooks`` (module :mod:`whipray._worker`):
    ``bind_job(job: dict)`` before the first work of a job (sys.path, working directory,
    environment); ``load_function(function_id, class_name) -> callable``; results are cached by the
    core; the name of the class is empty where it is no actor's;
    ``assign(resources: dict, gpu_ids: list[int])`` when the lease or the actor brings resources;
    ``task_error(exception, name) -> bytes`` the serialized error value (kind ``error``) of a user's
    exception; ``dependency_error(exception, name) -> bytes`` the same for a task that did not run
    because of an argument's error; ``cancelled_error(exception, task_id: bytes) -> BaseException``
    the error of a task that ``exception`` interrupted; ``is_retryable(exception, types: bytes) ->
    bool``; ``start_actor(spec: dict, cls, args, kwargs) -> object`` runs the constructor and
    returns the instance; ``spec`` has actor_id, class_name, name, namespace, max_concurrency,
    is_async, concurrency_groups, handle, incarnation;
    ``actor_method(instance, name) -> callable``: the method to call (also the hidden ones); the
    core may cache it; ``dispatch(job: Callable[[], object], group: str) -> None`` for actors with
    more than one thread: run ``job()`` on a thread of the group ("" : the default group); ``job``
    sets and resets its own task context and never raises; ``run_async(call: AsyncCall, group: str)
    -> Callable[[], object]`` for async actors, called in the event loop's thread; what it returns
    may be called from any thread and cancels the call; ``enter_event_loop(descriptor: int, drive:
    Callable[[], bool])``: async actors: run the asyncio loop, calling ``drive()`` when
    ``descriptor`` is readable, and once at the start; returns when ``drive()`` returned False. The
    constructor runs before, in the same thread; ``stop()`` before the process ends in order (flush
    output, at-exit).
    """

@final
class TaskToken:
    """A task, as the value of a context variable."""

@final
class ThreadedCall:
    """One call of an actor with threads, for ``hooks.dispatch``."""

    def __call__(self, *args: Any, **kwargs: Any) -> None: ...

@final
class ValueBuffer:
    """The memory behind a value that was read without a copy."""

@final
class AsyncCall:
    """One call of an actor with coroutines, for ``hooks.run_async``."""

    def start(self) -> Any:
        """Call the method, inside of the call's own asyncio task; what it returns is to be awaited
        where it can be."""
    def sink(self) -> ItemSink | None:
        """Where the items go that the method yields; None where they come with its answer."""
    def done(self, result: Any, exception: BaseException | None) -> bool:
        """Answer for the call; whether the event loop is to go on."""

@final
class ItemSink:
    """Where the coroutine of a call puts the items of its stream."""

    def send(self, item: Any) -> bool:
        """Send what one ``yield`` gave; whether it is time to let others have the event loop."""
    def has_room(self) -> bool:
        """Whether the consumer has room for another item."""
    def is_output_low(self) -> bool:
        """Whether little of what was sent waits for being read."""
    def when_room(self, callback: Callable[[], object]) -> None:
        """Call ``callback()`` once there is room for another item, in any thread."""

@final
class Metric:
    """One metric of this process, whatever it is connected to."""

    def __new__(
        cls,
        kind: str,
        name: str,
        description: str,
        tag_keys: list[str],
        boundaries: list[float],
    ) -> Metric: ...
    def record(self, value: float, tags: dict[str, str]) -> None:
        """Add to a counter, set a gauge, or count a value of a histogram. Tags that the metric has
        no key for are left out.

        Raises KeyError where one is missing.
        """

def exit_actor() -> None:
    """Marks the death of the current actor as intended; the worker ends after the current call."""

def is_leaving() -> bool:
    """Whether ``exit_actor()`` was called in this process."""

def explain(id: bytes) -> dict[str, Any] | None:
    """Why an object, task or actor is where it is: ``subject``, ``kind``, ``steps`` and ``cycle``.

    None for bytes that are no such id. Blocks for a few seconds at most.
    """

def reports(limit: int, ended_limit: int = 0) -> dict[str, Any]:
    """What processes of all nodes hold, wait for and run: ``processes``, ``silent``, ``workers``,
    ``ended`` (the last workers that are gone: worker_id, node_id, node_ip, cause, age_us); and
    ``node_id`` and ``node_ip`` of the own node.

    ``limit`` bounds the entries of each kind and process, ``ended_limit`` those of tasks that are
    through. Blocks for a few seconds at most.
    """

def timeline() -> str:
    """What has run, as a JSON array in the Trace Event Format.

    Raises RaySystemError where the node does not answer. Blocks for a few seconds at most.
    """
