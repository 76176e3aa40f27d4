"""The backend that joblib calls."""

from __future__ import annotations

from typing import Any

from joblib._parallel_backends import (
    FallbackToBackend,
    MultiprocessingBackend,
    SequentialBackend,
)

from whipray._cluster import cluster_resources
from whipray.util.joblib.batch_pool import BatchPool

__all__ = ["RayBackend"]


class RayBackend(MultiprocessingBackend):
    """Runs the batches of joblib in actors, as many as there are jobs."""

    def __init__(
        self,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        ray_remote_args: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """``ray_remote_args`` are the options of the actors."""
        super().__init__(
            nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads, **kwargs
        )
        self.ray_remote_args = ray_remote_args

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many jobs run at once; negative numbers count back from what the cluster has room
        for. Raises ValueError for 0."""
        if n_jobs is None or n_jobs >= 0:
            return int(super().effective_n_jobs(n_jobs))
        cpus = cluster_resources().get("CPU", 0)
        # More actors than fit would wait for ever, and their batches with them.
        cpus_of_actor = max(1, (self.ray_remote_args or {}).get("num_cpus") or 1)
        return max(1, int(cpus // cpus_of_actor) + 1 + n_jobs)

    def configure(
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        prefer: str | None = None,
        require: str | None = None,
        ray_remote_args: dict[str, Any] | None = None,
        **memmappingpool_args: Any,
    ) -> int:
        """Start the actors; how many there are.

        ``ray_remote_args`` go before those of the constructor. Of ``memmappingpool_args``,
        ``max_nbytes`` is kept to: larger arrays are stored once, and read by all actors.

        Raises joblib's FallbackToBackend for one job, ValueError for more jobs than the cluster
        has CPUs.
        """
        n_jobs = self.effective_n_jobs(n_jobs)
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        options = self.ray_remote_args if ray_remote_args is None else ray_remote_args
        self._pool = BatchPool(n_jobs, options, memmappingpool_args.get("max_nbytes"))
        self.parallel = parallel
        return n_jobs
