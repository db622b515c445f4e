"""From the runs of a shard to the arrays of a batch: data, initial weights, hyperparameters, orders.

May import ``plan``, ``data`` and ``kernels``.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from fastbp.data import DataSource
from fastbp.kernels import cpu
from fastbp.kernels.batch import Batch, make_batch
from fastbp.kernels.draw import draw_weights
from fastbp.kernels.initializers import INITIALIZERS, given
from fastbp.kernels.metrics import MEASURES
from fastbp.kernels.orders import Orders
from fastbp.kernels.parametrisations import multipliers
from fastbp.kernels.schedules import TO_THE_END
from fastbp.kernels.structure import Structure, network_of
from fastbp.plan import Plan, Runs
from fastbp.structures import steps_kept


def prepare(
    plan: Plan,
    structure: Structure,
    runs: Runs,
    data: DataSource,
    pool: ThreadPoolExecutor,
    threads: int,
    *,
    trace: bool | None = None,
    weights: np.ndarray | None = None,
) -> Batch:
    """Lay runs out in blocks, ready to be trained; `trace` and `weights` replace what the sweep says.

    The weights are drawn by `threads` tasks in `pool`.
    """
    record, dtype = plan.sweep.record, np.dtype(structure.dtype)
    x, y = run_data(plan, runs, data)
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and the run diverges
        return make_batch(
            network_of(structure),
            structure.steps,
            x,
            y,
            initial_weights(plan, structure, runs, pool, threads)
            if weights is None
            else weights.astype(dtype),
            hyperparameters(plan, structure, runs),
            cpu.width(dtype),
            orders=orders_of(structure),
            steps_kept=steps_kept(record, structure.steps),
            measures=[MEASURES[name] for name in record.measures],
            trace=record.trace if trace is None else trace,
        )


def orders_of(structure: Structure) -> Orders | None:
    """Give the order in which the steps take the samples; None where each takes all."""
    if structure.full:
        return None
    size = structure.samples_a_step
    return Orders(structure.batch_order, structure.batch_seed, structure.n_samples, size, structure.steps)


def run_data(plan: Plan, runs: Runs, data: DataSource) -> tuple[np.ndarray, np.ndarray]:
    """Give x and y, the samples to train on first: (n_samples, n_features) where all runs share them.

    Else (n_runs, n_samples, n_features).
    """
    distinct, which = data.variants(plan.base, plan.domains, runs.codes)
    x = np.stack([np.concatenate([each.x, each.x_validation]) for each in distinct])
    y = np.stack([np.concatenate([each.y, each.y_validation]) for each in distinct])
    return (x[0], y[0]) if len(distinct) == 1 else (x[which], y[which])


def initial_weights(
    plan: Plan, structure: Structure, runs: Runs, pool: ThreadPoolExecutor, threads: int
) -> np.ndarray:
    """Give the parameters that each run starts from: (n_runs, n_parameters), or in blocks as by `pack`."""
    pairs = coded(plan, runs, ("init", "bias_init"))
    if len(pairs) == 1:
        return weights_of(plan, structure, runs, pairs[0][0], pool, threads)
    width, n_blocks = cpu.width(structure.dtype), -(-len(runs.ids) // cpu.width(structure.dtype))
    drawn = np.empty((n_blocks * width, structure.n_parameters), structure.dtype)
    for values, which in pairs:
        part = Runs(runs.ids[which], {name: codes[which] for name, codes in runs.codes.items()})
        found = weights_of(plan, structure, part, values, pool, threads)
        if found.ndim == 3:
            found = found.transpose(0, 2, 1).reshape(-1, structure.n_parameters)
        drawn[which] = found[: len(which)]
    return drawn[: len(runs.ids)]


def weights_of(
    plan: Plan,
    structure: Structure,
    runs: Runs,
    values: tuple[str, str],
    pool: ThreadPoolExecutor,
    threads: int,
) -> np.ndarray:
    """Give the initial parameters of runs that have the same init and bias_init."""
    init, bias_init = values
    scale, offset = (swept(plan, runs, name, np.nan)[:, 0] for name in ("init_scale", "init_offset"))
    if init not in INITIALIZERS:
        flat = given(plan.sweep.init[init], len(structure.activations), structure.bias)
        weights = np.concatenate([np.full(n, part == "W") for part, n in structure.tensors()])
        if (scale == 1).all() and (offset == 0).all():
            return np.broadcast_to(flat.astype(structure.dtype), (len(runs.ids), len(flat)))
        moved = np.where(weights, flat * scale[:, None] + offset[:, None], flat)
        return moved.astype(structure.dtype)
    seeds = swept(plan, runs, "seed", 0)[:, 0].astype(np.uint64)
    return draw_weights(
        np.array(structure.layers, np.int64),
        structure.bias,
        init,
        bias_init,
        seeds,
        scale,
        offset,
        swept(plan, runs, "bias_scale", 1.0)[:, 0],
        np.dtype(structure.dtype),
        pool,
        threads,
    )


def coded(plan: Plan, runs: Runs, names: tuple[str, ...]) -> list[tuple[tuple[Any, ...], np.ndarray]]:
    """Give the distinct values of some parameters, and which runs have them."""
    swept_names = [name for name in names if name in runs.codes]
    if not swept_names:
        return [(tuple(plan.base[name] for name in names), np.arange(len(runs.ids)))]
    columns = np.stack([runs.codes[name] for name in swept_names])
    distinct, which = np.unique(columns, axis=1, return_inverse=True)
    found = []
    for number, codes in enumerate(distinct.T):
        own = dict(zip(swept_names, codes, strict=False))
        values = tuple(plan.domains[name][own[name]] if name in own else plan.base[name] for name in names)
        found.append((values, np.flatnonzero(which.ravel() == number)))
    return found


def hyperparameters(plan: Plan, structure: Structure, runs: Runs) -> np.ndarray:
    """Give the hyperparameters of each run, float64 (n_runs, n_hyperparameters), as the structure numbers them."""
    layered = {name: by_layer(plan, structure, runs, name) for name in ("learning_rate", "scale")}
    rows = list(structure.hyperparameters())
    hyper = np.empty((len(rows), len(runs.ids))).T  # the values of each side by side: that is how they come
    for row, (name, layer, default) in enumerate(rows):
        if layer is not None:
            hyper[:, row] = layered[name][:, layer]
        else:
            hyper[:, row] = swept(plan, runs, name, np.nan if default is None else default)[:, 0]
        if name == "decay_steps":
            warmup = swept(plan, runs, "warmup_steps", 0.0)[:, 0]
            to_the_end = np.maximum(structure.steps - warmup, 1.0)
            hyper[:, row] = np.where(hyper[:, row] == TO_THE_END, to_the_end, hyper[:, row])
    return hyper


def by_layer(plan: Plan, structure: Structure, runs: Runs, name: str) -> np.ndarray:
    """Give a parameter that each layer has, float64 (n_runs, n_layers); an axis of one layer wins."""
    shared = swept(plan, runs, name, np.nan, structure.layers)
    n_layers = shared.shape[1]
    values = np.empty((n_layers, len(shared))).T
    for layer in range(n_layers):
        own_name = f"{name}_{layer + 1}"
        if own_name in plan.domains or plan.base.get(own_name) is not None:
            own = swept(plan, runs, own_name, np.nan)[:, 0]
            values[:, layer] = np.where(np.isnan(own), shared[:, layer], own)
        else:
            values[:, layer] = shared[:, layer]
    return values


def swept(plan: Plan, runs: Runs, name: str, unset: float, layers: tuple[int, ...] = (1, 1)) -> np.ndarray:
    """Give a numeric parameter of each run, (n_runs, n_layers); `unset` where it has no value.

    As float64, or int64 where all values are whole numbers.
    """
    if name not in runs.codes:
        value = plan.base.get(name)
        value = unset if value is None else multipliers(value, layers) if isinstance(value, str) else value
        return np.broadcast_to(np.asarray(value), (len(runs.ids), len(layers) - 1))
    codes, (numbers, is_unset) = runs.codes[name], plan.numbers(name)
    if numbers is not None:
        values = numbers[codes]
        if is_unset.any():
            values = np.where(is_unset[codes], unset, values)
        return np.broadcast_to(values[:, None], (len(codes), len(layers) - 1))
    domain, found = plan.domains[name], np.full((len(plan.domains[name]), len(layers) - 1), unset)
    for code in np.unique(codes):
        value = domain[code]
        if value is not None:
            found[code] = multipliers(value, layers) if isinstance(value, str) else value
    return found[codes]
