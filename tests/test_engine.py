import itertools
import json
import re
import tempfile
import threading
from collections import Counter
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core import config

import fastbp
from fastbp import engine, executors
from fastbp import plan as plan_module
from fastbp.sweep import loads

TEXT = """\
name = "trained"

[network]
layers = [2, 3, 1]
hidden_activation = "tanh"
output_activation = "identity"
init = "a"

[init.a]
W1 = [[0.5, -0.4, 0.3], [0.3, 0.6, -0.7]]
b1 = [0.1, -0.2, 0.3]
W2 = [[0.7], [-0.5], [0.9]]
b2 = [0.2]

[init.b]
W1 = [[-0.1, 0.2, 0.5], [0.4, 0.3, -0.2]]
b1 = [0.3, 0.1, 0.2]
W2 = [[-0.6], [0.8], [0.4]]
b2 = [-0.1]

[data]
x = [[0.1, 0.9], [0.8, -0.4], [-0.7, 0.6], [0.3, 0.25]]
y = [[0.4], [-0.8], [0.9], [0.1]]

[training]
learning_rate = 0.5
steps = 3

[record]
history = true
trace = true
weights = true
"""
X = np.array([[0.1, 0.9], [0.8, -0.4], [-0.7, 0.6], [0.3, 0.25]])
Y = np.array([[0.4], [-0.8], [0.9], [0.1]])
WEIGHTS = {
    "a": [0.5, -0.4, 0.3, 0.3, 0.6, -0.7, 0.1, -0.2, 0.3, 0.7, -0.5, 0.9, 0.2],
    "b": [-0.1, 0.2, 0.5, 0.4, 0.3, -0.2, 0.3, 0.1, 0.2, -0.6, 0.8, 0.4, -0.1],
}
METRICS = ["loss_first", "loss_last", "loss_min", "loss_tail", "convergence"]
NORMS = ["gradient_norm", "weight_norm"]
MEASURED = [*METRICS, "step_converged", "step_diverged", *NORMS]
FOLDERS = ["activations", "history", "parameters", "runs", "weights"]
TOLERANCE = {"float64": {"rtol": 1e-10, "atol": 1e-12}, "float32": {"rtol": 2e-5, "atol": 1e-6}}

if config.DISABLE_JIT:  # NumPy warns of overflow and 0 / 0, compiled code does not
    pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def changed(*pairs, grids=(), text=TEXT):
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    for grid in grids:
        text += "[[grid]]\n" + "".join(f"{name} = {json.dumps(values)}\n" for name, values in grid.items())
    return text


def trained(folder, *pairs, grids=(), text=TEXT, **options):
    return fastbp.run(loads(changed(*pairs, grids=grids, text=text)), folder, **options)


def rows(results, name="runs"):
    return results.table(name).to_pylist()


def expected(values):
    """Train one run by the textbook, from the row of its parameters."""
    values = {
        "init": "a",
        "learning_rate": 0.5,
        "steps": 3,
        "loss": "mse",
        "bias": True,
        "sample": None,
    } | values
    sample, bias, rates = values["sample"], values["bias"], values["learning_rate"]
    w = np.array(WEIGHTS[values["init"]])
    rates = list(np.broadcast_to(rates, 2))
    for layer in (0, 1):
        own = values.get(f"learning_rate_{layer + 1}")
        rates[layer] = rates[layer] if own is None else own
    chosen = slice(None) if sample is None else slice(sample, sample + 1)
    return reference.train(
        layers=[2, 3, 1],
        activations=[values.get("hidden_activation") or "tanh", "identity"],
        loss=values["loss"],
        bias=bias,
        x=X[chosen],
        y=Y[chosen],
        w=w if bias else w[[*range(6), *range(9, 12)]],
        learning_rates=rates,
        steps=values["steps"],
        target=-1.0 if values.get("target_loss") is None else values["target_loss"],
    )


def by_run(results, name, column):
    """The values of a column of each run, in the order of the rows."""
    found = {}
    for row in results.table(name).select(["run", column]).to_pylist():
        found.setdefault(row["run"], []).append(row[column])
    return found


