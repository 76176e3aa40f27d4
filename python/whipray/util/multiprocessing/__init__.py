"""The standard library's pool of processes, on the processes of a cluster.

``from whipray.util.multiprocessing import Pool`` in the place of ``from multiprocessing import
Pool`` spreads a program's ``map`` over every machine of the cluster.
"""

from multiprocessing import JoinableQueue, TimeoutError

from whipray.util.multiprocessing.pool import Pool

__all__ = ["Pool", "TimeoutError", "JoinableQueue"]
