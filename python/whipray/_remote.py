"""The decorator that makes functions and classes remote."""

from __future__ import annotations

from typing import Any

_USAGE = (
    "The @ray.remote decorator must be applied either with no arguments and no parentheses, for "
    "example '@ray.remote', or it must be applied using some of the arguments that it takes as "
    "keywords, for example '@ray.remote(num_returns=2, resources={\"CustomResource\": 1})'."
)


def remote(*args: Any, **kwargs: Any) -> Any:
    """Make a function a task, or a class an actor: ``@remote``, ``@remote(num_cpus=2)``,
    ``remote(f)``.

    Returns a :class:`~whipray.remote_function.RemoteFunction` or an
    :class:`~whipray.actor.ActorClass`, whose ``.remote(...)`` runs in another process.

    Raises ValueError for an unknown option (naming the known ones) or a bad value, TypeError for a
    value of a wrong type or for what is neither a function nor a class, AssertionError for
    positional options.
    """
    if len(args) == 1 and not kwargs and callable(args[0]):
        return _make(args[0], {})
    assert not args and kwargs, _USAGE

    def decorate(target: Any) -> Any:
        return _make(target, kwargs)

    return decorate


def _make(target: Any, options: dict[str, Any]) -> Any:
    if isinstance(target, type):
        from whipray.actor import ActorClass

        return ActorClass._of(target, options)
    if type(target).__name__ in ("function", "cython_function_or_method"):
        from whipray.remote_function import RemoteFunction

        return RemoteFunction(target, options)
    raise TypeError("The @ray.remote decorator must be applied to either a function or a class.")