def assert_textbook(results):
    """Hold every number of every table to the textbook's."""
    tables = results.manifest["tables"]
    history = by_run(results, "history", "loss")
    weights = {row["run"]: row["weights"] for row in rows(results, "weights")}
    columns = {}
    if "parameters" in tables:
        columns = {name: by_run(results, "parameters", name) for name in ("value", "gradient")}
        columns |= {name: by_run(results, "activations", name) for name in ("net", "output", "delta")}
    for row in rows(results):
        run, right = row["run"], expected(row)
        close = TOLERANCE[row.get("dtype", "float64")]
        np.testing.assert_allclose(history[run], right.losses, **close)
        np.testing.assert_allclose(weights[run], right.w[-1], **close)
        for name in [*METRICS, *NORMS]:
            if row[name] is not None:
                np.testing.assert_allclose(row[name], right.metrics[name], err_msg=name, **close)
        if row.get("r2") is not None:
            np.testing.assert_allclose(row["r2"], right.metrics["score"], **close)
        for name in ("step_converged", "step_diverged"):
            assert (-1 if row[name] is None else row[name]) == right.metrics[name]
        if columns:
            x = X if row.get("sample") is None else X[[row["sample"]]]
            inputs = np.broadcast_to(x, (len(right.z), *x.shape))
            ends = {"value": (right.w, right.w[:0]), "gradient": (right.g, right.w[:1])}
            for name, (numbers, missing) in ends.items():
                found = columns[name][run]
                np.testing.assert_allclose(found[: numbers.size], numbers.ravel(), err_msg=name, **close)
                assert found[numbers.size :] == [None] * missing.size
            for name, numbers, first in (
                ("net", right.z, np.full(inputs.shape, np.nan)),
                ("output", right.a, inputs),
                ("delta", right.delta, np.full(inputs.shape, np.nan)),
            ):
                whole = np.full((*inputs.shape[:2], 6), np.nan)
                whole[..., :2] = first
                whole[: len(numbers), :, 2:] = numbers
                found = np.array(columns[name][run], float)
                np.testing.assert_allclose(found, whole.ravel(), err_msg=name, **close)


GRIDS = [
    {"loss": ["mse", "half_sse"], "init": ["a", "b"], "learning_rate": [0.5, 0.1]},
    {"sample": [2, 0], "learning_rate": [0.3], "dtype": ["float64", "float32"]},
    {"bias": [False, True], "hidden_activation": ["relu", "sigmoid"], "steps": [1, 4, 25]},
    {"learning_rate_1": [0.0, 0.2], "learning_rate_2": [0.4]},
    {"learning_rate": [[0.1, 0.6]], "target_loss": [0.3, 0.0001]},
]


@pytest.mark.parametrize("grid", range(len(GRIDS)))
def test_a_grid_is_trained_as_the_textbook_does(tmp_path, grid):
    results = trained(tmp_path, grids=[GRIDS[grid]])
    assert len(results.runs()) == len(list(itertools.product(*GRIDS[grid].values())))
    assert_textbook(results)


def test_several_grids_are_trained_as_the_textbook_does(tmp_path):
    results = trained(
        tmp_path, ('hidden_activation = "tanh"\n', 'activation = "tanh"\n'), grids=GRIDS[:2] + GRIDS[3:]
    )
    assert sorted(results.runs()["run"].to_pylist()) == list(range(8 + 4 + 2 + 2))
    assert_textbook(results)


def test_a_sweep_without_a_grid_is_one_run(tmp_path):
    results = trained(tmp_path)
    assert results.runs().column_names == ["run", "status", "steps", *MEASURED, "r2"]
    assert_textbook(results)


def test_an_axis_of_texts_may_be_absent_from_a_grid(tmp_path):
    # The runs of the second grid have no hidden activation of their own.
    pair = ('hidden_activation = "tanh"\noutput_activation = "identity"', 'activation = "tanh"')
    grids = [{"hidden_activation": ["relu"]}, {"learning_rate": [0.1]}]
    found = rows(trained(tmp_path, pair, grids=grids))
    assert [row["hidden_activation"] for row in found] == ["relu", None]


