"""The tables of a result folder, as Arrow: their columns and how a trained batch becomes their rows.

May import ``plan``, ``kernels``, NumPy and PyArrow.
"""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from fastbp.data import DataSource
from fastbp.kernels.batch import Batch
from fastbp.kernels.metrics import MEASURES, METRICS, STEPS, stopping
from fastbp.kernels.structure import Structure
from fastbp.plan import Plan, Runs

STATUSES = ("ok", "converged", "diverged", "stopped")
STEP_METRICS = ("step_converged", "step_diverged", "step_validation_min")
_WITHOUT_STEPS = ("loss_tail", "convergence", "gradient_norm")  # mean nothing for a run of no steps

_NAME = pa.dictionary(pa.int8(), pa.string())
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
    made = {"runs": runs_table(plan, structure, runs, batch)}
    if len(batch.steps_kept):
        made["history"] = history_table(plan, structure, runs, batch)
    if record.trace:
        made["parameters"] = parameters_table(structure, runs, batch)
        made["activations"] = activations_table(plan, structure, runs, data, batch)
    if record.weights:
        made["weights"] = weights_table(runs, batch)
    return made


def runs_table(plan: Plan, structure: Structure, runs: Runs, batch: Batch) -> pa.Table:
    """Give a row a run: id, swept parameters, status, steps and metrics."""
    columns: dict[str, Any] = {"run": pa.array(runs.ids)}
    for name, codes in runs.codes.items():
        columns[name] = swept_column(plan, name, codes)
    steps = steps_done(batch)
    columns["status"] = pa.DictionaryArray.from_arrays(statuses(batch, steps), pa.array(STATUSES))
    columns[steps_column(plan)] = pa.array(steps)
    for name, metric, kind in measured_columns(plan):
        values = batch.measure(metric).astype(np.float64, copy=False)
        if name in STEP_METRICS:
            columns[name] = nullable(values, values < 0, pa.int64())
        else:
            columns[name] = nullable(values, unknown(structure, metric, kind, values, steps))
    return pa.table(columns)


def statuses(batch: Batch, steps: np.ndarray) -> np.ndarray:
    """Give the place in ``STATUSES`` of each run that made so many `steps`, int8 (n_runs,)."""
    found = np.zeros(batch.n_runs, np.int8)
    found[steps < batch.steps] = STATUSES.index("stopped")
    found[batch.measure("step_converged") >= 0] = STATUSES.index("converged")
    found[batch.measure("step_diverged") >= 0] = STATUSES.index("diverged")
    return found


def nullable(values: np.ndarray, mask: np.ndarray, kind: pa.DataType | None = None) -> pa.Array:
    """Give numbers, null where the mask says so, as `kind` where that is another type than theirs."""
    kind = kind or pa.from_numpy_dtype(values.dtype)
    if mask.all():  # the usual case of a step that never came, and many times as fast
        return pa.nulls(len(values), kind)
    numbers = values.astype(kind.to_pandas_dtype(), copy=False)
    return pa.array(numbers, mask=mask if mask.any() else None)


def steps_column(plan: Plan) -> str:
    """Give the column of the updates that a run made; where steps are an axis, that has the plain name."""
    return "steps_done" if "steps" in plan.domains else "steps"


def steps_done(batch: Batch) -> np.ndarray:
    """Give the updates that each run made, int64 (n_runs,)."""
    if stopping(batch.network):
        return batch.runs(batch.m[:, STEPS : STEPS + 1])[:, 0].astype(np.int64)
    return np.full(batch.n_runs, batch.steps, np.int64)


def measured_columns(plan: Plan) -> list[tuple[str, str, str | None]]:
    """Give name, metric and kind of score of each measured column; the same for all shards of a sweep.

    A score is called by what it is, ``r2`` or ``accuracy``, so that a sweep over losses may have both.
    """
    kinds, validated = plan.scores
    columns: list[tuple[str, str, str | None]] = [
        (name, name, None) for name in METRICS if "score" not in name
    ]
    if not validated:
        columns = [column for column in columns if "validation" not in column[0]]
    columns += [(kind, "score", kind) for kind in kinds if kind]
    columns += [(f"validation_{kind}", "validation_score", kind) for kind in validated if kind]
    return columns


def unknown(
    structure: Structure, metric: str, kind: str | None, values: np.ndarray, steps: np.ndarray
) -> np.ndarray:
    """Give where a measure means nothing for a run, and is null."""
    if kind is not None and kind != structure.score_name:
        return np.ones(len(values), bool)
    if metric.startswith("validation") and not structure.n_validation:
        return np.ones(len(values), bool)
    if kind is not None:
        return ~np.isfinite(values)
    if metric == "loss_min" and structure.steps == 0 and structure.samples_a_step < structure.n_samples:
        return np.ones(len(values), bool)  # the least of the losses of batches, of which there was none
    return steps == 0 if metric in _WITHOUT_STEPS else np.zeros(len(values), bool)


