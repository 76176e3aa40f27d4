"""Names for annotations."""

from whipray._core import ObjectRef

__all__ = ["ObjectRef"]