def test_one_sample_is_numbered_whether_it_is_swept_or_all_there_is(tmp_path):
    pairs = (re.search("x = .*", TEXT)[0], "x = [[0.1, 0.9]]"), (re.search("y = .*", TEXT)[0], "y = [[0.4]]")
    results = trained(tmp_path, *pairs, grids=[{"sample": [0]}, {"learning_rate": [0.1]}])
    assert [row["sample"] for row in rows(results)] == [0, None]
    assert set(results.activations()["sample"].to_pylist()) == {0}


def test_networks_of_several_depths_are_trained_in_one_sweep(tmp_path):
    text = changed(
        ('init = "a"\n', ""),
        ("[data]", "[init.shallow]\nW1 = [[0.2], [0.4]]\nb1 = [0.1]\n\n[data]"),
        grids=[{"layers": [[2, 1]], "init": ["shallow"]}, {"layers": [[2, 3, 1]], "init": ["b", "a"]}],
    )
    results = trained(tmp_path, text=text)
    assert [row["layers"] for row in rows(results)] == [[2, 1], [2, 3, 1], [2, 3, 1]]
    assert [len(row["weights"]) for row in rows(results, "weights")] == [3, 13, 13]
    right = reference.train([2, 1], ["identity"], "mse", True, X, Y, [0.2, 0.4, 0.1], [0.5], 3, -1.0)
    np.testing.assert_allclose(rows(results, "weights")[0]["weights"], right.w[-1], rtol=1e-12)
    np.testing.assert_allclose(
        rows(results, "weights")[1]["weights"], expected({"init": "b"}).w[-1], rtol=1e-12
    )


NAME = pa.dictionary(pa.int32(), pa.string())
TYPES = {
    "history": {"run": pa.int64(), "step": pa.int64(), "loss": pa.float64()},
    "parameters": {
        "run": pa.int64(),
        "step": pa.int64(),
        "layer": pa.int32(),
        "name": pa.string(),
        "row": pa.int32(),
        "column": pa.int32(),
        "value": pa.float64(),
        "gradient": pa.float64(),
    },
    "activations": {
        "run": pa.int64(),
        "step": pa.int64(),
        "sample": pa.int64(),
        "layer": pa.int32(),
        "unit": pa.int32(),
        "net": pa.float64(),
        "output": pa.float64(),
        "delta": pa.float64(),
    },
    "weights": {"run": pa.int64(), "weights": pa.list_(pa.float64())},
    "runs": {
        "run": pa.int64(),
        "layers": pa.list_(pa.int64()),
        "bias": pa.bool_(),
        "init": pa.string(),
        "sample": pa.int64(),
        "loss": pa.string(),
        "learning_rate": pa.float64(),
        "learning_rate_2": pa.float64(),
        "dtype": pa.string(),
        "target_loss": pa.float64(),
        "status": pa.string(),
        "steps": pa.int64(),
        **dict.fromkeys(METRICS, pa.float64()),
        "step_converged": pa.int64(),
        "step_diverged": pa.int64(),
        **dict.fromkeys(NORMS, pa.float64()),
    },
}


def plain(kind):
    """A type as a person thinks of it: texts are texts, dictionary or not."""
    if pa.types.is_dictionary(kind):
        return kind.value_type
    return pa.list_(kind.value_type) if pa.types.is_list(kind) else kind


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """A sweep with an axis of each kind, in several shards."""
    grid = {
        "layers": [[2, 3, 1]],
        "bias": [True, False],
        "init": ["a", "b"],
        "sample": [1, 3],
        "loss": ["mse"],
        "learning_rate": [0.5],
        "learning_rate_2": [0.1, 0.2],
        "dtype": ["float64", "float32"],
        "target_loss": [0.1],
    }
    return trained(tmp_path_factory.mktemp("everything") / "results", grids=[grid])


@pytest.mark.parametrize("name", TYPES)
def test_a_table_has_its_columns_and_types(everything, name):
    schema = everything.table(name).schema
    assert {field.name: plain(field.type) for field in schema} == TYPES[name]
    assert schema.names == list(TYPES[name])  # in this order


@pytest.mark.parametrize("name", TYPES)
def test_all_parts_of_a_table_have_one_schema(everything, name):
    parts = sorted((everything.folder / name).iterdir())
    assert [part.name for part in parts] == [f"part-{k:05d}.parquet" for k in range(4)]
    assert len({pq.read_schema(part).remove_metadata() for part in parts}) == 1


