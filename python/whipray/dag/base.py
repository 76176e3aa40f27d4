"""What every node of a graph is."""

from __future__ import annotations


class DAGNodeBase:
    """Common base of nodes, for ``isinstance`` without the rest of the package."""
