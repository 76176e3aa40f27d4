"""The micro-benchmark behind `whipray microbenchmark`.

The line names and workloads are those of `ray microbenchmark`, so that both outputs can be read
side by side. No module of this package imports an engine, except `__main__`: everything takes the
engine module (`whipray`, `ray`) as a parameter, and the package can be loaded under another name
in an interpreter that has only Ray. `benches/compare_ray.py` does that.

Functions and classes that run in workers are defined inside functions: they then travel by value,
and the workers need not be able to import this package.
"""