def test_columns_of_other_kinds_have_their_types(tmp_path):
    grids = [{"learning_rate": [0.1, [0.1, 0.2]], "steps": [1, 2]}]
    results = trained(tmp_path, ("trace = true", "trace = false"), grids=grids)
    schema = results.runs().schema
    assert plain(schema.field("learning_rate").type) == pa.list_(pa.float64())
    assert results.runs()["learning_rate"].to_pylist() == [[0.1], [0.1, 0.2], [0.1], [0.1, 0.2]]
    assert schema.names.count("steps") == 1
    assert results.runs()["steps"].to_pylist() == [1, 1, 2, 2]


def test_every_table_has_a_row_for_each_place_and_no_other(everything):
    runs = rows(everything)
    assert Counter((row["run"], row["step"]) for row in rows(everything, "history")) == Counter(
        itertools.product(range(32), range(4))
    )
    places = [
        ("W", layer, i, j) for layer, n, m in ((1, 2, 3), (2, 3, 1)) for i in range(n) for j in range(m)
    ]
    biases = [("b", layer, None, j) for layer, m in ((1, 3), (2, 1)) for j in range(m)]
    found = Counter(
        (row["run"], row["step"], row["name"], row["layer"], row["row"], row["column"])
        for row in rows(everything, "parameters")
    )
    assert found == Counter(
        (row["run"], step, *place)
        for row in runs
        for step in range(4)
        for place in places + biases * row["bias"]
    )
    units = [(layer, unit) for layer, n in enumerate([2, 3, 1]) for unit in range(n)]
    found = Counter(
        (row["run"], row["step"], row["sample"], row["layer"], row["unit"])
        for row in rows(everything, "activations")
    )
    assert found == Counter(
        (row["run"], step, row["sample"], *unit) for row in runs for step in range(4) for unit in units
    )


def test_nothing_but_what_has_no_value_is_null(everything):
    for row in rows(everything, "parameters"):
        assert (row["row"] is None) == (row["name"] == "b")
        assert (row["gradient"] is None) == (row["step"] == 3)
    for row in rows(everything, "activations"):
        assert (row["net"] is None) == (row["layer"] == 0)
        assert (row["delta"] is None) == (row["layer"] == 0 or row["step"] == 3)
    nullable = {"row", "gradient", "net", "delta", "step_converged", "step_diverged"}
    for name in TYPES:
        table = everything.table(name)
        for column in set(table.column_names) - nullable:
            assert table[column].null_count == 0, column


def test_the_last_parameters_are_the_weights(everything):
    last = {}
    for row in rows(everything, "parameters"):
        if row["step"] == 3:
            last.setdefault(row["run"], []).append(row["value"])
    assert last == {row["run"]: row["weights"] for row in rows(everything, "weights")}


def test_the_history_holds_what_the_runs_sum_up(everything):
    history = by_run(everything, "history", "loss")
    for row in rows(everything):
        losses = history[row["run"]]
        assert (row["loss_first"], row["loss_last"]) == (losses[0], losses[-1])
        assert row["loss_min"] == min(losses)
        assert row["loss_tail"] == pytest.approx(np.mean(losses[:-1]), rel=1e-6)


def test_weight_updates_are_learning_rate_times_gradient(everything):
    rates = {row["run"]: (row["learning_rate"], row["learning_rate_2"]) for row in rows(everything)}
    double = {row["run"] for row in rows(everything) if row["dtype"] == "float64"}
    value, gradient = {}, {}
    for row in rows(everything, "parameters"):
        place = (row["run"], row["layer"], row["name"], row["row"], row["column"])
        value[place, row["step"]], gradient[place, row["step"]] = row["value"], row["gradient"]
    for (place, step), g in gradient.items():
        if g is not None and place[0] in double:
            moved = value[place, step] - rates[place[0]][place[1] - 1] * g
            assert value[place, step + 1] == pytest.approx(moved, rel=1e-12, abs=1e-15)


