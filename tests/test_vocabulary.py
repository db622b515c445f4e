"""The vocabulary end to end: sweeps are run, and every row is held against the textbook."""

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import reference
from numba.core import config
from runs import batches_of
from test_initializers import expected_of
from typer.testing import CliRunner

import fastbp
from fastbp import plan as plan_module
from fastbp.cli import app
from fastbp.kernels.activations import ACTIVATIONS
from fastbp.kernels.initializers import INITIALIZERS
from fastbp.kernels.losses import LOSSES
from fastbp.kernels.optimizers import OPTIMIZERS
from fastbp.kernels.orders import ORDERS
from fastbp.kernels.schedules import SCHEDULES
from fastbp.plan import Plan
from fastbp.sweep import DATA_PARAMETERS, PARAMETERS, loads

if config.DISABLE_JIT:  # NumPy warns of overflow and 0 / 0, compiled code does not
    pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

# Targets that every loss takes: a 1 among zeros.
X = [[0.1, 0.9], [0.8, -0.4], [-0.7, 0.6], [0.3, 0.25], [-0.2, -0.9], [1.1, 0.7], [-1.2, 0.2]]
Y = [[1, 0], [0, 1], [0, 1], [1, 0], [1, 0], [0, 1], [1, 0]]
GIVEN = {
    "W1": [[0.5, -0.4, 0.3], [0.3, 0.6, -0.7]],
    "b1": [0.1, -0.2, 0.3],
    "W2": [[0.7, -0.1], [-0.5, 0.4], [0.9, 0.2]],
    "b2": [0.2, -0.3],
}
FLAT = np.concatenate([np.ravel(values) for values in GIVEN.values()])
TOLERANCE = {"float64": {"rtol": 1e-9, "atol": 1e-11}, "float32": {"rtol": 2e-4, "atol": 2e-5}}
# What the README says of what is not given, where it is not the same for all that have it.
DEFAULTS = {
    "lion": {"beta_2": 0.99},
    "step": {"decay_rate": 0.1},
    "cosine": {"final_factor": 0.0},
    "linear": {"final_factor": 0.0},
}


def text_of(network=(), data=(), training=(), record=(), grids=(), given=False):
    """Write a sweep; each argument is a mapping of keys to values, `grids` a list of such."""
    tables = {
        "network": {"layers": [2, 3, 2], "activation": "tanh"} | dict(network),
        **({"init.a": GIVEN} if given else {}),
        "data": ({} if "dataset" in dict(data) else {"x": X, "y": Y}) | dict(data),
        "training": {"learning_rate": 0.1, "steps": 6} | dict(training),
        "record": {"history": True, "weights": True} | dict(record),
    }
    if "epochs" in tables["training"]:
        del tables["training"]["steps"]
    lines = ['name = "vocabulary"']
    for header, values in [
        *((f"[{name}]", table) for name, table in tables.items()),
        *(("[[grid]]", g) for g in grids),
    ]:
        # A JSON value of these kinds is a TOML value.
        lines += [
            header,
            *(f"{name} = {json.dumps(value)}" for name, value in values.items() if value is not None),
        ]
    return "\n".join(lines) + "\n"


def initial(values, layers):
    """The initial parameters, as the documentation has them."""
    if values["init"] == "a":
        weights = np.concatenate([np.full(np.size(part), name[0] == "W") for name, part in GIVEN.items()])
        return np.where(weights, values["init_scale"] * FLAT + values["init_offset"], FLAT)
    return expected_of(
        layers,
        values["bias"],
        values["init"],
        values["bias_init"],
        values["seed"] or 0,
        values["init_scale"],
        values["init_offset"],
        1.0 if values["bias_scale"] is None else values["bias_scale"],
    )