def swept_column(plan: Plan, name: str, codes: np.ndarray) -> pa.Array:
    """Do what `axis_column` does; of numbers, which may be many, without looking at each again and again."""
    numbers, is_unset = plan.numbers(name)
    if numbers is None:
        return axis_column(name, plan.domains[name], codes)
    return pa.array(numbers[codes], mask=is_unset[codes] if is_unset.any() else None)


def axis_column(name: str, domain: tuple[Any, ...], codes: np.ndarray) -> pa.Array:
    """Give the values of a swept parameter: texts as a dictionary, lists where any value is one."""
    if any(isinstance(value, str) for value in domain):
        # Parquet takes no null among the texts themselves, only in their place.
        texts = ["" if value is None else _text(value) for value in domain]
        unset = np.array([value is None for value in domain])[codes]
        places = pa.array(codes.astype(np.int32), mask=unset)
        return pa.DictionaryArray.from_arrays(places, pa.array(texts, pa.string()))
    if any(isinstance(value, tuple) for value in domain):
        # A list that may be empty is one of names.
        named = all(isinstance(part, str) for value in domain if isinstance(value, tuple) for part in value)
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
    return value if isinstance(value, str) else json.dumps(value)


def history_table(plan: Plan, structure: Structure, runs: Runs, batch: Batch) -> pa.Table:
    """Give a row a run and step that is kept, its last in any case: the measures after that many updates."""
    kept, names = batch.steps_kept, plan.sweep.record.measures
    values = batch.runs(batch.history).reshape(batch.n_runs, len(kept), len(names)).astype(np.float64)
    ends = batch.runs(batch.m)[:, [METRICS[MEASURES[name]] for name in names]].astype(np.float64)
    steps = steps_done(batch)
    before, every = kept[None] < steps[:, None], np.ones((batch.n_runs, 1), bool)
    # What was kept before a run's last step, and then that step, wherever the run stopped.
    rows = np.concatenate([before, every], axis=1)
    step = np.concatenate([np.broadcast_to(kept, before.shape), steps[:, None]], axis=1)[rows]
    last = np.concatenate([np.zeros(before.shape, bool), every], axis=1)[rows]
    found = np.concatenate([values, ends[:, None]], axis=1)[rows]
    columns: dict[str, Any] = {"run": np.repeat(runs.ids, rows.sum(axis=1)), "step": step}
    for name, metric, kind in history_columns(plan):
        column = found[:, names.index(name if kind is None else metric)]
        # At its last weights a run has made no update any more.
        mask = unknown(structure, metric, kind, column, np.ones(len(column)))
        columns[name] = pa.array(column, mask=mask | last if metric == "gradient_norm" else mask)
    return pa.table(columns)


def history_columns(plan: Plan) -> list[tuple[str, str, str | None]]:
    """Give name, metric and kind of score of each column of the history."""
    found: list[tuple[str, str, str | None]] = []
    measured = measured_columns(plan)
    for name in plan.sweep.record.measures:
        if name.endswith("score"):
            found += [column for column in measured if column[1] == name]
        else:
            found.append((name, MEASURES[name], None))
    return found


def parameters_table(structure: Structure, runs: Runs, batch: Batch) -> pa.Table:
    """Give a row a run, step and weight or bias: its value before the step, and dLoss/dvalue there."""
    n_steps, places = batch.steps + 1, list(_places(structure))
    values = batch.runs(batch.trace["w"])
    gradients = np.zeros((batch.n_runs, n_steps, len(places)))
    gradients[:, :-1] = batch.runs(batch.trace["g"]).reshape(batch.n_runs, batch.steps, len(places))
    unknown = np.broadcast_to(_ended(batch)[..., None], gradients.shape)
    run, step = _run_and_step(runs.ids, n_steps, len(places))
    layer, name, row, column = (np.tile(part, len(run) // len(places)) for part in zip(*places, strict=True))
    table = pa.table(
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
    return _without_what_never_was(table, batch)


def _ended(batch: Batch) -> np.ndarray:
    """Give where a run had made its last update before a step, bool (n_runs, steps + 1)."""
    return np.arange(batch.steps + 1) >= steps_done(batch)[:, None]


def _without_what_never_was(table: pa.Table, batch: Batch) -> pa.Table:
    """Leave out the rows of steps that a run did not reach, of a table with as many rows for each step."""
    happened = np.arange(batch.steps + 1) <= steps_done(batch)[:, None]
    if happened.all():
        return table
    return table.filter(pa.array(np.repeat(happened.ravel(), len(table) // happened.size)))


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
    no_delta = no_net | _ended(batch)[:, :, None, None]
    layer, unit = np.array([(k, j) for k, n in enumerate(structure.layers) for j in range(n)]).T
    run, step = _run_and_step(runs.ids, n_steps, n_samples * n_all)
    table = pa.table(
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
    return _without_what_never_was(table, batch)


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
