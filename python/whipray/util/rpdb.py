"""Breakpoints in tasks and actors: ``ray.util.pdb.set_trace()`` and ``breakpoint()``.

``RAY_DEBUG`` chooses the debugger: ``legacy`` is the one of the standard library, for the command
``ray debug``; ``1``, which is the default, is debugpy (:mod:`whipray.util.debugpy`), for editors.
Everything else turns breakpoints off.
"""

from __future__ import annotations

import os
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pdb import Pdb

__all__ = ["set_trace"]

LEGACY = "legacy"
DEBUGPY = "1"


def set_trace(breakpoint_uuid: bytes | str | None = None) -> None:
    """Stop here and wait for a debugger, however long that takes.

    ``breakpoint_uuid`` is the name under which the breakpoint is listed.
    """
    chosen = _chosen_debugger()
    if chosen == DEBUGPY:
        from whipray.util import debugpy

        debugpy.stop_at(sys._getframe().f_back)
    elif chosen == LEGACY:
        from whipray._debugger import remote_pdb

        if isinstance(breakpoint_uuid, bytes):
            breakpoint_uuid = breakpoint_uuid.decode()
        frame = sys._getframe().f_back
        assert frame is not None
        debugger = remote_pdb.session_of_thread()
        if debugger is None:
            place = (frame.f_code.co_filename, frame.f_lineno)
            debugger = remote_pdb.attached(breakpoint_uuid or None, place)
        else:
            # The debugger would stop in its own functions.
            sys.settrace(None)
        debugger.set_trace(frame)


def _driver_set_trace(*args: Any, **kwargs: Any) -> None:
    """What ``breakpoint()`` of a driver does: stops in its terminal, where workers are silent then.

    With debugpy, where it is chosen and installed.
    """
    stop_driver_at(sys._getframe().f_back)


def stop_driver_at(frame: FrameType | None) -> None:
    """Stop in a frame of a driver; see :func:`_driver_set_trace`."""
    if _chosen_debugger() == DEBUGPY:
        from whipray.util import debugpy

        if debugpy.is_installed():
            debugpy.stop_at(frame)
            return
    _terminal_debugger().set_trace(frame)


def _terminal_debugger() -> Pdb:
    from pdb import Pdb

    from whipray import _session

    events = _session.current.events

    class TerminalPdb(Pdb):
        def do_continue(self, arg: str) -> Any:
            if events is not None:
                events.resume()
            return super().do_continue(arg)

        do_c = do_cont = do_continue

        def do_quit(self, arg: str) -> Any:
            if events is not None:
                events.resume()
            return super().do_quit(arg)

        do_q = do_exit = do_quit

    if events is not None:
        events.pause()
    return TerminalPdb()


def _is_ray_debugger_post_mortem_enabled() -> bool:
    """Whether an exception of a task or an actor stops it (``RAY_DEBUG_POST_MORTEM=1``)."""
    return os.environ.get("RAY_DEBUG_POST_MORTEM", "0") == "1"


def _post_mortem() -> None:
    """Wait for a debugger at the exception that is being handled."""
    exception = sys.exc_info()[1]
    if exception is not None:
        post_mortem_of(exception)


def post_mortem_of(exception: BaseException) -> None:
    """Wait for a debugger at where ``exception`` was raised, and until it is through."""
    if _chosen_debugger() == DEBUGPY:
        from whipray.util import debugpy

        debugpy.stop_at_exception(exception)
        return
    traceback = exception.__traceback__
    if traceback is None:
        return
    from whipray._debugger import remote_pdb

    innermost = traceback
    while innermost.tb_next is not None:
        innermost = innermost.tb_next
    place = (innermost.tb_frame.f_code.co_filename, innermost.tb_lineno)
    remote_pdb.attached(None, place, exception).after_death(traceback)


def _chosen_debugger() -> str:
    return os.environ.get("RAY_DEBUG", DEBUGPY)
