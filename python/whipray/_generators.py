"""How many results a call has, and whether they come one by one: what the options say of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_GENERATOR_FLAGS = 0x20 | 0x200


def is_generator(function: Callable[..., Any]) -> bool:
    """Whether a function is written with ``yield``, asynchronous or not."""
    code = getattr(function, "__code__", None)
    return code is not None and bool(code.co_flags & _GENERATOR_FLAGS)


def check(num_returns: int | str | None, generates: bool) -> None:
    """Raises ValueError where results are to come one by one from a function without ``yield``."""
    if isinstance(num_returns, str) and not generates:
        raise ValueError(
            f"num_returns='{num_returns}' can only be used with generator functions (functions "
            "that use 'yield'). The decorated function is not a generator function."
        )


def returns_of(
    options: dict[str, Any], generates: bool, default_window: int | None = None
) -> tuple[int, tuple[str, int, int] | None]:
    """The number of results, and for those that come one by one how: the mode, how many may be
    there and not be taken before the task pauses (0: any number), and how many one ``yield`` gives.

    ``default_window`` is what an actor says for all its methods. Raises as :func:`check`.
    """
    num_returns = options.get("num_returns")
    if num_returns is None:
        num_returns = "streaming" if generates else 1
    check(num_returns, generates)
    if not isinstance(num_returns, str):
        return num_returns, None
    window = options.get("_generator_backpressure_num_objects") or default_window or 0
    return 1, (num_returns, max(window, 0), options.get("_num_objects_per_yield") or 1)