def test_samples_are_numbered_as_in_the_data(tmp_path):
    results = trained(tmp_path, grids=[{"sample": [3, 1]}, {"init": ["b"]}])
    found = {}
    for row in rows(results, "activations"):
        if row["layer"] == 0:
            found.setdefault((row["run"], row["sample"]), {})[row["unit"]] = row["output"]
    right = {(0, 3), (1, 1), (2, 0), (2, 1), (2, 2), (2, 3)}
    assert {key: list(units.values()) for key, units in found.items()} == {
        key: X[key[1]].tolist() for key in right
    }
    assert [row["sample"] for row in rows(results)] == [3, 1, None]


def test_a_fixed_sample_is_numbered_as_in_the_data(tmp_path):
    results = trained(tmp_path, ("y = [[0.4]", "sample = 2\ny = [[0.4]"))
    assert set(results.activations()["sample"].to_pylist()) == {2}
    right = expected({"sample": 2})
    np.testing.assert_allclose(results.history()["loss"], right.losses, rtol=1e-12)


def test_a_list_of_learning_rates_means_the_axes_of_the_layers(tmp_path):
    pair = ("learning_rate = 0.5", "learning_rate = [0.25, 0.75]")
    listed = trained(tmp_path / "list", pair)
    axes = trained(tmp_path / "axes", grids=[{"learning_rate_1": [0.25], "learning_rate_2": [0.75]}])
    for name in FOLDERS:
        columns = listed.table(name).column_names
        assert listed.table(name).equals(axes.table(name).select(columns))


def test_learning_rate_0_of_a_layer_wins_over_the_common_one(tmp_path):
    results = trained(tmp_path, grids=[{"learning_rate_1": [0.0]}])
    weights = rows(results, "weights")[0]["weights"]
    assert weights[:9] == WEIGHTS["a"][:9]
    assert all(new != old for new, old in zip(weights[9:], WEIGHTS["a"][9:], strict=True))


def test_no_steps_only_evaluate(tmp_path):
    results = trained(tmp_path, ("steps = 3", "steps = 0"), ("trace = true", "trace = false"))
    (row,) = rows(results)
    loss = np.mean(
        (
            np.tanh(X @ [[0.5, -0.4, 0.3], [0.3, 0.6, -0.7]] + [0.1, -0.2, 0.3]) @ [0.7, -0.5, 0.9]
            + 0.2
            - Y[:, 0]
        )
        ** 2
    )
    for name in ("loss_first", "loss_last", "loss_min"):
        assert row[name] == pytest.approx(loss, rel=1e-12)
    assert (row["status"], row["steps"]) == ("ok", 0)
    assert [row[name] for name in ("loss_tail", "convergence", "gradient_norm")] == [None] * 3
    assert rows(results, "history") == [{"run": 0, "step": 0, "loss": row["loss_first"]}]
    assert rows(results, "weights")[0]["weights"] == WEIGHTS["a"]


def test_no_steps_have_a_trace_of_the_initial_network(tmp_path):
    results = trained(tmp_path, ("steps = 3", "steps = 0"), grids=[{"init": ["a", "b"]}])
    assert by_run(results, "parameters", "value") == {0: WEIGHTS["a"], 1: WEIGHTS["b"]}
    assert results.parameters()["gradient"].null_count == 26
    assert results.activations()["delta"].null_count == len(results.activations()) == 2 * 4 * 6
    assert set(results.activations()["step"].to_pylist()) == {0}


def test_a_run_that_diverges_is_data(tmp_path):
    grids = [{"learning_rate": [1e200, 0.01, 1e5]}]
    results = trained(tmp_path, ('"tanh"', '"identity"'), ("steps = 3", "steps = 40"), grids=grids)
    at_once, fine, later = rows(results)
    assert [row["status"] for row in (at_once, fine, later)] == ["diverged", "ok", "diverged"]
    history = by_run(results, "history", "loss")
    for row in (at_once, later):
        losses = history[row["run"]]
        first = next(step for step, loss in enumerate(losses) if not np.isfinite(loss))
        assert row["step_diverged"] == first
        assert not np.isfinite(losses[first:]).any()
        assert row["loss_last"] is not None
        assert not np.isfinite(row["loss_last"])
        assert row["loss_min"] == min(losses[:first])
        assert not np.isfinite(row["loss_tail"])
        assert not np.isfinite(row["weight_norm"])
        assert np.isfinite(row["convergence"])  # its ratios are cut off
        assert row["steps"] == 40
    assert at_once["step_diverged"] == 1 < later["step_diverged"] < 40
    assert fine["step_diverged"] is None
    assert fine["loss_last"] < fine["loss_first"]
    assert results.manifest["complete"]


