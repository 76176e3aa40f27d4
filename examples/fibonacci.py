"""Fibonacci sequences, one per core: first in this process, then as remote tasks.

Run it with `make demo`, or with `python examples/fibonacci.py` where Whipray is installed. Nothing
below is Whipray's own: the shim answers `import ray`. With `import whipray as ray` in its place the
program runs without the shim.
"""

import os
import time

import ray


# An ordinary function: it runs here, one call after the other.
def fibonacci_local(sequence_size):
    fibonacci = []
    for i in range(0, sequence_size):
        if i < 2:
            fibonacci.append(i)
            continue
        fibonacci.append(fibonacci[i-1]+fibonacci[i-2])
    return sequence_size


# The same function as a task: each `.remote()` call may run on another core. It returns the length
# and not the sequence, so that the comparison is about computing and not about moving data.
@ray.remote
def fibonacci_distributed(sequence_size):
    fibonacci = []
    for i in range(0, sequence_size):
        if i < 2:
            fibonacci.append(i)
            continue
        fibonacci.append(fibonacci[i-1]+fibonacci[i-2])
    return sequence_size


# As many sequences as there are cores, computed locally.
def run_local(sequence_size):
    start_time = time.time()
    results = [fibonacci_local(sequence_size) for _ in range(os.cpu_count())]
    duration = time.time() - start_time
    print('Sequence size: {}, Local execution time: {}'.format(sequence_size, duration))


# The same number of sequences, computed by tasks; `ray.get` waits for all of them.
def run_remote(sequence_size):
    start_time = time.time()
    results = ray.get([fibonacci_distributed.remote(sequence_size) for _ in range(os.cpu_count())])
    duration = time.time() - start_time
    print('Sequence size: {}, Remote execution time: {}'.format(sequence_size, duration))


ray.init()
print('Comparison of sequence size of 10000. In lower sequence, it is expected that local execution will perform better:')
run_local(10000)
run_remote(10000)
print('Comparison of sequence size of 100000. In higher sequence, it is expected that Ray execution will perform better:')
run_local(100000)
run_remote(100000)
ray.shutdown()

print('\nNext: docs/guide/getting-started.md takes the first steps in a program of your own;')
print('your Ray programs run as they are with .venv/bin/python.')
