"""What is called while a graph runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

from dask.callbacks import Callback

CBS = (
    "ray_presubmit",
    "ray_postsubmit",
    "ray_pretask",
    "ray_posttask",
    "ray_postsubmit_all",
    "ray_finish",
)
CB_FIELDS = tuple(f"_{name}" for name in CBS)
CBS_DONT_DROP = {"ray_pretask", "ray_posttask"}
"""Those come in pairs, in which one may be missing: the second gets what the first returned."""

Function = Callable[..., Any]


class RayCallback(NamedTuple):
    """The functions of one callback; None for those that it does not have."""

    ray_presubmit: Function | None
    ray_postsubmit: Function | None
    ray_pretask: Function | None
    ray_posttask: Function | None
    ray_postsubmit_all: Function | None
    ray_finish: Function | None


class RayCallbacks(NamedTuple):
    """The functions of several callbacks."""

    ray_presubmit_cbs: list[Function] | None
    ray_postsubmit_cbs: list[Function] | None
    ray_pretask_cbs: list[Function | None] | None
    ray_posttask_cbs: list[Function | None] | None
    ray_postsubmit_all_cbs: list[Function] | None
    ray_finish_cbs: list[Function] | None


class RayDaskCallback(Callback):
    """Base of callbacks; ``with Derived():`` has their methods be called, those that it defines:

    * ``_ray_presubmit(task, key, deps)`` before a task is submitted. What it returns, unless None,
      is the result, and the task is not submitted.
    * ``_ray_postsubmit(task, key, deps, object_ref)`` after it was submitted.
    * ``_ray_pretask(key, object_refs)`` in the worker, before the task.
    * ``_ray_posttask(key, result, pre_state)`` in the worker, after it; ``pre_state`` is what the
      one before has returned.
    * ``_ray_postsubmit_all(object_refs, dsk)`` when all were submitted.
    * ``_ray_finish(result)`` at the end.
    """

    ray_active: ClassVar[set[RayCallback]] = set()

    def __init__(self, **kwargs: Any) -> None:
        """The functions may also be given by name: ``ray_presubmit=...``. Others are dask's."""
        for name in CBS:
            function = kwargs.pop(name, None)
            if function is not None:
                setattr(self, f"_{name}", function)
        super().__init__(**kwargs)

    @property
    def _ray_callback(self) -> RayCallback:
        return RayCallback(*(getattr(self, field, None) for field in CB_FIELDS))

    def __enter__(self) -> RayDaskCallback:
        self._ray_cm = add_ray_callbacks(self)
        self._ray_cm.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *args: object) -> None:
        super().__exit__(*args)
        self._ray_cm.__exit__(*args)

    def register(self) -> None:
        """Have the methods be called from now on."""
        type(self).ray_active.add(normalize_ray_callback(self))
        super().register()

    def unregister(self) -> None:
        """The end of :meth:`register`. Raises KeyError where that was not called."""
        type(self).ray_active.remove(normalize_ray_callback(self))
        super().unregister()


class add_ray_callbacks:
    """``with add_ray_callbacks(first, second):`` has these be called."""

    def __init__(self, *callbacks: RayDaskCallback | RayCallback) -> None:
        """They are called from here on."""
        self.callbacks = [normalize_ray_callback(callback) for callback in callbacks]
        RayDaskCallback.ray_active.update(self.callbacks)

    def __enter__(self) -> add_ray_callbacks:
        return self

    def __exit__(self, *args: object) -> None:
        RayDaskCallback.ray_active.difference_update(self.callbacks)


def normalize_ray_callback(cb: Any) -> RayCallback:
    """The functions of a callback. Raises TypeError for what is none."""
    if isinstance(cb, RayDaskCallback):
        return cb._ray_callback
    if isinstance(cb, RayCallback):
        return cb
    raise TypeError(
        "Callbacks must be either 'RayDaskCallback' or 'RayCallback' namedtuple, "
        f"not {type(cb).__name__}"
    )


@contextmanager
def local_ray_callbacks(
    callbacks: Iterable[Any] | None = None,
) -> Iterator[Iterable[RayCallback]]:
    """The given callbacks, or those that are active; graphs that are run inside of the block do
    not see the active ones again."""
    if callbacks is not None:
        yield callbacks
        return
    active, RayDaskCallback.ray_active = RayDaskCallback.ray_active, set()
    try:
        yield active
    finally:
        RayDaskCallback.ray_active = active


def unpack_ray_callbacks(cbs: Iterable[Any] | None) -> RayCallbacks:
    """The functions of several callbacks, kind by kind."""
    found = [normalize_ray_callback(callback) for callback in cbs or ()]
    if not found:
        return RayCallbacks(None, None, None, None, None, None)
    kinds: list[Any] = []
    for name in CBS:
        functions = [getattr(callback, name) for callback in found]
        if name in CBS_DONT_DROP:
            kinds.append(functions if any(functions) else None)
        else:
            kinds.append([function for function in functions if function] or None)
    if kinds[2] is None and kinds[3] is not None:
        kinds[2] = [None] * len(found)
    return RayCallbacks(*kinds)


class ProgressBarCallback(RayDaskCallback):
    """Shows how many tasks of a graph are through."""

    def __init__(self) -> None:
        """Takes no options."""
        super().__init__()
        self.submitted: list[Any] = []

    def _ray_postsubmit(self, task: Any, key: Any, deps: Any, object_ref: Any) -> None:
        self.submitted.append(object_ref)

    def _ray_postsubmit_all(self, object_refs: Any, dsk: Any) -> None:
        from whipray._objects import wait
        from whipray.experimental.tqdm_ray import tqdm

        bar = tqdm(desc="dask", total=len(self.submitted), unit="tasks")
        pending, self.submitted = self.submitted, []
        while pending:
            ready, pending = wait(pending, num_returns=1)
            bar.update(len(ready))
        bar.close()