def test_a_neighbour_that_diverges_does_no_harm(tmp_path):
    alone = trained(tmp_path / "alone", grids=[{"learning_rate": [0.1]}])
    beside = trained(tmp_path / "beside", grids=[{"learning_rate": [1e300, 0.1, 1e160]}])
    columns = ["loss_first", "loss_last", "convergence", "weight_norm", "status"]
    assert beside.runs().select(columns).to_pylist()[1] == alone.runs().select(columns).to_pylist()[0]
    assert by_run(beside, "parameters", "value")[1] == by_run(alone, "parameters", "value")[0]


def test_a_run_that_reaches_the_target_has_converged(tmp_path):
    grids = [{"target_loss": [100.0, 0.2, 1e-9, -1.0], "learning_rate": [0.1]}]
    results = trained(tmp_path, ("steps = 3", "steps = 30"), grids=grids)
    losses = by_run(results, "history", "loss")[0]
    assert losses[0] > 0.2 > losses[-1]  # or the test shows nothing
    step = next(step for step, loss in enumerate(losses) if loss <= 0.2)
    assert [row["status"] for row in rows(results)] == ["converged", "converged", "ok", "ok"]
    assert [row["step_converged"] for row in rows(results)] == [0, step, None, None]
    assert [row["steps"] for row in rows(results)] == [30] * 4
    assert len({row["loss_last"] for row in rows(results)}) == 1  # it trains on all the same


def test_a_run_that_diverges_after_it_has_converged_has_diverged(tmp_path):
    grids = [{"target_loss": [100.0], "learning_rate": [1e200]}]
    (row,) = rows(trained(tmp_path, ('"tanh"', '"identity"'), grids=grids))
    assert (row["step_converged"], row["step_diverged"], row["status"]) == (0, 1, "diverged")


def test_the_target_may_be_met_by_the_final_weights_alone(tmp_path):
    first = trained(tmp_path / "first", grids=[{"learning_rate": [0.1]}])
    losses = by_run(first, "history", "loss")[0]
    assert losses[-1] < min(losses[:-1])
    again = trained(tmp_path / "again", grids=[{"target_loss": [losses[-1]], "learning_rate": [0.1]}])
    assert [row["step_converged"] for row in rows(again)] == [3]


# The same to the bit.

BITS = {"init": ["a", "b"], "sample": [0, 3, 1], "dtype": ["float64", "float32"], "learning_rate": None}
RATES = [0.01 * 1.3**k for k in range(6 if config.DISABLE_JIT else 15)]


def bits(results):
    """Everything that is known of a run, by its parameters, as bytes."""
    numbers = {}
    for name, columns in (
        ("history", ["loss"]),
        ("parameters", ["value", "gradient"]),
        ("activations", ["net", "output", "delta"]),
        ("runs", MEASURED),
    ):
        table = results.table(name)
        ids = table["run"].to_numpy()
        for column in columns:
            values = table[column].to_numpy()  # float64, null as NaN
            for run in np.unique(ids):
                numbers.setdefault(run, []).append(values[ids == run].tobytes())
    keys = {row["run"]: tuple(row[axis] for axis in BITS) for row in rows(results)}
    return {keys[run]: numbers[run] for run in keys}


def sweep_in_order(axes, grids, backwards):
    text = changed(("trace = true", "trace = true"))
    parts = [
        BITS | {"learning_rate": RATES},
        {"init": ["b", "a"], "learning_rate": RATES[:4], "dtype": ["float64"]},
    ]
    for grid in [parts[k] for k in grids]:
        values = {name: grid[name][::-1] if backwards else grid[name] for name in axes if name in grid}
        text = changed(grids=[values], text=text)
    return loads(text)


