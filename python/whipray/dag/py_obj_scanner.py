"""Nodes inside of arguments: in lists, dictionaries and objects, as deep as they may be."""

from __future__ import annotations

import io
import pickle
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from whipray import _core

_ATOMS = (type(None), bool, int, float, complex, str, bytes)
_LEAVES = (
    *_ATOMS,
    bytearray,
    type,
    FunctionType,
    BuiltinFunctionType,
    ModuleType,
    _core.ObjectRef,
    _core.ObjectRefGenerator,
)
"""What has no nodes inside, or must not be copied."""

_LEAF_LIBRARIES = {"numpy", "pandas", "pyarrow", "scipy", "torch", "whipray"}
"""Objects of these have no nodes inside, and may be large; those of the engine are not to be
copied."""


class _PyObjScanner:
    """Finds objects of some types inside of others, and puts others into their places.

    It pickles what contains them and unpickles it again, so that all that can be copied can be
    searched. The objects themselves, and what is large, do not get into the bytes.
    """

    def __init__(self, source_type: type | tuple[type, ...] | None = None) -> None:
        """``source_type``: what to look for, nodes by default."""
        if source_type is None:
            from whipray.dag.base import DAGNodeBase

            source_type = DAGNodeBase
        self._source_type = source_type
        self.clear()

    def clear(self) -> None:
        """Forget what was found."""
        self._kept: list[Any] = []
        self._pickled: bytes | None = None
        self._scanned: Any = None

    def find_nodes(self, scanned: Any) -> list[Any]:
        """The objects inside of ``scanned``, each once, in the order in which they are met."""
        self.clear()
        self._scanned = scanned
        if isinstance(scanned, _ATOMS):
            return []
        file = io.BytesIO()
        pickler = _Pickler(file, self._source_type, self._kept)
        try:
            pickler.dump(scanned)
        except Exception:
            # It cannot be copied, so nothing can be replaced in it.
            return []
        if pickler.found:
            self._pickled = file.getvalue()
        return list(pickler.found.values())

    def replace_nodes(self, table: dict[Any, Any]) -> Any:
        """A copy of what was scanned last, with the values of ``table`` in the places of its keys.

        Without anything to replace it is the same object. Raises KeyError for what was found and
        is not in ``table``.
        """
        if self._pickled is None:
            return self._scanned
        return _Unpickler(self._pickled, self._source_type, self._kept, table).load()


class _Pickler(pickle.Pickler):
    def __init__(
        self, file: io.BytesIO, source_type: type | tuple[type, ...], kept: list[Any]
    ) -> None:
        super().__init__(file, protocol=5)
        self._source_type = source_type
        self._kept = kept
        self.found: dict[int, Any] = {}

    def persistent_id(self, value: Any) -> int | None:
        if isinstance(value, self._source_type):
            self.found.setdefault(id(value), value)
        elif not _is_leaf(value):
            return None
        self._kept.append(value)
        return len(self._kept) - 1


class _Unpickler(pickle.Unpickler):
    def __init__(
        self,
        pickled: bytes,
        source_type: type | tuple[type, ...],
        kept: list[Any],
        table: dict[Any, Any],
    ) -> None:
        super().__init__(io.BytesIO(pickled))
        self._source_type = source_type
        self._kept = kept
        self._table = table

    def persistent_load(self, index: int) -> Any:
        value = self._kept[index]
        return self._table[value] if isinstance(value, self._source_type) else value


def _is_leaf(value: Any) -> bool:
    if isinstance(value, _ATOMS):
        return False  # Pickled as it is: cheaper than keeping it.
    if isinstance(value, _LEAVES):
        return True
    return type(value).__module__.partition(".")[0] in _LEAF_LIBRARIES
