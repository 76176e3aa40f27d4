"""Actors: classes whose instances live in processes of their own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Union

from whipray import _actor_description, _core, _generators, _options, _session
from whipray._actor_creation import create
from whipray._actor_description import Description
from whipray._actor_metadata import ActorClassMetadata
from whipray._function import Definition
from whipray._ids import ActorID
from whipray.remote_function import merge_options, pickled_types

if TYPE_CHECKING:
    from whipray.dag.class_node import ClassMethodNode, ClassNode

__all__ = [
    "ActorClass",
    "ActorClassInheritanceException",
    "ActorHandle",
    "ActorMethod",
    "ActorProxy",
    "exit_actor",
    "method",
]

T = TypeVar("T")

_METHOD_OPTIONS = (
    "num_returns",
    "concurrency_group",
    "max_task_retries",
    "retry_exceptions",
    "_generator_backpressure_num_objects",
    "_num_objects_per_yield",
    "enable_task_events",
    "tensor_transport",
)
_CALL_OPTIONS = (*_METHOD_OPTIONS, "name", "_labels")


def method(*args: Any, **kwargs: Any) -> Any:
    """Decorate a method of an actor class with options: ``num_returns``, ``concurrency_group``,
    ``max_task_retries``, ``retry_exceptions``. Without options nothing changes: ``@method``.

    Raises AssertionError for an unknown option, naming the known ones, ValueError and TypeError for
    bad values.
    """
    if len(args) == 1 and not kwargs and callable(args[0]):
        return _with_method_options(args[0], {})
    assert not args, (
        "The @ray.method decorator must be applied using no arguments or at least one of the "
        f"arguments in the list {list(_METHOD_OPTIONS)}, for example '@ray.method(num_returns=2)'."
    )
    for name in kwargs:
        assert name in _METHOD_OPTIONS, (
            f"Unexpected keyword argument to @ray.method: '{name}'. The supported keyword "
            f"arguments are {list(_METHOD_OPTIONS)}"
        )
    _options.validate_method(kwargs)
    return lambda function: _with_method_options(function, kwargs)


def _with_method_options(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    _generators.check(options.get("num_returns"), _generators.is_generator(function))
    setattr(function, _actor_description.METHOD_OPTIONS, options)
    return function


class ActorClassInheritanceException(TypeError):
    """An actor class cannot be derived from; derive from the plain class and decorate that."""


class ActorClass(Generic[T]):
    """A class whose instances are actors: ``Class.remote(...)`` starts one and returns its handle.

    Attributes of the plain class can be read from it.
    """

    _class: type
    _default_options: dict[str, Any]
    _definition: Definition

    def __init__(self, name: str, bases: tuple[Any, ...], attr: dict[str, Any]) -> None:
        """Python calls this for ``class Derived(TheActorClass)``.

        Raises ActorClassInheritanceException, always.
        """
        for base in bases:
            if isinstance(base, ActorClass):
                raise ActorClassInheritanceException(
                    f"Attempted to define subclass '{name}' of actor class "
                    f"'{base._class.__name__}'. Inheriting from actor classes is not supported. "
                    "Derive from the class without its @ray.remote decorator, and decorate what "
                    "derives."
                )
        raise TypeError("Actor classes are made by the decorator @ray.remote.")

    @classmethod
    def _of(
        cls, target: type, options: dict[str, Any], definition: Definition | None = None
    ) -> ActorClass[Any]:
        """Raises ValueError and TypeError for bad options, TypeError for an abstract class."""
        _options.validate_actor(options)
        abstract = sorted(getattr(target, "__abstractmethods__", ()))
        if abstract:
            raise TypeError(
                f"Can't instantiate abstract class {target.__name__} with abstract methods "
                f"{', '.join(abstract)}"
            )
        made: ActorClass[Any] = cls.__new__(cls)
        made._class = target
        made._default_options = options
        made._definition = definition or Definition(target, "actor class")
        made.__doc__ = target.__doc__
        made.__module__ = target.__module__
        return made

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Raises TypeError: actors live in other processes only."""
        name = self._class.__name__
        raise TypeError(
            f"Actors cannot be instantiated directly. Instead of '{name}()', use '{name}.remote()'."
        )

    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle:
        """Start an actor; its constructor runs there. Returns its handle at once.

        A constructor that raises makes the calls of the actor raise ActorDiedError.

        Raises TypeError for arguments that the constructor does not take or that cannot be pickled,
        ActorAlreadyExistsError where the name is taken, ValueError for bad names.
        """
        return self._remote(args, kwargs)

    def options(self, **actor_options: Any) -> ActorClass[T]:
        """The same class with other options; this one stays as it is.

        Raises ValueError for an unknown option or a bad value, TypeError for a value of a wrong
        type.
        """
        _options.validate_actor_changes(actor_options)
        merged = merge_options(self._default_options, actor_options)
        return ActorClass._of(self._class, merged, self._definition)

    def bind(self, *args: Any, **kwargs: Any) -> ClassNode:
        """A node of a graph: an actor that is created whenever the graph is executed."""
        from whipray.dag.class_node import ClassNode

        return ClassNode(self, args, kwargs, self._default_options)

    def _remote(
        self,
        args: tuple[Any, ...] | list[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        **actor_options: Any,
    ) -> ActorHandle:
        """Start an actor with arguments as values and options in one call."""
        if actor_options:
            return self.options(**actor_options)._remote(args, kwargs)
        reference, description = create(
            self._class, self._default_options, self._definition, tuple(args or ()), kwargs or {}
        )
        return ActorHandle._of(reference, description)

    @property
    def __ray_actor_class__(self) -> type:
        """The class as it was before it was decorated."""
        return self._class

    @property
    def __ray_metadata__(self) -> ActorClassMetadata:
        """The plain class (``modified_class``), its name and the options of the decorator."""
        return ActorClassMetadata(self._class, self._default_options)

    def __getattr__(self, name: str) -> Any:
        if name in ("_class", "_default_options", "_definition"):
            raise AttributeError(name)  # Asked for by copy and pickle before there is an object.
        return getattr(self._class, name)

    def __repr__(self) -> str:
        return (
            f"<{self._class.__module__}.ActorClass({self._class.__name__}) object at {id(self):#x}>"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_class, (self._class, self._default_options, *self._definition.known_as())


def _rebuild_class(
    target: type, options: dict[str, Any], cluster: str, identity: bytes
) -> ActorClass[Any]:
    copy = ActorClass._of(target, options)
    copy._definition.is_known_as(cluster, identity)
    return copy


class ActorHandle(Generic[T]):
    """An actor, for calling: ``handle.method.remote(...)``.

    Handles travel inside of arguments and results. The actor ends when no handle is left, unless it
    has a name or is detached. Handles of the same actor are equal.
    """

    _ray_reference: _core.ActorRef
    _ray_description: bytes

    @classmethod
    def _of(cls, reference: _core.ActorRef, description: bytes) -> ActorHandle:
        made = cls.__new__(cls)
        made._ray_reference = reference
        made._ray_description = description
        return made

    @property
    def _actor_id(self) -> ActorID:
        return ActorID(self._ray_reference.actor_id)

    _ray_actor_id = _actor_id

    def __getattr__(self, name: str) -> ActorMethod:
        if name.startswith("_ray_re") or name.startswith("_ray_de"):
            raise AttributeError(name)  # Asked for by copy and pickle before there is an object.
        description = _actor_description.load(self._ray_description)
        if name not in description.methods:
            raise AttributeError(f"'ActorHandle' object has no attribute '{name}'")
        found = ActorMethod(self._ray_reference, description, name, {})
        # The next access finds it without coming here.
        self.__dict__[name] = found
        return found

    def __dir__(self) -> list[str]:
        return sorted(_actor_description.load(self._ray_description).methods)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ActorHandle):
            return NotImplemented
        return self._ray_reference.actor_id == other._ray_reference.actor_id

    def __hash__(self) -> int:
        return hash(self._ray_reference.actor_id)

    def __repr__(self) -> str:
        name = _actor_description.load(self._ray_description).class_name
        return f"Actor({name}, {self._ray_reference.actor_id.hex()})"

    def __reduce__(self) -> tuple[Any, ...]:
        reference = self._ray_reference
        index = _core.note_actor(reference)
        return _rebuild_handle, (reference.actor_id, index, self._ray_description)


ActorProxy = Union[ActorHandle[T], type[T]]
"""For annotations: a handle, of which type checkers may think as of the class."""


def _rebuild_handle(actor_id: bytes, index: int, description: bytes) -> ActorHandle:
    return ActorHandle._of(_core.actor_at(actor_id, index), description)


class ActorMethod:
    """A method of an actor: ``.remote(...)`` calls it, in the order of the calls of one caller."""

    remote: Callable[..., Any]
    """Call the method. Top-level ObjectRefs among the arguments are replaced by their values.

    Returns an ObjectRef, a list of them where ``num_returns`` is above 1, None where it is 0; an
    ObjectRefGenerator for a method with ``yield``, unless ``num_returns`` says otherwise.
    Raises TypeError for arguments that the method does not take or that cannot be pickled.
    """

    def __init__(
        self,
        reference: _core.ActorRef,
        description: Description,
        name: str,
        options: dict[str, Any],
    ) -> None:
        """For :class:`ActorHandle`."""
        self._reference = reference
        self._description = description
        self._method_name = name
        self._options = options
        prepare = functools.partial(_prepare, reference, description, name, options)
        call = _core.RemoteCall(prepare, description.methods[name].signature.bind)
        self.remote = call.remote

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Raises TypeError: methods of actors run in the actor's process only."""
        raise TypeError(
            "Actor methods cannot be called directly. Instead of running "
            f"'object.{self._method_name}()', try 'object.{self._method_name}.remote()'."
        )

    def options(self, **options: Any) -> ActorMethod:
        """The same method with other options: ``num_returns``, ``name``, ``concurrency_group``,
        ``max_task_retries``, ``retry_exceptions``.

        Raises TypeError for an unknown option, ValueError for a bad value.
        """
        for name, value in options.items():
            if name not in _CALL_OPTIONS:
                raise TypeError(
                    f"ActorMethod._remote() got an unexpected keyword argument '{name}'"
                )
            known = _options.TASK.get(name) or _options.ACTOR.get(name)
            if known is not None and value is not None and name != "num_returns":
                known.validate(name, value)
        _options.validate_method(options)
        merged = {**self._options, **options}
        return ActorMethod(self._reference, self._description, self._method_name, merged)

    def bind(self, *args: Any, **kwargs: Any) -> ClassMethodNode | tuple[ClassMethodNode, ...]:
        """A node of a graph: the call, to be made when the graph is executed; a tuple of nodes
        where the method has several results.

        Raises TypeError for arguments that the method does not take.
        """
        from whipray.dag.class_node import bind_method

        method = self._description.methods[self._method_name]
        method.signature.bind(args, kwargs)
        options = {**method.options, **self._options}
        if not method.generates:
            options.setdefault("num_returns", 1)
        handle = ActorHandle._of(self._reference, self._description.dump())
        return bind_method(handle, self._method_name, args, kwargs, options)

    def _remote(
        self,
        args: tuple[Any, ...] | list[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Call with arguments as values and options in one call."""
        found = self.options(**options) if options else self
        return found.remote(*(args or ()), **(kwargs or {}))

    def __reduce__(self) -> tuple[Any, ...]:
        handle = ActorHandle._of(self._reference, self._description.dump())
        return _rebuild_method, (handle, self._method_name, self._options)


def _rebuild_method(handle: ActorHandle, name: str, options: dict[str, Any]) -> ActorMethod:
    found: ActorMethod = getattr(handle, name)
    return found.options(**options) if options else found


def _prepare(
    reference: _core.ActorRef, description: Description, name: str, given: dict[str, Any]
) -> dict[str, Any]:
    """What the core must know to call; see :class:`whipray._core.RemoteCall`."""
    options = {**description.methods[name].options, **given}
    retries = options.get("max_task_retries")
    retry = options.get("retry_exceptions") or False
    full_name = f"{description.short_name}.{name}"
    num_returns, generator = _generators.returns_of(
        options, description.methods[name].generates, description.generator_window
    )
    description.check_group(options.get("concurrency_group"))
    return {
        "function_id": description.function_id,
        "name": options.get("name") or full_name,
        "qualified_name": f"{description.module}.{full_name}",
        "method": name,
        "resources": {},
        "environment": {},
        "num_returns": num_returns,
        "generator": generator,
        "max_retries": description.max_task_retries if retries is None else retries,
        "retry_any_exception": retry is True,
        "retry_exceptions": pickled_types(retry),
        "concurrency_group": options.get("concurrency_group") or "",
        "max_calls": 0,
        "max_pending_calls": description.max_pending_calls,
        "out_of_order": description.out_of_order,
        "actor": reference,
    }


def get_actor(name: str, namespace: str | None = None) -> ActorHandle:
    """A handle of the live actor of this name, which does not keep it alive.

    ``namespace`` is this job's own by default. Raises ValueError where there is no such actor.
    """
    if not name:
        raise ValueError("Please supply a non-empty value to get_actor")
    if namespace is not None:
        if not isinstance(namespace, str):
            raise TypeError("namespace must be None or a string.")
        if not namespace:
            raise ValueError('"" is not a valid namespace. Pass None to not specify a namespace.')
    _session.ensure()
    namespace = namespace or _session.current.namespace
    found = _core.named_actor(name, namespace)
    if found is None:
        raise ValueError(
            f"Failed to look up actor with name '{name}'. No live actor of namespace '{namespace}' "
            "has that name: it was never created there, or it is dead."
        )
    return ActorHandle._of(*found)


def exit_actor() -> None:
    """End the current actor on purpose, after the current call: it is not restarted.

    The call itself raises ActorDiedError at its caller. Raises TypeError outside of actors.
    """
    if "actor" not in _session.current.info:
        raise TypeError("exit_actor API is called on a non-actor worker; it ends actors only.")
    _core.exit_actor()
    raise SystemExit(0)
