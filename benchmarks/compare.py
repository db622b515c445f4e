"""fastbp's kernel against JAX ``jit(vmap(scan))`` on the 2-2-2 network: ``python -m benchmarks.compare``.

A million runs (``--runs``) of the notebook's network, one sample, 100 steps, each run with a learning rate of its
own. The two take turns (A B A B …) in one process, so that a change of the machine's speed meets both; medians,
spread and the ratio turn by turn are printed. Compiling is not counted. JAX runs in chunks of several sizes and is
given its best one.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from rich.console import Console
from rich.table import Table

from fastbp.kernels import cpu
from fastbp.kernels.batch import make_batch
from fastbp.kernels.structure import Structure, network_of


class Trainer(NamedTuple):
    """One way to train all runs: `reset` the weights, `train`, give the last `losses`; `train` alone is timed."""

    reset: Callable[[], object]
    train: Callable[[], object]
    losses: Callable[[], np.ndarray]


STEPS = 100
CHUNKS = (8192, 65536, 262144, None)
X, Y = np.array([0.05, 0.10]), np.array([0.01, 0.99])
W1, B1 = np.array([[0.15, 0.20], [0.25, 0.30]]), np.array([0.35, 0.35])
W2, B2 = np.array([[0.40, 0.45], [0.50, 0.55]]), np.array([0.60, 0.60])


def fastbp_trainer(n_runs: int, dtype: str) -> Trainer:
    """Give fastbp's kernel at work on all runs."""
    structure = Structure(
        layers=(2, 2, 2),
        bias=True,
        activations=("sigmoid", "sigmoid"),
        loss="mse",
        optimizer="sgd",
        steps=STEPS,
        dtype=dtype,
        n_samples=1,
    )
    weights = np.concatenate([np.ravel(part) for part in (W1, B1, W2, B2)]).astype(dtype)
    rates = learning_rates(n_runs)
    hyper = np.column_stack([np.full(n_runs, -np.inf), rates, rates, np.ones((n_runs, 2))])
    batch = make_batch(
        network_of(structure),
        STEPS,
        X[None],
        Y[None],
        np.broadcast_to(weights, (n_runs, 12)),
        hyper,
        cpu.width(dtype),
    )
    start = batch.w.copy()
    pool = ThreadPoolExecutor(cpu.n_threads())

    def reset():
        batch.w[:] = start

    def train():
        cpu.train_batch(batch, pool, cpu.n_threads())

    return Trainer(reset, train, lambda: batch.measure("loss_last"))


def jax_trainer(n_runs: int, dtype: str, chunk: int | None) -> Trainer:
    """Give JAX at work on all runs, `chunk` at a time."""

    def loss(parameters):
        W1, b1, W2, b2 = parameters
        hidden = jax.nn.sigmoid(jnp.asarray(X, dtype) @ W1 + b1)
        output = jax.nn.sigmoid(hidden @ W2 + b2)
        return jnp.mean((output - jnp.asarray(Y, dtype)) ** 2)

    def train_one(parameters, rate):
        def step(parameters, _):
            gradient = jax.grad(loss)(parameters)
            return jax.tree.map(lambda w, g: w - rate * g, parameters, gradient), None

        trained, _ = lax.scan(step, parameters, None, length=STEPS)
        return trained, loss(trained)

    train_many = jax.jit(jax.vmap(train_one, in_axes=(0, 0)))
    size = chunk or n_runs
    first = [jnp.tile(jnp.asarray(part, dtype), (size,) + (1,) * part.ndim) for part in (W1, B1, W2, B2)]
    rates = jnp.asarray(learning_rates(n_runs), dtype)

    chunks = [jax.block_until_ready(rates[start : start + size]) for start in range(0, n_runs, size)]
    found: list = []

    def train():
        found[:] = [train_many(first, chunk) for chunk in chunks]
        jax.block_until_ready(found)

    return Trainer(found.clear, train, lambda: np.concatenate([np.asarray(last) for _, last in found]))


def learning_rates(n_runs: int) -> np.ndarray:
    """Give the learning rate of each run."""
    return np.linspace(0.1, 2.0, n_runs)


def seconds(trainer: Trainer) -> float:
    """Give the wall time of one training of all runs, from weights in memory to weights and losses in memory."""
    trainer.reset()
    began = time.perf_counter()
    trainer.train()
    return time.perf_counter() - began


def compare(n_runs: int, dtype: str, turns: int) -> tuple[list[float], list[float], int | None]:
    """Give the seconds of each turn of fastbp and of JAX, and the chunk that JAX did best with."""
    mine = fastbp_trainer(n_runs, dtype)
    chunks = [chunk for chunk in CHUNKS if chunk is None or n_runs % chunk == 0]
    theirs = {chunk: jax_trainer(n_runs, dtype, chunk) for chunk in chunks}
    seconds(mine)  # compiles, and both must have done the same work
    for trainer in theirs.values():
        seconds(trainer)
        np.testing.assert_allclose(trainer.losses(), mine.losses(), rtol=1e-9 if dtype == "float64" else 2e-3)
    best = min(chunks, key=lambda chunk: min(seconds(theirs[chunk]) for _ in range(2)))
    pairs = [(seconds(mine), seconds(theirs[best])) for _ in range(turns)]
    return [mine for mine, _ in pairs], [theirs for _, theirs in pairs], best


def rate(n_runs: int, times: list[float]) -> str:
    """Give million steps a second: the median, with least and most."""
    rates = sorted(n_runs * STEPS / 1e6 / s for s in times)
    return f"{statistics.median(rates):.0f} ({rates[0]:.0f} to {rates[-1]:.0f})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=2**20)
    parser.add_argument("--turns", type=int, default=7)
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    title = f"2-2-2 sigmoid, 1 sample, {options.runs:,} runs x {STEPS} steps: million steps a second"
    table = Table("dtype", "fastbp", f"JAX {jax.__version__}", "JAX's chunk", "ratio", title=title)
    for dtype in ("float64", "float32"):
        mine, theirs, chunk = compare(options.runs, dtype, options.turns)
        ratios = sorted(b / a for a, b in zip(mine, theirs, strict=True))
        table.add_row(
            dtype,
            rate(options.runs, mine),
            rate(options.runs, theirs),
            str(chunk or "all runs"),
            f"{statistics.median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f})",
        )
    Console(width=100).print(table)
    print(f"{platform.machine()}, {cpu.n_threads()} of {os.cpu_count()} processors; median (least to most)")


if __name__ == "__main__":
    main()
