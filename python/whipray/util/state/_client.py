"""The functions of the state API by the name of what they are about."""

from __future__ import annotations

from typing import Any

from whipray.util.state import api
from whipray.util.state._questions import (
    GetApiOptions,
    ListApiOptions,
    StateResource,
    SummaryApiOptions,
    SummaryResource,
)


class StateApiClient:
    """Asks one cluster; see :func:`whipray.util.state.list_actors` for which one, and for what is
    raised."""

    def __init__(
        self,
        address: str | None = None,
        cookies: dict[str, Any] | None = None,
        headers: dict[str, Any] | None = None,
    ) -> None:
        """``cookies`` and ``headers`` are for servers that are not asked here."""
        self._address = address

    def list(
        self,
        resource: StateResource,
        options: ListApiOptions | None = None,
        raise_on_missing_output: bool = True,
        _explain: bool = False,
    ) -> list[Any]:
        """The rows of a kind."""
        options = options or ListApiOptions()
        rows: list[Any] = getattr(api, f"list_{resource.value}")(
            address=self._address,
            filters=options.filters,
            limit=options.limit,
            detail=options.detail,
            raise_on_missing_output=raise_on_missing_output,
        )
        return rows

    def get(
        self,
        resource: StateResource,
        id: str,
        options: GetApiOptions | None = None,
        _explain: bool = False,
    ) -> Any:
        """The row with this id, or None; of objects all rows.

        Raises ValueError for what has no ids.
        """
        if resource is StateResource.RUNTIME_ENVS:
            raise ValueError(f"Can't get {resource.value} by their ids: they have none.")
        name = "objects" if resource is StateResource.OBJECTS else resource.value.removesuffix("s")
        return getattr(api, f"get_{name}")(id, address=self._address)

    def summary(
        self,
        resource: SummaryResource,
        *,
        options: SummaryApiOptions | None = None,
        raise_on_missing_output: bool = True,
        _explain: bool = False,
    ) -> dict[str, Any]:
        """The numbers of a kind, under ``cluster``."""
        told: dict[str, Any] = getattr(api, f"summarize_{resource.value}")(
            address=self._address, raise_on_missing_output=raise_on_missing_output
        )
        return told