def textbook(plan, run):
    """Train a run of a plan by the textbook, from the values of its parameters."""
    values = plan.parameters(run)
    layers = values["layers"]
    n_layers = len(layers) - 1
    data = plan.data.arrays({name: values[name] for name in DATA_PARAMETERS})
    n, size = len(data.x), values["batch_size"]
    n_batches = 1 if size is None else -(-n // size)
    steps = values["steps"] if values["epochs"] is None else values["epochs"] * n_batches
    own = {name: value for name, value in values.items() if value is not None}
    for kind in (values["optimizer"], values["schedule"]):
        own = DEFAULTS.get(kind, {}) | own
    own.setdefault("decay_steps", max(steps - own.get("warmup_steps", 0), 1))
    own.setdefault("min_delta", 0.0)
    common = values["activation"]
    activations = list(common) if isinstance(common, tuple) else [common] * n_layers
    if values["hidden_activation"]:
        activations[:-1] = [values["hidden_activation"]] * (n_layers - 1)
    activations[-1] = values["output_activation"] or activations[-1]
    batches = (
        size
        and (size < n or values["batch_order"] == "with_replacement")
        and batches_of(
            SimpleNamespace(
                batch_size=size,
                n_samples=n,
                steps=steps,
                batch_order=values["batch_order"],
                batch_seed=values["batch_seed"] or 0,
            )
        )
    )
    flags = {"target": "stop_at_target", "divergence": "stop_on_divergence", "patience": "patience"}
    validates = len(data.x_validation) > 0
    rates = np.array(np.broadcast_to(values["learning_rate"], n_layers), float)
    scales = {"standard": 1.0, "ntk": 1 / np.sqrt(layers[:-1])}.get(values["scale"], values["scale"])
    scales = np.array(np.broadcast_to(scales, n_layers), float)
    for layer in range(n_layers):
        rates[layer] = values.get(f"learning_rate_{layer + 1}", rates[layer])
        scales[layer] = values.get(f"scale_{layer + 1}", scales[layer])
    stops = [stop for stop, name in flags.items() if values[name] and (stop != "patience" or validates)]
    return reference.train(
        layers,
        activations,
        values["loss"],
        values["bias"],
        data.x,
        data.y,
        initial(values, layers).astype(values["dtype"]),
        rates,
        steps,
        -np.inf if values["target_loss"] is None else values["target_loss"],
        scales,
        optimizer=values["optimizer"],
        schedule=values["schedule"],
        own=own,
        batches=batches if isinstance(batches, list) else None,
        validation=(data.x_validation, data.y_validation) if validates else None,
        frozen=[f"{name[0]}{k}" for name in values["freeze"] for k in ([name[1:]] if name[1:] else "1234")],
        stops=stops,
        validate_every=values["validate_every"] or n_batches,
    )


def run_of(text, folder, **options):
    """Run a sweep; give its plan, its results and the rows of its runs, by their id."""
    sweep = loads(text)
    results = fastbp.run(sweep, folder, **options)
    rows = {row["run"]: row for row in results.runs().to_pylist()}
    plan = Plan(sweep)
    assert len(rows) == len(results.runs()) == plan.n_runs
    return plan, results, rows


def score_column(loss):
    return "r2" if LOSSES[loss].score == "r2" else "accuracy"


def assert_close(found, expected, dtype, what):
    if not np.isfinite(expected):
        expected = None if what in SCORES and not np.isfinite(expected) else expected
    if expected is None or found is None:
        assert found is expected, what
    else:
        np.testing.assert_allclose(found, expected, err_msg=what, **TOLERANCE[dtype])


SCORES = ("r2", "accuracy", "validation_r2", "validation_accuracy")
NUMBERS = ("loss_first", "loss_last", "loss_min", "gradient_norm", "weight_norm")


def assert_textbook(plan, results, rows):
    """Hold every row of the runs, of the weights and of the losses in the history to the textbook's."""
    weights = {row["run"]: row["weights"] for row in results.table("weights").to_pylist()}
    history = {}
    for row in results.history().to_pylist():
        history.setdefault(row["run"], {})[row["step"]] = row["loss"]
    for run, row in rows.items():
        values, right = plan.parameters(run), textbook(plan, run)
        dtype = values["dtype"]
        assert row["steps"] == right.steps
        for name in NUMBERS if right.steps else ("loss_first", "loss_last"):
            assert_close(row[name], right.metrics[name], dtype, name)
        if right.steps:
            assert_close(row["loss_tail"], right.metrics["loss_tail"], dtype, "loss_tail")
            if abs(right.tail_ratio - 1) > 1e-3:  # else rounding decides which of two measures it is
                assert_close(row["convergence"], right.metrics["convergence"], dtype, "convergence")
        for name in ("step_converged", "step_diverged"):
            assert (-1 if row[name] is None else row[name]) == right.metrics[name]
        diverged, converged = row["step_diverged"] is not None, row["step_converged"] is not None
        steps = Plan.parameters(plan, run)["steps"]
        stopped = steps is not None and right.steps < steps
        expected = "diverged" if diverged else "converged" if converged else "stopped" if stopped else "ok"
        assert row["status"] == expected
        column = score_column(values["loss"])
        for name in SCORES:
            validation = name.startswith("validation")
            own = name.removeprefix("validation_") == column
            measured = right.metrics.get("validation_score" if validation else "score") if own else None
            if name in row:
                assert_close(row[name], np.nan if measured is None else measured, dtype, name)
            else:
                assert measured is None
        if "validation_loss" in row:
            measured = right.metrics.get("validation_loss")
            assert (row["validation_loss"] is None) == (measured is None)
            if measured is not None:
                assert_close(row["validation_loss"], measured, dtype, "validation_loss")
        np.testing.assert_allclose(weights[run], right.w[-1], **TOLERANCE[dtype])
        assert max(history[run]) == right.steps
        assert set(history[run]) <= set(range(right.steps + 1))
        for step, loss in history[run].items():
            assert_close(loss, right.losses[step], dtype, f"history {step}")


def trained(folder, **tables):
    plan, results, rows = run_of(text_of(**tables), folder)
    assert_textbook(plan, results, rows)
    return plan, results, rows


def column(rows, name):
    return [rows[run][name] for run in sorted(rows)]


# Optimizers, schedules, initial weights


def test_optimizers_schedules_and_initial_weights(tmp_path):
    training = {"decay_steps": 2.5, "decay_rate": 0.6}
    grid = {
        "optimizer": list(OPTIMIZERS),
        "schedule": list(SCHEDULES),
        "init": ["a", "he_normal", "orthogonal"],
    }
    _, _, rows = trained(tmp_path, training=training, grids=[grid], given=True)
    assert len(rows) == 9 * 6 * 3
    assert len(set(column(rows, "loss_last"))) == len(rows)


def test_hyperparameters_of_optimizers(tmp_path):
    own = {
        "momentum": [0.5, 0.95],
        "rho": [0.8, 0.99],
        "beta_1": [0.8, 0.9],
        "beta_2": [0.95, 0.999],
        "epsilon": [1e-8, 0.01],
        "momentum_decay": [0.004, 0.2],
    }
    _, _, rows = trained(tmp_path, grids=[{"optimizer": list(OPTIMIZERS), **own}])
    for name, entry in OPTIMIZERS.items():
        mine = [row for row in rows.values() if row["optimizer"] == name]
        had = set(entry.defaults) & set(own)
        assert len(mine) == 2 ** len(had)
        for parameter in own:
            found = {row[parameter] for row in mine}
            assert found == (set(own[parameter]) if parameter in had else {None})


def test_warm_up_decay_and_clipping(tmp_path):
    grid = {
        "optimizer": ["sgd", "adam", "adamw", "lion"],
        "schedule": ["constant", "cosine", "linear"],
        "warmup_steps": [0, 3],
        "weight_decay": [0.0, 0.1],
        "clip_norm": [0.05, 10.0],
    }
    trained(tmp_path, network={"init": "normal"}, training={"final_factor": 0.2}, grids=[grid])


@pytest.mark.parametrize(
    ("tables", "n_runs"),
    [
        ({"network": {"bias": False, "init": "normal"}}, 1),
        ({"grids": [{"scale": ["ntk", 0.5, [0.5, 0.25], "standard"]}, {"scale_2": [0.3]}]}, 5),
        (
            {
                "grids": [
                    {"learning_rate_2": [0.3], "optimizer": ["adam", "sgd"]},
                    {"learning_rate": [[0.1, 0.2]]},
                ]
            },
            3,
        ),
        ({"grids": [{"zip": ["seed", "learning_rate"], "seed": [1, 2], "learning_rate": [0.1, 0.2]}]}, 2),
        ({"grids": [{"init": ["normal", "a"], "seed": [0, 2**53 + 1, 2**63 - 1]}], "given": True}, 4),
        ({"grids": [{"steps": [0, 1, 8], "schedule": ["cosine"], "warmup_steps": [1]}]}, 3),
        ({"grids": [{"weight_decay": [0.1]}, {"optimizer": ["adamw", "lion"]}]}, 3),
        ({"grids": [{"optimizer": ["adam", "adagrad"], "epsilon": [0.1]}, {"optimizer": ["rmsprop"]}]}, 3),
        ({"grids": [{"schedule": ["cosine", "constant"], "decay_steps": [2]}, {"schedule": ["cosine"]}]}, 3),
        ({"training": {"target_loss": 1e9, "stop_at_target": True}}, 1),
        ({"training": {"target_loss": 1e9, "stop_at_target": True, "batch_size": 2}}, 1),
        ({"data": {"validation": 2}, "grids": [{"patience": [1, 2]}, {"learning_rate": [0.5]}]}, 3),
    ],
)
def test_combinations(tmp_path, tables, n_runs):
    _, _, rows = trained(tmp_path, **tables)
    assert len(rows) == n_runs


def test_schedules_begin_after_the_warm_up_and_reach_the_end(tmp_path):
    grid = {"schedule": ["cosine", "linear"], "warmup_steps": [2, 6, 9], "final_factor": [0.0, 0.5]}
    trained(tmp_path, grids=[grid, {"schedule": ["step"], "decay_steps": [1, 4]}])


# Initial weights


def test_given_weights_beside_drawn_ones_are_not_multiplied_by_the_seeds(tmp_path):
    _, _, rows = trained(
        tmp_path, grids=[{"init": ["glorot_uniform", "a", "zeros"], "repeats": 3}], given=True
    )
    found = [(row["init"], row["seed"]) for row in rows.values()]
    assert sorted(found, key=str) == sorted(
        [*(("glorot_uniform", seed) for seed in range(3)), ("a", None), ("zeros", None)], key=str
    )


def test_what_draws_biases_needs_a_seed_even_where_the_weights_do_not(tmp_path):
    grid = {"init": ["zeros", "normal"], "bias_init": ["zeros", "uniform"], "seed": [0, 1]}
    _, _, rows = trained(tmp_path, grids=[grid])
    found = {(row["init"], row["bias_init"], row["seed"]) for row in rows.values()}
    assert found == set(itertools.product(*grid.values())) - {
        ("zeros", "zeros", 0),
        ("zeros", "zeros", 1),
    } | {("zeros", "zeros", None)}


def test_scales_and_offsets_of_initial_weights(tmp_path):
    moved = {"init_scale": [1.0, -0.5], "init_offset": [0.0, 0.25]}
    biases = [name for name, rule in INITIALIZERS.items() if rule.for_biases]
    grids = [
        {"init": ["a", "normal"], **moved},
        {"init": list(INITIALIZERS), "bias_init": ["normal"], "bias_scale": [0.5], **moved},
        {"init": ["uniform"], "bias_init": biases, "bias_scale": [1.0, 0.1], "seed": [5]},
    ]
    network, nothing = {"bias_init": None}, {"steps": 0}
    plan, results, rows = run_of(text_of(network, training=nothing, grids=grids, given=True), tmp_path)
    weights = {row["run"]: row["weights"] for row in results.table("weights").to_pylist()}
    for run in rows:
        expected = initial(plan.parameters(run), (2, 3, 2))
        np.testing.assert_allclose(weights[run], expected, rtol=1e-12, atol=1e-13)
    assert len(rows) == 8 + len(INITIALIZERS) * 4 + 2 * (len(biases) - 1) + 1


def test_frozen_parameters_keep_their_values(tmp_path):
    frozen = [[], ["W1"], ["b"], ["W"], ["W", "b"], ["b2", "W1"]]
    grid = {"optimizer": ["sgd", "adamw", "momentum"], "weight_decay": [0.1], "freeze": frozen}
    _, results, rows = trained(tmp_path, grids=[grid], given=True)
    weights = {row["run"]: np.array(row["weights"]) for row in results.table("weights").to_pylist()}
    names = np.repeat(list(GIVEN), [np.size(part) for part in GIVEN.values()])
    for run, row in rows.items():
        still = np.array([name in row["freeze"] or name[0] in row["freeze"] for name in names])
        assert (weights[run][still] == FLAT[still]).all()
        assert (weights[run][~still] != FLAT[~still]).all()


# Activations and losses


def test_every_loss_with_every_output_that_fits(tmp_path):
    pairs = [
        (loss, output)
        for loss, entry in LOSSES.items()
        for output in ACTIVATIONS
        if entry.output in ("", output)
    ]
    losses, outputs = zip(*pairs, strict=True)
    grid = {"zip": ["loss", "output_activation"], "loss": losses, "output_activation": outputs}
    _, results, rows = trained(tmp_path, training={"learning_rate": 0.02}, grids=[grid], given=True)
    names = results.runs().column_names
    assert names[-2:] == ["r2", "accuracy"]
    for row in rows.values():
        has, lacks = ("r2", "accuracy")[:: 1 if score_column(row["loss"]) == "r2" else -1]
        assert row[has] is not None
        assert row[lacks] is None
        assert row[has] <= 1


def test_activations_layer_by_layer(tmp_path):
    lists = [["tanh", "relu", "softmax"], ["sin", "erf", "identity"], ["selu", "softsign", "tanh"]]
    grid = {"activation": [*lists, "gelu"]}
    network = {"layers": [2, 4, 3, 2], "bias_init": "uniform"}
    _, _, rows = trained(tmp_path, network=network, grids=[grid, {"hidden_activation": ["silu"]}])
    assert column(rows, "activation") == [
        *map(json.dumps, lists),
        "gelu",
        "tanh",
    ]


@pytest.mark.parametrize(
    ("name", "values", "found"),
    [
        ("activation", [["tanh", "relu"], ["relu", "tanh"]], None),
        ("freeze", [["W1"], []], None),
        ("freeze", [[]], None),
        ("standardise", [True, ["targets"]], [["inputs"], ["targets"]]),
    ],
)
def test_columns_of_lists_of_names(tmp_path, name, values, found):
    _, results, rows = trained(tmp_path, grids=[{name: values}])
    assert results.runs().schema.field(name).type == pa.list_(pa.string())
    assert column(rows, name) == (values if found is None else found)


def test_hyperparameters_of_activations_and_losses(tmp_path):
    grid = {
        "hidden_activation": ["leaky_relu", "elu", "tanh"],
        "loss": ["huber", "mse"],
        "negative_slope": [0.05, 0.3],
        "elu_alpha": [0.5, 2.0],
        "huber_delta": [0.2, 1.5],
    }
    _, _, rows = trained(tmp_path, grids=[grid], given=True)
    assert len(rows) == (2 + 2 + 1) * (2 + 1)


# Mini-batches


def test_mini_batches_in_epochs(tmp_path):
    grid = {"batch_size": [1, 3, 7], "batch_order": list(ORDERS), "batch_seed": [0, 4], "epochs": [1, 3]}
    training = {"epochs": 1, "optimizer": "adam"}
    _, _, rows = trained(tmp_path, training=training, record={"weights": True}, grids=[grid])
    assert len(rows) == 3 * (1 + 2 + 2) * 2
    assert all(row["steps"] == row["epochs"] * -(-7 // row["batch_size"]) for row in rows.values())


def test_mini_batches_in_steps_end_in_the_middle_of_an_epoch(tmp_path):
    _, _, rows = trained(
        tmp_path, training={"batch_size": 2}, grids=[{"steps": [0, 1, 5, 9], "loss": ["mse", "hinge"]}]
    )
    assert column(rows, "steps") == [0, 0, 1, 1, 5, 5, 9, 9]
    assert [row["loss_min"] is None for row in rows.values()] == [True] * 2 + [False] * 6


# Validation and history

MEASURES = ["loss", "gradient_norm", "weight_norm", "score", "validation_loss", "validation_score"]


def test_validation_columns_are_null_where_a_run_has_none(tmp_path):
    grid = {"validation": [0, 0.4, 2], "loss": ["mse", "hinge"], "split_seed": [1]}
    _, results, rows = trained(tmp_path, training={"batch_size": 3}, grids=[grid], given=True)
    losses = ["validation_loss", "validation_loss_min", "step_validation_min"]
    assert results.runs().column_names[-7:] == [*losses, *SCORES]
    for row in rows.values():
        assert len({row[name] is None for name in losses}) == 1
        has = f"validation_{score_column(row['loss'])}"
        assert (row["validation_loss"] is None) == (row["validation"] == 0)
        assert {name for name in SCORES[2:] if row[name] is not None} == (
            {has} if row["validation"] else set()
        )


def test_without_validation_there_are_no_columns_of_it(tmp_path):
    _, results, _ = trained(tmp_path)
    assert not any(name.startswith("validation") for name in results.runs().column_names)


def test_a_history_of_all_measures(tmp_path):
    grid = {"loss": ["mse", "hinge"], "validation": [0, 2], "steps": [4, 0]}
    record = {"history": True, "measures": MEASURES}
    plan, results, rows = run_of(
        text_of(data={"split_seed": 3}, record=record, grids=[grid], given=True), tmp_path
    )
    table = results.history()
    assert table.column_names == ["run", "step", *MEASURES[:3], *SCORES[:2], "validation_loss", *SCORES[2:]]
    for run, row in rows.items():
        own = table.filter(pc.equal(table["run"], run)).sort_by("step").to_pylist()
        assert [line["step"] for line in own] == list(range(row["steps"] + 1))
        for line in own:
            # A run of so many steps ends where this one is now.
            values = plan.parameters(run) | {"steps": line["step"]}
            right = textbook(SimpleNamespace(parameters=lambda _, v=values: v, data=plan.data), run)
            assert_close(line["loss"], right.metrics["loss_last"], "float64", "loss")
            assert_close(line["weight_norm"], right.metrics["weight_norm"], "float64", "weight_norm")
            kind = score_column(values["loss"])
            assert_close(line[kind], right.metrics["score"], "float64", kind)
            assert line[{"r2": "accuracy", "accuracy": "r2"}[kind]] is None
            measured = right.metrics.get("validation_loss")
            assert (line["validation_loss"] is None) == (measured is None)
            if measured is not None:
                assert_close(line["validation_loss"], measured, "float64", "validation_loss")
                assert_close(
                    line[f"validation_{kind}"],
                    right.metrics["validation_score"],
                    "float64",
                    "validation_score",
                )
        gradients = np.linalg.norm(textbook(plan, run).g, axis=1)
        np.testing.assert_allclose([line["gradient_norm"] for line in own[:-1]], gradients, rtol=1e-10)
        assert own[-1]["gradient_norm"] is None


@pytest.mark.parametrize(
    ("record", "steps"),
    [
        ({"history_every": 1}, range(11)),
        ({"history_every": 4}, [0, 4, 8, 10]),
        ({"history_every": 5}, [0, 5, 10]),
        ({"history_every": 99}, [0, 10]),
        ({"history_log": 1}, [0, 1, 10]),
        ({"history_log": 3}, [0, 1, 3, 10]),
        ({"history_log": 99}, range(11)),
    ],
)
def test_steps_that_a_history_keeps(tmp_path, record, steps):
    _, results, rows = trained(
        tmp_path, training={"steps": 10}, record={"history": None, **record}, grids=[{"repeats": 2}]
    )
    table = results.history().to_pandas()
    for run in rows:
        assert list(table[table["run"] == run]["step"]) == list(steps)


# Stopping


def test_runs_stop(tmp_path):
    training = {"steps": 60, "learning_rate": 0.5}
    grids = [
        {"target_loss": [0.3, 0.2, 0.0], "stop_at_target": [True, False], "learning_rate": [0.5, 0.1]},
        {
            "learning_rate": [1e150, 0.5],
            "stop_on_divergence": [True, False],
            "output_activation": ["identity"],
        },
        {"validation": [2, 3], "patience": [1, 3], "min_delta": [0.0, 0.01], "split_seed": [2, 3]},
    ]
    _, results, rows = trained(tmp_path, training=training, grids=grids, given=True)
    found = {row["status"] for row in rows.values()}
    assert found == {"ok", "converged", "diverged", "stopped"}
    for row in rows.values():
        if row["stop_at_target"] and row["status"] == "converged":
            assert row["steps"] == row["step_converged"]
        if row["stop_on_divergence"] and row["status"] == "diverged":
            assert row["steps"] == row["step_diverged"]
    assert {row["steps"] for row in rows.values() if row["status"] == "ok"} == {60}
    assert all(row["steps"] < 60 for row in rows.values() if row["status"] == "stopped")
    last = results.history().group_by("run").aggregate([("step", "max"), ("step", "count")]).to_pylist()
    assert {row["run"]: row["step_max"] for row in last} == {run: row["steps"] for run, row in rows.items()}
    assert all(row["step_count"] == row["step_max"] + 1 for row in last)


def test_runs_of_mini_batches_stop(tmp_path):
    training = {"epochs": 30, "batch_size": 2, "optimizer": "momentum", "learning_rate": 0.3}
    grids = [
        {"patience": [2], "validate_every": [1, 4], "validation": [2], "split_seed": [0, 1, 2]},
        {"target_loss": [0.1, 0.01], "stop_at_target": [True]},
    ]
    _, _, rows = run_of(
        text_of(training=training, record={"history_every": 7, "history": None}, grids=grids), tmp_path
    )
    plan = Plan(loads(text_of(training=training, grids=grids)))
    for run, row in rows.items():
        right = textbook(plan, run)
        assert row["steps"] == right.steps
        assert_close(row["loss_last"], right.metrics["loss_last"], "float64", "loss_last")
        assert_close(row["loss_tail"], right.metrics["loss_tail"], "float64", "loss_tail")
    assert {row["status"] for row in rows.values()} >= {"stopped", "converged"}


def test_patience_without_samples_to_validate_with_stops_nothing(tmp_path):
    grid = {"validation": [0, 2], "split_seed": [2]}
    _, _, rows = trained(tmp_path, training={"patience": 1, "steps": 40, "learning_rate": 0.9}, grids=[grid])
    assert [(row["validation"], row["status"]) for row in rows.values()] == [(0, "ok"), (2, "stopped")]


# The same bits


NAMES = (
    "loss_first",
    "loss_last",
    "loss_tail",
    "convergence",
    "gradient_norm",
    "weight_norm",
    "r2",
    "steps",
    "status",
)


def bits(plan, results):
    """The numbers of each run as they stand, by the values of its parameters."""
    weights = {row["run"]: tuple(row["weights"]) for row in results.table("weights").to_pylist()}
    losses = {}
    for row in results.history().sort_by([("run", "ascending"), ("step", "ascending")]).to_pylist():
        losses.setdefault(row["run"], []).append(row["loss"])
    found = {}
    for row in results.runs().to_pylist():
        key = tuple((name, plan.parameters(row["run"])[name]) for name in PARAMETERS)
        found[key] = (*(row[name] for name in NAMES), weights[row["run"]], tuple(losses[row["run"]]))
    return found


AXES = {
    "optimizer": ["sgd", "nesterov", "adam", "lion"],
    "momentum": [0.9],
    "init": ["normal", "a"],
    "seed": [0, 1, 2],
    "batch_size": [3, 7],
    "batch_seed": [5],
    "target_loss": [0.24, 0.2],
    "stop_at_target": [True],
    "learning_rate": [0.1, 0.3],
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_run_has_the_same_bits_wherever_it_stands(tmp_path, monkeypatch, dtype):
    whole = text_of(training={"dtype": dtype}, grids=[AXES], given=True)
    plan, results, rows = run_of(whole, tmp_path / "one", threads=1)
    expected = bits(plan, results)
    assert len(expected) == len(rows) == 4 * (3 + 1) * 2 * 2 * 2
    assert {row["status"] for row in rows.values()} == {"ok", "converged"}
    monkeypatch.setattr(plan_module, "SHARD_RUNS", 32)
    assert bits(*run_of(whole, tmp_path / "two", threads=2)[:2]) == expected
    # In other orders, with other neighbours, some runs by themselves.
    backwards = {name: AXES[name][::-1] for name in reversed(AXES)}
    grids = [
        AXES | {"learning_rate": [0.3], "init": ["a", "normal"], "optimizer": ["lion", "nesterov"]},
        AXES | {"learning_rate": [0.3, 0.7, 0.9], "seed": [7, 2], "init": ["normal"]},
        backwards,
    ]
    other = bits(*run_of(text_of(training={"dtype": dtype}, grids=grids, given=True), tmp_path / "three")[:2])
    assert expected.items() <= other.items()
    assert len(other) > len(expected)


# Other dtypes, data, the trace


def test_float32(tmp_path):
    grid = {
        "optimizer": ["sgd", "momentum", "adam", "nadam"],
        "schedule": ["cosine"],
        "init": ["a", "glorot_normal"],
        "loss": ["mse", "log_cosh", "hinge"],
        "dtype": ["float32", "float64"],
    }
    trained(tmp_path, grids=[grid], given=True)


def test_data_that_differ_from_run_to_run(tmp_path):
    data = {"dataset": "moons", "size": 12}
    grids = [
        {"noise": [0.0, 0.2], "data_seed": [0, 1], "standardise": [True, False]},
        {"validation": [0.25], "split_seed": [0, 1], "noise": [0.3], "batch_size": [4], "samples": [8, 5]},
        {"sample": [0, 3], "loss": ["mse", "binary_cross_entropy"]},
    ]
    _, _, rows = trained(
        tmp_path, network={"layers": [2, 3, 1], "output_activation": "sigmoid"}, data=data, grids=grids
    )
    assert [row["r2"] for row in rows.values() if row["sample"] is not None] == [None] * 4
    single = [row["accuracy"] for row in rows.values() if row["loss"] == "binary_cross_entropy"]
    assert set(single) <= {0.0, 1.0}


def test_a_trace_of_several_optimizers(tmp_path):
    record = {"history": True, "weights": True, "trace": True}
    grid = {"optimizer": ["sgd", "adam", "lion"], "freeze": [[], ["W1"]], "schedule": ["linear"]}
    plan, results, rows = trained(tmp_path, record=record, grids=[grid], given=True)
    parameters, activations = results.parameters().to_pandas(), results.activations().to_pandas()
    for run in rows:
        right, own = textbook(plan, run), parameters[parameters["run"] == run]
        np.testing.assert_allclose(own["value"], right.w.ravel(), rtol=1e-9, atol=1e-12)
        gradients = own["gradient"].to_numpy()
        np.testing.assert_allclose(gradients[: right.g.size], right.g.ravel(), rtol=1e-9, atol=1e-12)
        units = activations[(activations["run"] == run) & (activations["layer"] > 0)]
        np.testing.assert_allclose(units["output"], right.a.ravel(), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(units["net"], right.z.ravel(), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(units["delta"].dropna(), right.delta.ravel(), rtol=1e-9, atol=1e-12)


def test_a_trace_ends_where_a_run_stops(tmp_path):
    record = {"history": True, "weights": True, "trace": True}
    training = {"steps": 30, "learning_rate": 0.4, "stop_at_target": True}
    grid = {"target_loss": [0.24, 0.2, 0.0], "repeats": 2}
    plan, results, rows = trained(tmp_path, training=training, record=record, grids=[grid])
    assert len({row["steps"] for row in rows.values()}) >= 3
    parameters, activations = results.parameters().to_pandas(), results.activations().to_pandas()
    for run in rows:
        right, own = textbook(plan, run), parameters[parameters["run"] == run]
        assert set(own["step"]) == set(range(right.steps + 1))
        np.testing.assert_allclose(own["value"], right.w.ravel(), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(own["gradient"].dropna(), right.g.ravel(), rtol=1e-9, atol=1e-12)
        assert (own["gradient"].isna() == (own["step"] == right.steps)).all()
        units = activations[(activations["run"] == run) & (activations["layer"] > 0)]
        np.testing.assert_allclose(units["net"], right.z.ravel(), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(units["delta"].dropna(), right.delta.ravel(), rtol=1e-9, atol=1e-12)
        assert (units["delta"].isna() == (units["step"] == right.steps)).all()


# On the command line


def test_check_passes_for_every_pair_of_activation_and_loss(tmp_path):
    pairs = [
        {"loss": [loss], "output_activation": [output], "hidden_activation": [hidden]}
        for loss, entry in LOSSES.items()
        for output, hidden in zip(ACTIVATIONS, [*list(ACTIVATIONS)[1:-1], "tanh", "tanh"], strict=True)
        if entry.output in ("", output)
    ]
    network = {"init": "normal", "bias_init": "normal", "init_scale": 0.7}
    file = tmp_path / "pairs.toml"
    file.write_text(text_of(network, training={"optimizer": "adam", "batch_size": 3}, grids=pairs))
    result = CliRunner().invoke(app, ["check", str(file), "--json"])
    assert result.exit_code == 0, result.output
    compared = json.loads(result.stdout)
    assert {row["parameter"] for row in compared} == {"W1", "b1", "W2", "b2"}
    assert all(row["passed"] for row in compared)
    assert sum(row["n_left_out"] for row in compared) < 0.05 * sum(row["n_compared"] for row in compared)


# What an attack found


def test_as_many_samples_with_replacement_are_not_all_samples(tmp_path):
    training = {"batch_size": len(X), "batch_order": "with_replacement"}
    _, _, rows = run_of(text_of(training=training, grids=[{"batch_seed": [0, 1, 2]}]), tmp_path / "drawn")
    _, _, full = run_of(text_of(), tmp_path / "full")
    assert len({row["loss_last"] for row in (*rows.values(), *full.values())}) == 4


def test_steps_as_an_axis_stand_beside_those_that_were_done(tmp_path):
    training = {"learning_rate": 0.5, "target_loss": 0.25, "stop_at_target": True, "steps": None}
    _, results, rows = run_of(text_of(training=training, grids=[{"steps": [3, 500, 1000]}]), tmp_path)
    assert column(rows, "steps") == [3, 500, 1000]
    done = column(rows, "steps_done")
    assert done[0] == 3
    assert done[1] == done[2] < 500
    result = CliRunner().invoke(
        app, ["sweep", str(results.folder / "sweep.toml"), "--out", str(tmp_path / "again")]
    )
    assert result.exit_code == 0


def test_a_last_loss_that_is_no_number_is_a_divergence_whatever_the_batches(tmp_path):
    training = {"learning_rate": 1e200, "steps": 1, "batch_size": 2}
    network = {"activation": "identity"}
    _, _, rows = run_of(text_of(network=network, training=training), tmp_path)
    assert rows[0]["status"] == "diverged"
    assert rows[0]["step_diverged"] == 1
    assert rows[0]["r2"] is None


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "hinge"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_accuracy_counts_exactly_and_what_diverged_has_none(tmp_path, loss, dtype):
    x = np.random.default_rng(0).normal(size=(70, 3))
    data = {"x": x.tolist(), "y": (x > 0).astype(int).tolist()}
    network = {"layers": [3, 3], "activation": "sigmoid" if loss.startswith("b") else "identity"}
    network |= {"init": "a", "bias": False}
    text = text_of(network, data, {"loss": loss, "dtype": dtype, "steps": 0}, {"history": None})
    text += "[init.a]\nW1 = [[9, 0, 0], [0, 9, 0], [0, 0, 9]]\n"
    _, _, rows = run_of(text, tmp_path / "right")
    assert rows[0]["accuracy"] == 1.0
    text = text.replace("steps = 0", "steps = 1\nweight_decay = 1e300").replace("rate = 0.1", "rate = 1e300")
    _, _, rows = run_of(text, tmp_path / "diverged")
    assert rows[0]["status"] == "diverged"
    assert rows[0]["accuracy"] is None


def test_the_last_row_of_a_history_is_that_of_the_stop(tmp_path):
    training = {"learning_rate": 0.5, "steps": 500, "target_loss": 0.2, "stop_at_target": True}
    record = {
        "history": None,
        "history_every": 100,
        "measures": ["loss", "gradient_norm", "weight_norm", "score"],
    }
    _, results, rows = run_of(text_of(training=training, record=record, grids=[{"repeats": 5}]), tmp_path)
    table = results.history().to_pandas()
    assert any(row["steps"] % 100 for row in rows.values())
    for run, row in rows.items():
        of_run = table[table["run"] == run]
        kept = range(0, row["steps"], 100)
        assert of_run["step"].tolist() == [*kept, row["steps"]]
        last = of_run.iloc[-1]
        assert (last["loss"], last["weight_norm"], last["r2"]) == (
            row["loss_last"],
            row["weight_norm"],
            row["r2"],
        )
        assert np.isnan(last["gradient_norm"])
        assert of_run["gradient_norm"].notna().sum() == len(kept)


def test_the_least_validation_loss_and_its_step(tmp_path):
    training = {"steps": 80, "learning_rate": 0.6, "patience": 3, "optimizer": "momentum"}
    data = {"validation": 3}
    record = {"measures": ["loss", "validation_loss"]}
    grids = [{"repeats": 6, "split_seed": [1, 2]}]
    _, results, rows = run_of(text_of(data=data, training=training, record=record, grids=grids), tmp_path)
    table = results.history().to_pandas()
    for run, row in rows.items():
        of_run = table[table["run"] == run].set_index("step")["validation_loss"]
        assert row["validation_loss_min"] == of_run.min()
        assert row["step_validation_min"] == of_run.idxmin()
    assert any(row["validation_loss_min"] < row["validation_loss"] for row in rows.values())
