"""fastbp's kernels: runs side by side on SIMD lanes, all in one batch."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata

import numpy as np

from benchmarks.contestants import Setting, Trainer
from benchmarks.workloads import Workload
from fastbp.kernels import cpu, straight
from fastbp.kernels.batch import make_batch
from fastbp.kernels.structure import network_of

# The runs are a part of a sweep so large that straight-line code is compiled for it, where there can be any.
RUNS_IN_ALL = 2**26
POOL = ThreadPoolExecutor(cpu.n_threads())


def version() -> str:
    """Name the library and its version."""
    return f"fastbp {metadata.version('fastbp')}"


def obstacle(workload: Workload) -> str:
    """Say why it cannot express a workload."""
    return ""


def settings(workload: Workload) -> Iterable[Setting]:
    """Give one setting: any number of runs makes a batch."""
    yield Setting(min(1024, workload.n_runs))


def trainer(workload: Workload, n_runs: int, setting: Setting) -> Trainer:
    """Have a batch ready, and straight-line code for it."""
    x, y = workload.samples()
    rates, scales = workload.learning_rates(n_runs), np.tile(workload.scales, (n_runs, 1))
    others = [default for _, layer, default in workload.structure.hyperparameters() if layer is None]
    hyper = np.column_stack([np.full(n_runs, others[0]), rates, scales, np.tile(others[1:], (n_runs, 1))])
    batch = make_batch(
        network_of(workload.structure),
        workload.steps,
        x,
        y,
        workload.weights(n_runs),
        hyper,
        cpu.width(workload.dtype),
        orders=workload.orders(),
        trace=workload.records,
    )
    start = batch.w.copy()

    def reset() -> None:
        batch.w[:] = start

    def train() -> None:
        cpu.train_batch(batch, POOL, cpu.n_threads(), n_runs_in_all=RUNS_IN_ALL)

    if not workload.records and (code := straight.order(batch, np.inf)):
        code.result()
    return Trainer(train, lambda: batch.measure("loss_last"), reset)