@pytest.fixture(scope="module")
def plain_order(tmp_path_factory):
    folder = tmp_path_factory.mktemp("order") / "results"
    return bits(fastbp.run(sweep_in_order(list(BITS), [0, 1], False), folder, threads=1))


@settings(max_examples=3 if config.DISABLE_JIT else 12, deadline=None)
@given(
    axes=st.permutations(list(BITS)),
    grids=st.permutations([0, 1]),
    backwards=st.booleans(),
    shard_runs=st.sampled_from([32, 64, 2**17]),
    threads=st.integers(1, 3),
)
def test_a_run_is_the_same_to_the_bit_wherever_it_stands(
    plain_order, axes, grids, backwards, shard_runs, threads
):
    sweep = sweep_in_order(axes, grids, backwards)
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(plan_module, "SHARD_RUNS", shard_runs)
        found = bits(fastbp.run(sweep, folder, threads=threads))
    assert found == plain_order


def test_small_shards_are_parts_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(plan_module, "SHARD_RUNS", 32)
    results = trained(tmp_path, grids=[{"learning_rate": [k / 70 for k in range(70)]}])
    for name in FOLDERS:
        parts = sorted((tmp_path / name).iterdir())
        counts = [len(set(pq.read_table(part)["run"].to_pylist())) for part in parts]
        assert counts == [32, 32, 6]
        runs = results.table(name)["run"].to_pylist()
        assert runs == sorted(runs)
    assert results.runs()["learning_rate"].to_pylist() == [k / 70 for k in range(70)]
    assert results.manifest["shards"] == [{"shard": k, "runs": n} for k, n in enumerate([32, 32, 6])]


# The folder.


def test_the_folder_holds_what_was_recorded_and_nothing_else(tmp_path):
    for name, kept in (
        ("history", ["history"]),
        ("trace", ["parameters", "activations"]),
        ("weights", ["weights"]),
    ):
        text = TEXT[: TEXT.index("[record]")] + f"[record]\n{name} = true\n"
        results = trained(tmp_path / name, text=text)
        assert sorted(results.manifest["tables"]) == sorted(["runs", *kept])
        found = sorted(path.name for path in results.folder.iterdir())
        assert found == sorted([".lock", "manifest.json", "sweep.toml", "runs", *kept])
        missing = next(table for table in FOLDERS if table not in ["runs", *kept])
        with pytest.raises(fastbp.StoreError, match=f"no table '{missing}'; it has runs"):
            results.table(missing)


