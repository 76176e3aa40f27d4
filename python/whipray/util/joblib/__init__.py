"""joblib on the processes of a cluster: scikit-learn and others spread their work with it.

After :func:`register_ray`, ``with joblib.parallel_config("ray"):`` has every ``Parallel`` inside of
the block run on the cluster.
"""

from __future__ import annotations

__all__ = ["register_ray"]


def register_ray() -> None:
    """Make the backend ``"ray"`` known to joblib. Raises ImportError where joblib is missing."""
    try:
        from joblib import register_parallel_backend
    except ImportError as error:
        raise ImportError(
            "register_ray() needs joblib, which is not installed: pip install joblib"
        ) from error
    from whipray.util.joblib.ray_backend import RayBackend

    register_parallel_backend("ray", RayBackend)
