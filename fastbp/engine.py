"""The story of a sweep: plan, executor, backend, store."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from fastbp import executors
from fastbp.data import DataSource
from fastbp.kernels import cpu, losses
from fastbp.kernels.activations import ACTIVATIONS
from fastbp.kernels.batch import Batch, make_batch
from fastbp.kernels.initializers import given
from fastbp.kernels.losses import LOSSES
from fastbp.kernels.network import LEARNING_RATE, TARGET_LOSS, Network
from fastbp.kernels.optimizers import OPTIMIZERS
from fastbp.kernels.parametrisations import multipliers
from fastbp.plan import Plan, Runs, Shard, Structure
from fastbp.results import Results
from fastbp.store import Store
from fastbp.sweep import Sweep
from fastbp.tables import tables


def run(
    sweep: Sweep,
    out: Path | str | None = None,
    threads: int | None = None,
    advance: Callable[[float], None] = lambda runs: None,
) -> Results:
    """Train all runs of a sweep and write the result folder.

    Parameters
    ----------
    sweep : Sweep
    out : path, optional
        The result folder, ``results/<name>`` where none is given.
    threads : int, optional
        Threads that train; all processors that this process may use where none is given.
    advance : callable, optional
        Told now and then how many more runs were trained, in fractions of a run.

    Returns
    -------
    Results

    Raises
    ------
    ValueError
        If `threads` is less than 1.
    SweepError
        If the record of a block of runs is too large for memory.
    StoreError
        If the folder holds something else, or cannot be written.
    """
    return run_plan(Plan(sweep), out, threads, advance)


def run_plan(
    plan: Plan,
    out: Path | str | None = None,
    threads: int | None = None,
    advance: Callable[[float], None] = lambda runs: None,
) -> Results:
    """Do what `run` does with a sweep that is planned already."""
    plan.refuse_too_large()
    data, cancel = plan.data, threading.Event()
    threads = cpu.n_threads() if threads is None else threads
    with (
        ThreadPoolExecutor(threads, thread_name_prefix="train") as pool,
        Store(Path(out) if out else Path("results") / plan.sweep.name, plan) as store,
    ):

        def work(shard: Shard) -> None:
            structure, runs = shard.group.structure, plan.runs(shard)
            batch = prepare(plan, structure, runs, data)
            cpu.train_batch(batch, pool, threads, cancel, advance)
            store.write(shard, tables(plan, structure, runs, data, batch))

        for _ in executors.local(work, plan.shards(), cancel.set):
            pass
        store.finish()
    return Results(store.folder)


def prepare(
    plan: Plan,
    structure: Structure,
    runs: Runs,
    data: DataSource,
    *,
    trace: bool | None = None,
    weights: np.ndarray | None = None,
) -> Batch:
    """Lay runs out in blocks, ready to be trained; `trace` and `weights` replace what the sweep says."""
    record = plan.sweep.record
    dtype = np.dtype(structure.dtype)
    x, y = run_data(plan, runs, data)
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and the run diverges
        return make_batch(
            network_of(structure),
            structure.steps,
            x,
            y,
            (initial_weights(plan, structure, runs) if weights is None else weights).astype(dtype),
            hyperparameters(plan, structure, runs),
            cpu.width(dtype),
            history=record.history,
            trace=record.trace if trace is None else trace,
        )


def network_of(structure: Structure) -> Network:
    """Translate names into the numbers that kernels know."""
    kinds = list(ACTIVATIONS)
    return Network(
        layers=np.array(structure.layers, np.int64),
        activations=np.array([kinds.index(name) for name in structure.activations], np.int64),
        bias=structure.bias,
        loss=list(LOSSES).index(structure.loss),
        optimizer=list(OPTIMIZERS).index(structure.optimizer),
        weight=losses.weight(structure.loss, structure.n_samples, structure.layers[-1]),
        n_samples=structure.n_samples,
    )


def run_data(plan: Plan, runs: Runs, data: DataSource) -> tuple[np.ndarray, np.ndarray]:
    """Give x and y: (n_samples, n_features) where all runs share them, else (n_runs, n_samples, n_features)."""
    distinct, which = data.variants(plan.base, plan.domains, runs.codes)
    if len(distinct) == 1:
        return distinct[0].x, distinct[0].y
    return np.stack([each.x for each in distinct])[which], np.stack([each.y for each in distinct])[which]


def initial_weights(plan: Plan, structure: Structure, runs: Runs) -> np.ndarray:
    """Give the parameters that each run starts from, float64 (n_runs, n_parameters)."""

    def weights(name):
        return given(plan.sweep.init[name], len(structure.activations), structure.bias)

    if "init" not in runs.codes:
        return np.broadcast_to(weights(plan.base["init"]), (len(runs.ids), structure.n_parameters))
    drawn = np.empty((len(runs.ids), structure.n_parameters))
    for code in np.unique(runs.codes["init"]):
        drawn[runs.codes["init"] == code] = weights(plan.domains["init"][code])
    return drawn


def hyperparameters(plan: Plan, structure: Structure, runs: Runs) -> np.ndarray:
    """Give the hyperparameters of each run, float64 (n_runs, 1 + 2 n_layers), as `network` numbers them."""
    n_layers = len(structure.activations)
    hyper = np.empty((len(runs.ids), LEARNING_RATE + 2 * n_layers))
    hyper[:, TARGET_LOSS] = swept(plan, runs, "target_loss", -np.inf)[:, 0]
    hyper[:, LEARNING_RATE : LEARNING_RATE + n_layers] = by_layer(plan, structure, runs, "learning_rate")
    hyper[:, LEARNING_RATE + n_layers :] = by_layer(plan, structure, runs, "scale")
    return hyper


def by_layer(plan: Plan, structure: Structure, runs: Runs, name: str) -> np.ndarray:
    """Give a parameter that each layer has, float64 (n_runs, n_layers); an axis of one layer wins."""
    values = swept(plan, runs, name, np.nan, structure.layers).copy()
    for layer in range(values.shape[1]):
        own = swept(plan, runs, f"{name}_{layer + 1}", np.nan)[:, 0]
        values[:, layer] = np.where(np.isnan(own), values[:, layer], own)
    return values


def swept(plan: Plan, runs: Runs, name: str, unset: float, layers: tuple[int, ...] = (1, 1)) -> np.ndarray:
    """Give a numeric parameter of each run, float64 (n_runs, n_layers); `unset` where it has no value."""
    domain = plan.domains.get(name, (plan.base.get(name),))
    codes = runs.codes.get(name, np.zeros(len(runs.ids), np.int64))
    values = np.full((len(domain), len(layers) - 1), unset)
    for code in np.unique(codes):
        value = domain[code]
        if value is not None:
            values[code] = multipliers(value, layers) if isinstance(value, str) else value
    return values[codes]
