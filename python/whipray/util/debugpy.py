"""Breakpoints for editors, which attach by debugpy."""

from __future__ import annotations

import importlib
import logging
import sys
import threading
from types import FrameType
from typing import Any

from whipray import _core
from whipray._debugger import editors

__all__ = ["set_trace"]

_LOG = logging.getLogger(__name__)
_MISSING = (
    "Module 'debugpy>=1.8.0' cannot be loaded. Breakpoints need it, unless RAY_DEBUG=legacy asks "
    "for those of 'ray debug': install it with 'pip install debugpy'. The program goes on."
)
_OLDEST = (1, 8)

_lock = threading.Lock()
_address: tuple[str, int] | None = None


def set_trace(breakpoint_uuid: bytes | str | None = None) -> None:
    """Stop here and wait for an editor, however long that takes.

    Without debugpy an error is logged, and the program goes on. ``breakpoint_uuid`` has no effect.
    """
    stop_at(sys._getframe().f_back)


def is_installed() -> bool:
    """Whether debugpy is there, and new enough."""
    return _module() is not None


def stop_at(frame: FrameType | None) -> None:
    """Wait for an editor and stop in ``frame``; see :func:`set_trace`."""
    debugpy = _open()
    if debugpy is None or _address is None:
        return
    with editors.stopped(_address[1]):
        _wait_for_editor(debugpy)
        import pydevd

        pydevd.settrace(stop_at_frame=frame)


def stop_at_exception(exception: BaseException) -> None:
    """Wait for an editor and show it where ``exception`` was raised; see :func:`set_trace`."""
    debugpy = _open()
    if debugpy is None or _address is None:
        return
    with editors.stopped(_address[1]):
        _wait_for_editor(debugpy)
        import pydevd

        debugger = pydevd.get_global_debugger()
        thread = threading.current_thread()
        info = debugger.set_additional_thread_info(thread)
        info.is_tracing += 1
        try:
            description = (type(exception), exception, exception.__traceback__)
            debugger.stop_on_unhandled_exception(debugger, thread, info, description)
        finally:
            info.is_tracing -= 1


def _module() -> Any:
    try:
        module = importlib.import_module("debugpy")
        version = tuple(int(part) for part in module.__version__.split(".")[:2])
    except (ImportError, AttributeError, ValueError):
        return None
    return module if version >= _OLDEST else None


def _open() -> Any:
    """debugpy, which listens at ``_address`` now; None where it is not there, which is logged."""
    global _address
    debugpy = _module()
    if debugpy is None:
        _LOG.error(_MISSING)
        return None
    with _lock:
        if _address is None:
            # debugpy puts a hook of its own there, which does not wait for anybody.
            hook = sys.breakpointhook
            _address = debugpy.listen(("127.0.0.1", 0))
            sys.breakpointhook = hook
    return debugpy


def _wait_for_editor(debugpy: Any) -> None:
    assert _address is not None
    name = _core.current_name() if _core.is_connected() else ""
    print(
        f"{name or 'The program'} waits for a debugger at {_address[0]}:{_address[1]} (debugpy)",
        file=sys.__stderr__,
        flush=True,
    )
    debugpy.wait_for_client()
