"""The share of drawing initial weights in training: ``python -m benchmarks.initial_weights``.

A million runs (``--runs``) of a 2-8-1 network, each with a seed of its own, 100 steps on the four samples of XOR.
Drawing and training take turns (A B A B …) in one process; medians, spread and the share turn by turn are printed.
Compiling is not counted.
"""

import argparse
import os
import platform
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from rich.console import Console
from rich.table import Table

from fastbp.kernels import cpu
from fastbp.kernels.batch import make_batch
from fastbp.kernels.draw import draw_weights
from fastbp.kernels.structure import Structure, network_of
from fastbp.plan import SHARD_RUNS

STEPS = 100
X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
Y = np.array([[0.0], [1.0], [1.0], [0.0]])


def shares(n_runs: int, dtype: str, init: str, turns: int) -> list[tuple[float, float]]:
    """Give the seconds of drawing and of training, turn by turn."""
    structure = Structure((2, 8, 1), True, ("tanh", "tanh"), "mse", "sgd", STEPS, dtype, len(X))
    layers, threads, taken = np.array(structure.layers), cpu.n_threads(), []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(turns + 1):  # the first compiles
            draws = trains = 0.0
            # Shard after shard, as a sweep does it: memory that is used again costs less than fresh memory.
            for first in range(0, n_runs, SHARD_RUNS):
                seeds = np.arange(first, min(first + SHARD_RUNS, n_runs), dtype=np.uint64)
                ones, width = np.ones(len(seeds)), cpu.width(dtype)
                hyper = np.tile([-np.inf, 0.1, 0.1, 1.0, 1.0], (len(seeds), 1))
                began = time.perf_counter()
                w = draw_weights(
                    layers, True, init, "zeros", seeds, ones, 0 * ones, ones, np.dtype(dtype), pool, threads
                )
                draws += time.perf_counter() - began
                batch = make_batch(network_of(structure), STEPS, X, Y, w, hyper, width)
                began = time.perf_counter()
                cpu.train_batch(batch, pool, threads)
                trains += time.perf_counter() - began
            taken.append((draws, trains))
    return taken[1:]


def median(values: list[float], form: str) -> str:
    """Give the median, with least and most."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    title = f"2-8-1 tanh, XOR, {options.runs:,} seeds, {STEPS} steps"
    table = Table("init", "dtype", "drawing, s", "training, s", "drawing / training", title=title)
    for dtype in ("float64", "float32"):
        for init in ("glorot_uniform", "he_normal", "orthogonal"):
            pairs = shares(options.runs, dtype, init, options.turns)
            table.add_row(
                init,
                dtype,
                median([draw for draw, _ in pairs], ".3f"),
                median([train for _, train in pairs], ".2f"),
                median([draw / train for draw, train in pairs], ".1%"),
            )
    Console(width=110).print(table)
    print(f"{platform.machine()}, {cpu.n_threads()} of {os.cpu_count()} processors; median (least to most)")


if __name__ == "__main__":
    main()