def test_the_folder_is_named_after_the_sweep(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = fastbp.run(loads(TEXT))
    assert results.folder == Path("results") / "trained"
    assert (tmp_path / "results" / "trained" / "manifest.json").is_file()
    assert repr(results) == f"Results({str(results.folder)!r}: 1 runs)"


def test_results_are_opened_again_from_the_folder(everything):
    again = fastbp.open_results(str(everything.folder))
    assert again.manifest == everything.manifest
    for name in FOLDERS:
        assert again.table(name).equals(everything.table(name))
        assert getattr(again, name)().equals(everything.table(name))


def test_the_sweep_in_the_folder_is_the_one_that_ran(tmp_path):
    sweep = loads(TEXT, overrides=["grid.learning_rate=[0.5, 0.25]"])
    fastbp.run(sweep, tmp_path)
    assert fastbp.load_sweep(tmp_path / "sweep.toml") == sweep


def test_progress_counts_all_runs(tmp_path):
    told = []
    trained(tmp_path, grids=[{"dtype": ["float32", "float64"], "learning_rate": RATES}], advance=told.append)
    assert sum(told) == pytest.approx(2 * len(RATES))
    assert all(runs >= 0 for runs in told)


class PlannedError(Exception):
    pass


@pytest.mark.parametrize("place", ["prepare", "tables"])
def test_an_error_in_a_worker_reaches_the_caller(tmp_path, monkeypatch, place):
    monkeypatch.setattr(plan_module, "SHARD_RUNS", 32)
    works, calls = getattr(engine, place), itertools.count()

    def fails(*arguments, **options):
        if next(calls) == 2:
            raise PlannedError
        return works(*arguments, **options)

    grids = [{"learning_rate": [k / 200 for k in range(200)], "steps": [1]}]
    monkeypatch.setattr(engine, place, fails)
    with pytest.raises(PlannedError):
        trained(tmp_path, grids=grids)
    results = fastbp.open_results(tmp_path)
    assert results.manifest["complete"] is False
    assert "not complete" in repr(results)
    assert next(calls) < 7  # the shards that waited are not begun
    for folder in filter(Path.is_dir, tmp_path.iterdir()):
        assert all(pq.read_table(part).num_rows for part in folder.iterdir())

    monkeypatch.setattr(engine, place, works)
    again = trained(tmp_path, grids=grids)  # the folder is not in the way
    assert again.manifest["complete"] is True
    assert len(again.runs()) == 200


@pytest.mark.parametrize("error", [PlannedError, KeyboardInterrupt])
def test_an_error_while_telling_the_progress_reaches_the_caller(tmp_path, error):
    def advance(runs):
        raise error

    with pytest.raises(error):
        trained(tmp_path, advance=advance)
    assert fastbp.open_results(tmp_path).manifest["complete"] is False


def test_an_error_in_one_shard_cancels_the_others():
    begun, cancelled, outcomes = threading.Event(), threading.Event(), []

    def work(shard):
        if shard == 1:
            begun.wait(30)
            raise PlannedError
        begun.set()
        outcomes.append(cancelled.wait(30))

    with pytest.raises(PlannedError):
        list(executors.local(work, iter([0, 1, 2, 3]), cancelled.set))
    assert outcomes == [True]  # shard 0 was told, 2 and 3 were not begun


def test_shards_are_given_as_they_are_done():
    done = []
    given_back = list(executors.local(done.append, iter(range(20)), lambda: pytest.fail("cancelled")))
    assert sorted(given_back) == sorted(done) == list(range(20))


# Other programs.


def comparable(values):
    return [None if value is None or value != value else value for value in values]


def test_a_table_becomes_a_frame(everything):
    for name in FOLDERS:
        table, pandas, polars = everything.table(name), everything.to_pandas(name), everything.to_polars(name)
        assert isinstance(pandas, pd.DataFrame)
        assert isinstance(polars, pl.DataFrame)
        assert list(pandas.columns) == polars.columns == table.column_names
        assert len(pandas) == polars.height == table.num_rows
        column = table.column_names[-1]
        if name != "weights":
            assert comparable(pandas[column]) == comparable(polars[column]) == table[column].to_pylist()
    assert everything.to_pandas().equals(everything.to_pandas("runs"))
    assert everything.to_polars()["init"].to_list() == everything.runs()["init"].to_pylist()
    assert everything.to_pandas()["status"].tolist() == everything.runs()["status"].to_pylist()


@pytest.mark.parametrize("name", FOLDERS)
def test_other_programs_read_the_parts(everything, name):
    folder = everything.folder / name
    right = everything.table(name)
    runs = sorted(right["run"].to_pylist())
    frames = {
        "duckdb": duckdb.sql(f"select run from '{folder}/*.parquet'").fetchall(),
        "polars glob": pl.read_parquet(f"{folder}/*.parquet")["run"].to_list(),
        "polars folder": pl.scan_parquet(folder).collect()["run"].to_list(),
        "pandas": pd.read_parquet(folder)["run"].tolist(),
        "pyarrow": ds.dataset(folder).to_table()["run"].to_pylist(),
    }
    for program, found in frames.items():
        assert sorted(run[0] if isinstance(run, tuple) else run for run in found) == runs, program


def test_sql_joins_the_tables(everything):
    query = f"""
        select runs.run, init, status, sum(gradient * gradient) as square
        from '{everything.folder}/runs/*.parquet' as runs
        join '{everything.folder}/parameters/*.parquet' as parameters on runs.run = parameters.run
        where step = 2 group by all order by runs.run
    """
    found = duckdb.sql(query).fetchall()
    right = sorted((row["run"], row["init"], row["status"], row["gradient_norm"]) for row in rows(everything))
    assert [line[:3] for line in found] == [line[:3] for line in right]
    np.testing.assert_allclose([np.sqrt(line[3]) for line in found], [line[3] for line in right], rtol=1e-5)
