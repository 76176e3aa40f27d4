"""Side-by-side measurement of two engines on one machine; `compare_ray.py` is the command.

`engine_process.py` runs under each engine's interpreter; everything else runs in the command's.
"""
