"""How a question comes to the cluster, and what of the answer is wanted."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Optional, TypeVar, get_args

from whipray import _core, _session
from whipray.util.state._reports import Silent
from whipray.util.state._sources import VISITORS
from whipray.util.state.common import (
    RAY_MAX_LIMIT_FROM_API_SERVER,
    ActorState,
    StateSchema,
    SupportedFilterType,
    TypeActorStatus,
)
from whipray.util.state.exception import RayStateApiException

Filters = Optional[list[tuple[str, str, SupportedFilterType]]]
Row = TypeVar("Row", bound=StateSchema)


@contextmanager
def connected(address: str | None) -> Iterator[bool]:
    """The process is connected to a cluster: to its own one, whatever the address, or for the time
    of this block to the one of ``address``, or to that of this machine. Yields whether it is for
    the block.

    Raises ConnectionError where there is none.
    """
    if _session.current.role and not _is_visited:
        yield False
        return
    with _visits:
        if _session.current.role:
            yield False
            return
        _connect(address)
        try:
            yield True
        finally:
            _disconnect()


_visits = threading.RLock()
"""A process is connected for one question at a time: the end of one would be that of others."""

_is_visited = False


def _connect(address: str | None) -> None:
    global _is_visited
    from whipray._init import init

    # By its dashboard a cluster is found in Ray.
    is_place = address is not None and not address.startswith(("http://", "https://"))
    _is_visited = True
    try:
        init(
            address=address if is_place else "auto",
            namespace=VISITORS,
            log_to_driver=False,
            configure_logging=False,
        )
    except BaseException:
        _is_visited = False
        raise


def _disconnect() -> None:
    global _is_visited
    from whipray._init import shutdown

    shutdown()
    _is_visited = False


def ask(
    source: Callable[[], list[Row]], address: str | None, raise_on_missing_output: bool
) -> list[Row]:
    """All rows of a source.

    Raises RayStateApiException where somebody did not answer and that is not to be passed over,
    ConnectionError where there is no cluster.
    """
    with connected(address) as is_visitor:
        try:
            rows = source()
        except Silent as silent:
            if raise_on_missing_output:
                raise RayStateApiException(
                    f"The answer is not complete: {silent}. Give raise_on_missing_output=False to "
                    "get what the others said."
                ) from None
            warnings.warn(f"The answer is not complete: {silent}.", stacklevel=4)
            rows = silent.rows
        return _without_visitor(rows) if is_visitor else rows


def _without_visitor(rows: list[Row]) -> list[Row]:
    """Who came for the question alone is no part of the answer."""
    context = _core.context()
    own = {context["job_id"].hex(), context["worker_id"].hex()}
    return [row for row in rows if not own & {row.get("job_id"), row.get("worker_id")}]


def select(
    kind: type[Row],
    source: Callable[[], list[Row]],
    address: str | None,
    filters: Filters,
    limit: int,
    detail: bool,
    raise_on_missing_output: bool,
) -> list[Row]:
    """The rows that are wanted, in the order of their ids.

    Raises ValueError for a malformed filter, RayStateApiException for one that cannot be answered
    and as :func:`ask` does.
    """
    if not 0 <= limit <= RAY_MAX_LIMIT_FROM_API_SERVER:
        raise RayStateApiException(
            f"Given limit {limit} exceeds the supported limit {RAY_MAX_LIMIT_FROM_API_SERVER}, or "
            "is negative. Use a lower limit."
        )
    conditions = [_condition(kind, each) for each in filters or ()]
    rows = ask(source, address, raise_on_missing_output)
    identity = kind.list_columns()[0]
    rows.sort(key=lambda row: (str(row[identity]), row.get("attempt_number") or 0))
    for column, is_equal, value in conditions:
        rows = [row for row in rows if _matches(row, column, value) == is_equal]
    rows = rows[:limit]
    if not detail:
        for row in rows:
            for column in kind.detail_columns():
                row[column] = None
    return rows


def _condition(
    kind: type[StateSchema], given: tuple[str, str, SupportedFilterType]
) -> tuple[str, bool, str]:
    try:
        column, predicate, value = given
    except (TypeError, ValueError):
        raise ValueError(f"A filter is (column, predicate, value), not {given!r}.") from None
    if predicate not in ("=", "!="):
        raise ValueError(
            f"Unsupported filter predicate {predicate} is given. Available predicates: =, !=."
        )
    if column not in kind.columns():
        raise RayStateApiException(
            f"The given filter column {column} is not supported: it cannot be filtered by. "
            f"Supported filter columns: {sorted(kind.columns())}"
        )
    wanted = str(value).lower()
    if kind is ActorState and column == "state" and wanted.upper() not in _ACTOR_STATES:
        raise RayStateApiException(
            f"Invalid actor state for filtering: {value}. There are {sorted(_ACTOR_STATES)}."
        )
    return column, predicate == "=", wanted


def _matches(row: StateSchema, column: str, value: str) -> bool:
    actual = row[column]
    if isinstance(actual, bool):
        return actual == (value in ("true", "1"))
    return str(actual).lower() == value


_ACTOR_STATES = frozenset(get_args(TypeActorStatus))
