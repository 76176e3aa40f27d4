"""What a program may say to the autoscaler of its cluster."""

from __future__ import annotations

from typing import Any

from whipray import _core, _labels, _session

__all__ = ["request_resources"]


def request_resources(
    num_cpus: int | None = None,
    bundles: list[dict[str, Any]] | None = None,
    bundle_label_selectors: list[dict[str, str]] | None = None,
) -> None:
    """Have the cluster be large enough for all of this at the same time, whatever is in use.

    ``num_cpus`` stands for as many bundles of one CPU. ``bundles`` have amounts by the names of
    resources, each of which is to fit on one node, and ``bundle_label_selectors`` the labels that
    this node must have, one selector for each bundle. It holds until the next call, which takes its
    place; a call with nothing ends it. Nothing is reserved: what comes may be used by anybody.
    Nodes that are needed for it are not ended for being idle. Without an autoscaler it has no
    effect.

    Raises TypeError and ValueError for what makes no sense.
    """
    if num_cpus is not None and (not isinstance(num_cpus, int) or isinstance(num_cpus, bool)):
        raise TypeError("num_cpus should be of type int.")
    if num_cpus is not None and num_cpus < 0:
        raise ValueError(f"num_cpus must not be below zero, and is {num_cpus}")
    amounts = _amounts(bundles)
    selectors = _selectors(bundle_label_selectors, len(amounts))
    _session.ensure()
    asked = [(amount, selector) for amount, selector in zip(amounts, selectors) if amount]
    asked += [({"CPU": 1.0}, None)] * (num_cpus or 0)
    _core.request_resources(asked)


def _amounts(bundles: list[dict[str, Any]] | None) -> list[dict[str, float]]:
    if bundles is None:
        return []
    if not isinstance(bundles, list):
        raise TypeError("bundles should be of type List")
    amounts = []
    for bundle in bundles:
        if not isinstance(bundle, dict):
            raise TypeError("each bundle should be a Dict.")
        for name, amount in bundle.items():
            if not isinstance(name, str) or not isinstance(amount, (int, float)):
                raise TypeError(f"a bundle has amounts by name, not {name!r}: {amount!r}")
            if not 0 <= amount < float("inf"):
                raise ValueError(f"the amount of {name} must be a number from 0, and is {amount}")
        amounts.append({name: float(amount) for name, amount in bundle.items() if amount})
    return amounts


def _selectors(
    selectors: list[dict[str, str]] | None, count: int
) -> list[list[_labels.Term] | None]:
    if not selectors:
        return [None] * count
    if len(selectors) != count:
        raise ValueError(
            f"bundle_label_selectors has {len(selectors)} selectors for {count} bundles: give one "
            "for each bundle"
        )
    for selector in selectors:
        _labels.check_selector(selector)
    return [_labels.terms_of(selector) or None for selector in selectors]
