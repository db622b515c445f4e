"""The tables of a result folder, as Arrow: their columns and how a trained batch becomes their rows.

May import ``plan``, ``kernels``, NumPy and PyArrow.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from fastbp.data import DataSource
from fastbp.kernels.batch import Batch
from fastbp.kernels.metrics import METRICS
from fastbp.plan import Plan, Runs, Structure

STATUSES = ("ok", "converged", "diverged")
STEP_METRICS = ("step_converged", "step_diverged")
_WITHOUT_STEPS = ("loss_tail", "convergence", "gradient_norm")  # mean nothing for a run of no steps

_NAME = pa.dictionary(pa.int8(), pa.string())
HISTORY = pa.schema({"run": pa.int64(), "step": pa.int64(), "loss": pa.float64()})
PARAMETERS = pa.schema(
    {
        "run": pa.int64(),
        "step": pa.int64(),
        "layer": pa.int32(),
        "name": _NAME,
        "row": pa.int32(),
        "column": pa.int32(),
        "value": pa.float64(),
        "gradient": pa.float64(),
    }
)
ACTIVATIONS = pa.schema(
    {
        "run": pa.int64(),
        "step": pa.int64(),
        "sample": pa.int64(),
        "layer": pa.int32(),
        "unit": pa.int32(),
        "net": pa.float64(),
        "output": pa.float64(),
        "delta": pa.float64(),
    }
)
WEIGHTS = pa.schema({"run": pa.int64(), "weights": pa.list_(pa.float64())})


def tables(
    plan: Plan, structure: Structure, runs: Runs, data: DataSource, batch: Batch
) -> dict[str, pa.Table]:
    """Give the rows of a trained batch in each table that the sweep records."""
    record = plan.sweep.record
    made = {"runs": runs_table(plan, runs, batch)}
    if record.history:
        made["history"] = history_table(runs, batch)
    if record.trace:
        made["parameters"] = parameters_table(structure, runs, batch)
        made["activations"] = activations_table(plan, structure, runs, data, batch)
    if record.weights:
        made["weights"] = weights_table(runs, batch)
    return made


def runs_table(plan: Plan, runs: Runs, batch: Batch) -> pa.Table:
    """Give a row a run: id, swept parameters, status, steps and metrics."""
    columns: dict[str, Any] = {"run": pa.array(runs.ids)}
    for name, codes in runs.codes.items():
        columns[name] = axis_column(name, plan.domains[name], codes)
    measured = batch.runs(batch.m).astype(np.float64)
    never = {name: measured[:, METRICS[name]] < 0 for name in STEP_METRICS}
    status = np.where(~never["step_diverged"], 2, np.where(~never["step_converged"], 1, 0)).astype(np.int8)
    columns["status"] = pa.DictionaryArray.from_arrays(status, pa.array(STATUSES))
    columns["steps"] = pa.array(np.full(batch.n_runs, batch.steps, np.int64))
    for name, row in METRICS.items():
        values = measured[:, row]
        if name in STEP_METRICS:
            columns[name] = pa.array(values.astype(np.int64), mask=never[name])
        else:
            unknown = np.full(batch.n_runs, batch.steps == 0 and name in _WITHOUT_STEPS)
            columns[name] = pa.array(values, mask=unknown)
    return pa.table(columns)


def axis_column(name: str, domain: tuple[Any, ...], codes: np.ndarray) -> pa.Array:
    """Give the values of a swept parameter: texts as a dictionary, lists where any value is one."""
    if any(isinstance(value, str) for value in domain):
        # Parquet takes no null among the texts themselves, only in their place.
        texts = ["" if value is None else _text(value) for value in domain]
        unset = np.array([value is None for value in domain])[codes]
        places = pa.array(codes.astype(np.int32), mask=unset)
        return pa.DictionaryArray.from_arrays(places, pa.array(texts, pa.string()))
    if any(isinstance(value, tuple) for value in domain):
        named = any(isinstance(part, str) for value in domain if isinstance(value, tuple) for part in value)
        number = pa.string() if named else pa.int64() if name == "layers" else pa.float64()
        lists = [
            list(value) if isinstance(value, tuple) else None if value is None else [value]
            for value in domain
        ]
        return pa.array(lists, pa.list_(number)).take(pa.array(codes))
    if any(value is None for value in domain):
        # Beside a bool, 0 would make numbers of the whole column.
        zero = type(next((value for value in domain if value is not None), 0))()
        numbers = np.array([zero if value is None else value for value in domain])
        unset = np.array([value is None for value in domain])
        return pa.array(numbers[codes], mask=unset[codes])
    return pa.array(np.array(domain)[codes])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(list(value) if isinstance(value, tuple) else value)


def history_table(runs: Runs, batch: Batch) -> pa.Table:
    """Give a row a run and step: the loss after that many updates."""
    losses = batch.runs(batch.losses)
    run, step = _run_and_step(runs.ids, batch.steps + 1, 1)
    return pa.table([run, step, losses.ravel().astype(np.float64)], HISTORY)


def parameters_table(structure: Structure, runs: Runs, batch: Batch) -> pa.Table:
    """Give a row a run, step and weight or bias: its value before the step, and dLoss/dvalue there."""
    n_steps, places = batch.steps + 1, list(_places(structure))
    values = batch.runs(batch.trace["w"])
    gradients = np.zeros((batch.n_runs, n_steps, len(places)))
    gradients[:, :-1] = batch.runs(batch.trace["g"]).reshape(batch.n_runs, batch.steps, len(places))
    unknown = np.zeros(gradients.shape, bool)
    unknown[:, -1] = True
    run, step = _run_and_step(runs.ids, n_steps, len(places))
    layer, name, row, column = (np.tile(part, len(run) // len(places)) for part in zip(*places, strict=True))
    return pa.table(
        [
            run,
            step,
            pa.array(layer, pa.int32()),
            pa.DictionaryArray.from_arrays(pa.array(name, pa.int8()), pa.array(["W", "b"])),
            pa.array(row, pa.int32(), mask=row < 0),
            pa.array(column, pa.int32()),
            values.ravel().astype(np.float64),
            pa.array(gradients.ravel(), mask=unknown.ravel()),
        ],
        PARAMETERS,
    )


def _places(structure: Structure) -> Iterator[tuple[int, int, int, int]]:
    """Give layer, 0 for W and 1 for b, row (-1 for b) and column of each parameter."""
    for layer, (n_in, n_out) in enumerate(itertools.pairwise(structure.layers), 1):
        yield from ((layer, 0, row, column) for row in range(n_in) for column in range(n_out))
        if structure.bias:
            yield from ((layer, 1, -1, column) for column in range(n_out))


def activations_table(
    plan: Plan, structure: Structure, runs: Runs, data: DataSource, batch: Batch
) -> pa.Table:
    """Give a row a run, step, sample and unit: its net input, output and dLoss/dnet; layer 0 is the input."""
    n_runs, n_steps, n_samples = batch.n_runs, batch.steps + 1, structure.n_samples
    sample, x = samples(plan, runs, data)
    n_in, n_all = structure.layers[0], sum(structure.layers)

    def block(steps, values, first):
        """Give (run, step, sample, unit), the layer-0 part filled with `first`."""
        units = values.reshape(n_runs, steps, n_samples, structure.n_units)
        return np.concatenate([np.broadcast_to(first, (n_runs, steps, n_samples, n_in)), units], axis=3)

    with np.errstate(over="ignore"):
        inputs = x.astype(structure.dtype)[:, None]
    net = block(n_steps, batch.runs(batch.trace["z"]), np.nan)
    output = block(n_steps, batch.runs(batch.trace["a"]), inputs)
    delta = np.full(net.shape, np.nan)
    delta[:, :-1] = block(batch.steps, batch.runs(batch.trace["delta"]), np.nan)
    no_net = np.zeros(net.shape, bool)
    no_net[..., :n_in] = True
    no_delta = no_net.copy()
    no_delta[:, -1] = True
    layer, unit = np.array([(k, j) for k, n in enumerate(structure.layers) for j in range(n)]).T
    run, step = _run_and_step(runs.ids, n_steps, n_samples * n_all)
    return pa.table(
        [
            run,
            step,
            np.repeat(np.repeat(sample, n_steps, axis=0).ravel(), n_all),
            pa.array(np.tile(layer, len(run) // n_all), pa.int32()),
            pa.array(np.tile(unit, len(run) // n_all), pa.int32()),
            pa.array(net.ravel(), mask=no_net.ravel()),
            output.ravel().astype(np.float64),
            pa.array(delta.ravel(), mask=no_delta.ravel()),
        ],
        ACTIVATIONS,
    )


def samples(plan: Plan, runs: Runs, data: DataSource) -> tuple[np.ndarray, np.ndarray]:
    """Give the samples that each run is trained on, int64 (n_runs, n_samples), and their x, a row of it each."""
    distinct, which = data.variants(plan.base, plan.domains, runs.codes)
    which = np.broadcast_to(which, len(runs.ids))
    return np.stack([each.samples for each in distinct])[which], np.stack([each.x for each in distinct])[
        which
    ]


def weights_table(runs: Runs, batch: Batch) -> pa.Table:
    """Give a row a run: its final parameters, W of each layer by rows, then its b."""
    values = batch.runs(batch.w)
    offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.ravel().astype(np.float64)))
    return pa.table([pa.array(runs.ids), lists], WEIGHTS)


def _run_and_step(ids: np.ndarray, n_steps: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Give the first two columns of a table of `rows` rows a run and step."""
    return np.repeat(ids, n_steps * rows), np.tile(np.repeat(np.arange(n_steps), rows), len(ids))
