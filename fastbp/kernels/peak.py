"""The peak: how many multiply-adds a second this machine does when it does nothing else.

Chains of ``fma`` on Lanes that never leave the registers, on all threads. May import ``cpu``, ``batch``,
``cache``, ``lanes``, NumPy and the standard library.
"""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from fastbp.kernels import cache, cpu
from fastbp.kernels.batch import aligned
from fastbp.kernels.lanes import fma, rows

STEPS_A_CALL = 100_000  # a few thousandths of a second
TURNS = 3
SHRINK, ADD = 0.999999, 1e-6  # keep every chain near 1


def many_chains(values, steps, x, y):
    """Do `steps` multiply-adds on each of the 12 rows of `values`, (1, 12, width): 24 registers of 512 bits."""
    v = rows(values, 0)
    a, b, c, d, e, f = v[0], v[1], v[2], v[3], v[4], v[5]
    g, h, i, j, k, m = v[6], v[7], v[8], v[9], v[10], v[11]
    for _ in range(steps):
        a, b, c, d = fma(a, x, y), fma(b, x, y), fma(c, x, y), fma(d, x, y)
        e, f, g, h = fma(e, x, y), fma(f, x, y), fma(g, x, y), fma(h, x, y)
        i, j, k, m = fma(i, x, y), fma(j, x, y), fma(k, x, y), fma(m, x, y)
    v[0], v[1], v[2], v[3], v[4], v[5] = a, b, c, d, e, f
    v[6], v[7], v[8], v[9], v[10], v[11] = g, h, i, j, k, m


def few_chains(values, steps, x, y):
    """Do `steps` multiply-adds on each of the 3 rows of `values`, (1, 3, width): 12 registers of 256 bits."""
    v = rows(values, 0)
    a, b, c = v[0], v[1], v[2]
    for _ in range(steps):
        a, b, c = fma(a, x, y), fma(b, x, y), fma(c, x, y)
    v[0], v[1], v[2] = a, b, c


# A Lane is 2 to 8 registers, of which there are 16 or 32: one of the two hides the latency without spilling.
CHAINS = {12: cache.cached_njit(many_chains), 3: cache.cached_njit(few_chains)}


def multiply_adds_a_second(dtype, pool: ThreadPoolExecutor, threads: int, seconds: float = 0.3) -> float:
    """Measure the peak of all `threads` together: the best of some short turns.

    Parameters
    ----------
    dtype
        float64 or float32.
    pool, threads
        Where `threads` tasks are submitted.
    seconds : float
        That all turns take together, compiling not counted.
    """
    width, best = cpu.width(dtype), 0.0
    for n_chains, compiled in CHAINS.items():
        arguments = STEPS_A_CALL, np.dtype(dtype).type(SHRINK), np.dtype(dtype).type(ADD)
        cache.compile_for(compiled, (np.ones((1, n_chains, width), dtype), *arguments))
        for _ in range(TURNS):
            began = time.perf_counter()
            end = began + seconds / (TURNS * len(CHAINS))
            turns = [pool.submit(_calls, compiled, n_chains, dtype, arguments, end) for _ in range(threads)]
            n_calls = sum(turn.result() for turn in turns)
            done = n_calls * STEPS_A_CALL * n_chains * width
            best = max(best, done / (time.perf_counter() - began))
    return best


def _calls(compiled, n_chains, dtype, arguments, end) -> int:
    """Call until the time is over; give how many times."""
    values, n_calls = aligned((1, n_chains, cpu.width(dtype)), dtype), 0
    while n_calls == 0 or time.perf_counter() < end:
        compiled(values, *arguments)
        n_calls += 1
    return n_calls
