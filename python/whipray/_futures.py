"""References as futures of the two libraries that have them."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable, Generator
from typing import Any

from whipray import _core


def future(reference: _core.ObjectRef[Any]) -> concurrent.futures.Future[Any]:
    """A future of the value; it is set in the thread that learns of the value first."""
    result: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def settle() -> None:
        if not result.set_running_or_notify_cancel():
            return
        try:
            value = _core.get(reference, None)
        except BaseException as error:
            result.set_exception(error)
        else:
            result.set_result(value)

    reference._on_ready(settle)
    return result


def on_completed(reference: _core.ObjectRef[Any], callback: Callable[[Any], object]) -> None:
    """Call ``callback`` with the value, or with the exception that it is, once it is there."""

    def settle() -> None:
        try:
            value = _core.get(reference, None)
        except Exception as error:
            value = error
        callback(value)

    reference._on_ready(settle)


def as_future(reference: _core.ObjectRef[Any], _internal: bool = False) -> asyncio.Future[Any]:
    """A future of the running event loop."""
    if not _internal:
        import warnings

        warnings.warn(
            "ref.as_future() is deprecated: use asyncio.wrap_future(ref.future()).",
            DeprecationWarning,
            stacklevel=2,
        )
    return _asyncio_future(reference)


def awaiting(reference: _core.ObjectRef[Any]) -> Generator[Any, None, Any]:
    """What ``await reference`` runs."""
    return _asyncio_future(reference).__await__()


def _asyncio_future(reference: _core.ObjectRef[Any]) -> asyncio.Future[Any]:
    loop = asyncio.get_event_loop()
    result: asyncio.Future[Any] = loop.create_future()

    def settle() -> None:
        if result.cancelled():
            return
        try:
            value = _core.get(reference, None)
        except StopIteration as error:
            # A future refuses this type, which would end the coroutine that awaits it.
            result.set_exception(RuntimeError(f"the task raised StopIteration: {error}"))
        except BaseException as error:
            result.set_exception(error)
        else:
            result.set_result(value)

    if reference._is_ready():
        settle()
        return result

    def wake() -> None:
        try:
            loop.call_soon_threadsafe(settle)
        except RuntimeError:
            pass  # The loop was closed while the value was on its way.

    reference._on_ready(wake)
    return result
