import json
import math
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbp.kernels.activations import ACTIVATIONS
from fastbp.kernels.initializers import INITIALIZERS
from fastbp.kernels.losses import LOSSES
from fastbp.kernels.optimizers import OPTIMIZERS
from fastbp.kernels.schedules import SCHEDULES
from fastbp.sweep import (
    PARAMETERS,
    Problem,
    SweepError,
    dumps,
    load,
    loads,
    schema,
    starter,
    weight_shapes,
)
from fastbp.sweep import overrides as overrides_module
from fastbp.sweep.locate import Outline

NOTEBOOK = Path(__file__).parents[1] / "sweeps" / "notebook.toml"

SMALL = """\
name = "small"

[network]
layers = [2, 1]

[init.a]
W1 = [[0.5], [0.25]]
b1 = [0]

[data]
x = [[0, 1], [1, 0]]
y = [[1], [0]]

[training]
learning_rate = 0.1
steps = 5
"""
# The same with weights that are drawn, by the rule that is taken where none is named.
DRAWN = SMALL.replace("[init.a]\nW1 = [[0.5], [0.25]]\nb1 = [0]\n\n", "")


def problems(text, *overrides):
    with pytest.raises(SweepError) as caught:
        loads(text, "f.toml", overrides)
    assert str(caught.value) == "\n".join(map(str, caught.value.problems))
    return str(caught.value).splitlines()


def changed(*pairs, text=SMALL, more=""):
    for old, new in pairs:
        assert text.count(old) == 1, f"{old!r} must stand once in the text"
        text = text.replace(old, new)
    return text + more


def axis(line, text=SMALL):
    (grid,) = loads(f"{text}[[grid]]\n{line}\n").grid
    return next(iter(grid.axes.values())).values


# What a good file gives


def test_values_and_defaults():
    sweep = loads(SMALL)
    assert sweep.name == "small"
    assert sweep.description == ""
    assert sweep.network.layers == (2, 1)
    assert sweep.init == {"a": {"W1": ((0.5,), (0.25,)), "b1": (0.0,)}}
    assert sweep.data.x == ((0.0, 1.0), (1.0, 0.0))
    assert all(type(number) is float for row in sweep.data.x for number in row)
    assert sweep.record.model_dump() == {
        "history": False,
        "history_every": None,
        "history_log": None,
        "measures": ("loss",),
        "trace": False,
        "weights": False,
    }
    assert sweep.grid == ()
    assert sweep.text == SMALL
    assert sweep.base() == {
        **dict.fromkeys(PARAMETERS),  # most of them are unset
        "layers": (2, 1),
        "bias": True,
        "activation": "sigmoid",
        "scale": "standard",
        "freeze": (),
        "init": "a",
        "bias_init": "zeros",
        "init_scale": 1.0,
        "init_offset": 0.0,
        "standardise": (),
        "loss": "mse",
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "schedule": "constant",
        "steps": 5,
        "batch_order": "shuffled",
        "dtype": "float64",
        "stop_at_target": False,
        "stop_on_divergence": False,
    }


def test_without_given_weights_they_are_drawn():
    assert loads(DRAWN).base()["init"] == "glorot_uniform"
    assert loads(DRAWN).init == {}
    assert loads(DRAWN).base()["seed"] is None
    assert loads(SMALL, overrides=["init=he_normal"]).base()["init"] == "he_normal"


def test_a_sweep_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        loads(SMALL).name = "other"


def test_parameters_say_where_they_stand_and_whether_they_split_blocks():
    assert set(PARAMETERS) == set(loads(SMALL).base())
    lanes = {name for name, item in PARAMETERS.items() if not item.structural}
    of_data = {"teacher_units", "noise", "data_seed", "standardise", "split_seed", "sample"}
    drawn = {"init", "bias_init", "init_scale", "init_offset", "bias_scale", "seed"}
    of_runs = {"learning_rate", "target_loss", "clip_norm", "warmup_steps", "patience", "min_delta"}
    tables = (ACTIVATIONS, LOSSES, OPTIMIZERS, SCHEDULES)
    own = {name for table in tables for entry in table.values() for name in entry.defaults}
    assert own >= {"negative_slope", "huber_delta", "momentum", "weight_decay", "decay_rate"}
    assert lanes == {"scale"} | drawn | of_runs | own | of_data
    assert PARAMETERS["sample"].section == "data"
    assert all(item.doc.endswith(".") for item in PARAMETERS.values())


def test_axes_keep_their_order_and_their_types():
    (grid,) = loads(
        SMALL
        + '[[grid]]\nsteps = [3, 1]\nbias = [true]\nlearning_rate = [1, [0.5]]\nloss = ["half_sse", "mse"]\n'
    ).grid
    assert list(grid.axes) == ["steps", "bias", "learning_rate", "loss"]
    assert [item.values for item in grid.axes.values()] == [
        (3, 1),
        (True,),
        (1.0, (0.5,)),
        ("half_sse", "mse"),
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("learning_rate = { linspace = [0, 1, 5] }", (0.0, 0.25, 0.5, 0.75, 1.0)),
        ("learning_rate = { linspace = [1, 9, 1] }", (1.0,)),
        ("target_loss = { linspace = [1, -1, 3] }", (1.0, 0.0, -1.0)),
        ("learning_rate = { geomspace = [0.01, 100, 5] }", (0.01, 0.1, 1.0, 10.0, 100.0)),
        ("target_loss = { geomspace = [-1, -4, 3] }", (-1.0, -2.0, -4.0)),
        ("learning_rate = { arange = [0, 1, 0.25] }", (0.0, 0.25, 0.5, 0.75)),
        ("learning_rate = { arange = [1.0, 1.3, 0.1] }", (1.0, 1.1, 1.2)),
        ("steps = { arange = [10, 0, -4] }", (10, 6, 2)),
        ("sample = { arange = [0, 2, 1] }", (0, 1)),
        ("learning_rate_1 = [0.5, 1]", (0.5, 1.0)),
    ],
)
def test_ranges(line, expected):
    values = axis(line)
    assert values == pytest.approx(expected, rel=1e-15)
    assert [type(value) for value in values] == [type(value) for value in expected]


@given(
    st.floats(1e-300, 1e300), st.floats(1e-300, 1e300), st.integers(2, 40), st.sampled_from(["lin", "geom"])
)
@settings(deadline=None, max_examples=50)
def test_ranges_hold_their_end_points_exactly(first, last, count, rule):
    if first == last or abs(first / last - 1) < 1e-9:  # a value may stand once in an axis
        return
    values = axis(f"learning_rate = {{ {rule}space = [{first!r}, {last!r}, {count}] }}")
    assert (values[0], values[-1], len(values)) == (first, last, count)
    assert list(values) == sorted(values, reverse=first > last)


def test_weight_shapes():
    assert weight_shapes((2, 3, 1), True) == {"W1": (2, 3), "b1": (3,), "W2": (3, 1), "b2": (1,)}
    assert weight_shapes((2, 3, 1), False) == {"W1": (2, 3), "W2": (3, 1)}


def test_required_values_may_come_from_the_axes():
    text = changed(("learning_rate = 0.1\n", ""), ("steps = 5\n", ""), ("layers = [2, 1]\n", ""))
    grid = "[[grid]]\nlayers = [[2, 1]]\nsteps = [1]\nlearning_rate = [1]\n"
    assert loads(text + grid).base()["steps"] is None
    assert problems(text + grid + "[[grid]]\nlayers = [[2, 1]]\nsteps = [1]\n") == [
        "f.toml:13: training.learning_rate: "
        "is missing; set it in [training] or make it an axis of every [[grid]]"
    ]


# What is wrong with a bad file

ACTIVATION_NAMES = ", ".join(ACTIVATIONS)
INIT_NAMES = ", ".join(INITIALIZERS)

WRONG_VALUES = [
    ('name = "small"', 'name = "../x"', 1, "name", '"../x" is not a plain file name; use letters, digits'),
    ('name = "small"', 'name = ".x"', 1, "name", '".x" is not a plain file name'),
    ('name = "small"', 'name = "a\\n"', 1, "name", r'"a\n" is not a plain file name'),
    ('name = "small"', f'name = "{"a" * 101}"', 1, "name", "is 101 characters long; use at most 100"),
    ('name = "small"', "name = 3", 1, "name", "must be a text in quotes, not 3"),
    ('name = "small"', "", 1, "name", 'is missing; add name = "..." on the first line'),
    ('name = "small"', 'name = "a"\ndescription = 1', 2, "description", "must be a text in quotes, not 1"),
    (
        "[2, 1]",
        "[2]",
        4,
        "network.layers",
        "must be a list of at least 2 numbers of units, such as [2, 3, 1]",
    ),
    ("[2, 1]", "[2, 0]", 4, "network.layers[1]", "must be whole numbers of at least 1, not 0"),
    ("[2, 1]", "[2, true]", 4, "network.layers[1]", "must be whole numbers of at least 1, not true"),
    ("[2, 1]", "[2, 1.0]", 4, "network.layers[1]", "must be whole numbers of at least 1, not 1.0"),
    (
        "[2, 1]",
        "[2, 5000000, 1]",
        4,
        "network.layers",
        "has 20000001 weights and biases; use at most 10000000",
    ),
    ("[2, 1]", "[2, 1]\nbias = 1", 5, "network.bias", "must be true or false, not 1"),
    (
        "[2, 1]",
        '[2, 1]\nactivation = "tahn"',
        5,
        "network.activation",
        f'unknown activation "tahn" (did you mean tanh?); known: {ACTIVATION_NAMES}',
    ),
    (
        "[2, 1]",
        '[2, 1]\nhidden_activation = "qq"',
        5,
        "network.hidden_activation",
        f'unknown activation "qq"; known: {ACTIVATION_NAMES}',
    ),
    (
        "[2, 1]",
        "[2, 1]\noutput_activation = 1",
        5,
        "network.output_activation",
        "must be a text in quotes, not 1",
    ),
    ("[2, 1]", "[2, 1]\nlayer = 3", 5, "network.layer", "unknown key (did you mean layers?)"),
    ("[2, 1]", '[2, 1]\ninit = "b"', 5, "network.init", f'unknown init "b"; known: a, {INIT_NAMES}'),
    (
        "[[0.5], [0.25]]",
        "[[0.5], [0.25, 1]]",
        7,
        "init.a.W1[1]",
        "row 1 (counting from 0) has length 2 but row 0",
    ),
    (
        "[[0.5], [0.25]]",
        "[[0.5],\n[nan]]",
        8,
        "init.a.W1[1][0]",
        "row 1, column 0 (counting from 0) must be a fin",
    ),
    (
        "[[0.5], [0.25]]",
        "[[0.5]]",
        7,
        "init.a.W1",
        "has shape 1 x 1; layers [2, 1] need shape 2 x 1",
    ),
    (
        "[[0.5], [0.25]]",
        "[0.5, 0.25]",
        7,
        "init.a.W1[0]",
        "row 0 (counting from 0) must be a list of numbers, not 0.5",
    ),
    ("W1 = [[0.5], [0.25]]\n", "", 6, "init.a.W1", "is missing; layers [2, 1] need shape 2 x 1"),
    ("b1 = [0]\n", "", 6, "init.a.b1", "is missing; layers [2, 1] need length 1"),
    ("b1 = [0]", "b1 = [[0]]", 8, "init.a.b1[0]", "must be a number, not a list"),
    ("b1 = [0]", "b1 = [0, 0]", 8, "init.a.b1", "has length 2; layers [2, 1] need length 1"),
    (
        "b1 = [0]",
        "b1 = [0]\nW2 = [[1]]",
        9,
        "init.a.W2",
        "no run needs it; remove it, or change layers or bias",
    ),
    (
        "b1 = [0]",
        "b1 = [0]\nw1 = [[1]]",
        9,
        "init.a.w1",
        "unknown key (did you mean W1?); known: W1, b1, W2, b2 ...",
    ),
    (
        "[2, 1]",
        "[2, 1]\nbias = false",
        9,
        "init.a.b1",
        "no run needs it; remove it, or change layers or bias",
    ),
    (
        "[[0, 1], [1, 0]]",
        "[[0, 1],\n\n[inf, 0]]",
        13,
        "data.x[1][0]",
        "row 1, column 0 (counting from 0) must be a f",
    ),
    (
        "[[0, 1], [1, 0]]",
        "[[0, 1],\n[true, 0]]",
        12,
        "data.x[1][0]",
        "row 1, column 0 (counting from 0) must be a n",
    ),
    (
        "[[0, 1], [1, 0]]",
        '[[0, "1"]]',
        11,
        "data.x[0][1]",
        "row 0, column 1 (counting from 0) must be a number, not",
    ),
    (
        "[[0, 1], [1, 0]]",
        "[[0, 1],\n[1]]",
        12,
        "data.x[1]",
        "row 1 (counting from 0) has length 1 but row 0 has len",
    ),
    ("[[0, 1], [1, 0]]", "[]", 11, "data.x", "must be a list of rows, not an empty list"),
    (
        "[[0, 1], [1, 0]]",
        "[[], []]",
        11,
        "data.x[0]",
        "row 0 (counting from 0) must be a list of numbers, not an",
    ),
    (
        "[[0, 1], [1, 0]]",
        "[[0], [1]]",
        11,
        "data.x",
        "layers [2, 1] begin with 2 but data.x has 1 columns; make",
    ),
    (
        "[[1], [0]]",
        "[[1, 0], [0, 1]]",
        12,
        "data.y",
        "layers [2, 1] end with 1 but data.y has 2 columns; make",
    ),
    ("[[1], [0]]", "[[1]]", 12, "data.y", "has 1 rows but data.x has 2; each sample needs one row of both"),
    ("y = [[1], [0]]\n", "", 10, "data.y", "is missing; add it to [data] as a list of rows"),
    (
        "[[1], [0]]",
        "[[1], [0]]\nsample = 2",
        13,
        "data.sample",
        "sample 2 does not exist; there are 2 samples, count",
    ),
    (
        "[[1], [0]]",
        "[[1], [0]]\nsample = -1",
        13,
        "data.sample",
        "must be a whole number of at least 0, not -1",
    ),
    (
        "rate = 0.1",
        'rate = 0.1\nloss = "mes"',
        16,
        "training.loss",
        'unknown loss "mes" (did you mean mse?); known',
    ),
    (
        "rate = 0.1",
        'rate = 0.1\noptimizer = "sdg"',
        16,
        "training.optimizer",
        'unknown optimizer "sdg" (did you mean',
    ),
    (
        "rate = 0.1",
        'rate = 0.1\ndtype = "float16"',
        16,
        "training.dtype",
        'unknown dtype "float16" (did you mean',
    ),
    (
        "rate = 0.1",
        "rate = 0.1\ntarget_loss = nan",
        16,
        "training.target_loss",
        "must be a finite number, not nan",
    ),
    ("rate = 0.1", "rate = -0.1", 15, "training.learning_rate", "must be at least 0, not -0.1"),
    ("rate = 0.1", "rate = inf", 15, "training.learning_rate", "must be a finite number, not inf"),
    ("rate = 0.1", "rate = true", 15, "training.learning_rate", "must be a number, not true"),
    ("rate = 0.1", 'rate = "0.1"', 15, "training.learning_rate", 'must be a number, not the text "0.1"'),
    (
        "rate = 0.1",
        f"rate = 0x{'f' * 9999}",
        15,
        "training.learning_rate",
        "must be a finite number, not an integer",
    ),
    (
        "rate = 0.1",
        "rate = []",
        15,
        "training.learning_rate",
        "is an empty list; give a number, or one number for",
    ),
    ("rate = 0.1", "rate = [1,\n -1]", 16, "training.learning_rate[1]", "must be at least 0, not -1"),
    (
        "rate = 0.1",
        "rate = [1, 1]",
        15,
        "training.learning_rate",
        "has 2 learning rates but layers [2, 1] have 1",
    ),
    (
        "learning_rate = 0.1\n",
        "",
        14,
        "training.learning_rate",
        "is missing; set it in [training] or make it an axis",
    ),
    ("steps = 5", "steps = 5.0", 16, "training.steps", "must be a whole number, not 5.0"),
    (
        "steps = 5",
        f"steps = {2**63}",
        16,
        "training.steps",
        "must be a whole number of at most 16777216, not 92233720",
    ),
    (
        "steps = 5",
        "",
        14,
        "training.steps",
        "is missing; set it or epochs in [training], or make it an axis of every [[grid]]",
    ),
    ("steps = 5", "steps = 5\n[record]\ntrace = 1", 18, "record.trace", "must be true or false, not 1"),
    ("steps = 5", "steps = 5\n[recrod]", 17, "recrod", "unknown key (did you mean record?)"),
    ('name = "small"', 'name = "s"\nsteps = 1', 2, "steps", "unknown key; it belongs in [training]"),
    (
        "[training]",
        "[grid]\nsteps = [1]\n[training]",
        14,
        "grid",
        "must be tables [[grid]], with two brackets, not",
    ),
]


@pytest.mark.parametrize(("old", "new", "line", "key", "message"), WRONG_VALUES)
def test_a_wrong_value_is_named_with_its_line_and_key(old, new, line, key, message):
    problem, *others = problems(changed((old, new)))
    assert problem.startswith(f"f.toml:{line}: {key}: {message}")
    # Nothing else, but for other parts of the same value.
    assert all(other.startswith(f"f.toml:{line}: {key[: key.rindex('[')]}[") for other in others)


def test_the_rates_of_single_layers_may_stand_for_that_of_all():
    text = changed(("learning_rate = 0.1\n", ""))
    assert loads(text + "[[grid]]\nlearning_rate_1 = [1, 2]\n").base()["learning_rate"] is None
    two = changed(
        ("learning_rate = 0.1\n", ""),
        ("layers = [2, 1]", "layers = [2, 1, 1]"),
        ("b1 = [0]", "b1 = [0]\nW2 = [[1]]\nb2 = [0]"),
        more="[[grid]]\nlearning_rate_2 = [1, 2]\n",
    )
    (problem,) = problems(two)
    assert problem.startswith("f.toml:18: grid[0]: layer 1 has no learning rate; add an axis learning_rate_1")


def test_a_grid_of_too_many_runs():
    axes = "".join(
        f"{name} = {{ linspace = [1, 2, 1000000] }}\n" for name in ("learning_rate", "target_loss")
    )
    (problem,) = problems(SMALL + "[[grid]]\nlearning_rate_1 = { linspace = [1, 2, 1000000] }\n" + axes)
    assert problem.startswith(f"f.toml:17: grid[0]: has {10**18} runs; a grid may have {2**53}")


def test_scale_is_a_number_a_list_or_a_name():
    for value, expected in (("2", 2.0), ("[0.5]", (0.5,)), ('"ntk"', "ntk")):
        assert loads(changed(("[network]", f"[network]\nscale = {value}"))).network.scale == expected
    for value, message in (
        ('"nkt"', 'unknown scale "nkt" (did you mean ntk?); known: standard, ntk, mean_field'),
        ("[1, 2]", "has 2 scales but layers [2, 1] have 1 layers of weights; give one for each"),
        ("[]", "is an empty list; give a number, or one number for each layer of weights"),
        ("true", "must be a number, not true"),
    ):
        (problem,) = problems(changed(("[network]", f"[network]\nscale = {value}")))
        assert problem == f"f.toml:4: network.scale: {message}"
    (problem,) = problems(SMALL + "[[grid]]\nscale_2 = [1]\n")
    assert (
        problem == "f.toml:18: grid[0].scale_2: there is no layer 2; layers [2, 1] have 1 layers of weights"
    )


WRONG_AXES = [
    ("steps = []", "steps", "is an empty axis; give at least one value or remove the key"),
    ("steps = 3", "steps", "must be an axis, such as [3]; to give all runs one value, set it in [training]"),
    ("steps = [1, 2, 1]", "steps[2]", "names 1 twice; a value may stand once in an axis"),
    ("learning_rate = [1, 1.0]", "learning_rate[1]", "names 1.0 twice; a value may stand once in an axis"),
    ("steps = [1, true]", "steps[1]", "must be a whole number, not true"),
    (
        'loss = ["mse", "mes"]',
        "loss[1]",
        f'unknown loss "mes" (did you mean mse?); known: {", ".join(LOSSES)}',
    ),
    ("sample = [0, 2]", "sample[1]", "sample 2 does not exist; there are 2 samples, counting from 0"),
    (
        "sample = { arange = [0, 3, 1] }",
        "sample[2]",
        "sample 2 does not exist; there are 2 samples, counting from 0",
    ),
    ('init = ["a", "b"]', "init[1]", f'unknown init "b"; known: a, {INIT_NAMES}'),
    (
        "learning_rate = [[1, 2]]",
        "learning_rate[0]",
        "has 2 learning rates but layers [2, 1] have 1 layers of wei",
    ),
    (
        "learning_rate_2 = [1]",
        "learning_rate_2",
        "there is no layer 2; layers [2, 1] have 1 layers of weights",
    ),
    ("learning_rate_0 = [1]", "learning_rate_0", "unknown parameter (did you mean learning_rate_1?)"),
    ("learning_rate_1 = [-1]", "learning_rate_1[0]", "must be at least 0, not -1"),
    ("stepps = [1]", "stepps", "unknown parameter (did you mean steps?)"),
    ("loss = { linspace = [0, 1, 2] }", "loss", "takes no range, only numbers do; give a list of values"),
    (
        "steps = { linspace = [0, 4, 2] }",
        "steps.linspace",
        "takes whole numbers; use arange or a list instead of l",
    ),
    ("steps = { arange = [0, 4, 0.5] }", "steps.arange[2]", "must be a whole number, not 0.5"),
    ("steps = { arange = [-1, 4, 1] }", "steps.arange", "must be a whole number of at least 0, not -1"),
    ("learning_rate = { arange = [0, 1, 0] }", "learning_rate.arange[2]", "arange needs a step other than 0"),
    (
        "learning_rate = { arange = [0, 1, -1] }",
        "learning_rate.arange",
        "is an empty axis; arange must step from",
    ),
    (
        "learning_rate = { arange = [0, 1, 1e-9] }",
        "learning_rate.arange",
        "has 1000000000 values; use at most 10",
    ),
    (
        "learning_rate = { arange = [0, 1e308, 1e-9] }",
        "learning_rate.arange",
        "spans more than a float64 can hold",
    ),
    (
        "learning_rate = { geomspace = [0, 1, 3] }",
        "learning_rate.geomspace",
        "geomspace needs two end points of the",
    ),
    (
        "learning_rate = { geomspace = [-1, 1, 3] }",
        "learning_rate.geomspace",
        "geomspace needs two end points of th",
    ),
    (
        "learning_rate = { geomspace = [-1, -2, 3] }",
        "learning_rate.geomspace",
        "must be at least 0, not -1.0",
    ),
    (
        "learning_rate = { linspace = [0, 1, 0] }",
        "learning_rate.linspace[2]",
        "must be a whole number of at least 1",
    ),
    (
        "learning_rate = { linspace = [0, 1, 2.0] }",
        "learning_rate.linspace[2]",
        "must be a whole number, not 2.0",
    ),
    (
        "learning_rate = { linspace = [0, 1, 10000001] }",
        "learning_rate.linspace[2]",
        "asks for 10000001 values; use",
    ),
    (
        "learning_rate = { linspace = [0, 1] }",
        "learning_rate.linspace",
        "linspace takes three numbers: [first, last,",
    ),
    (
        "target_loss = { linspace = [-1e308, 1e308, 9] }",
        "target_loss.linspace",
        "spans more than a float64 can hold",
    ),
    (
        "learning_rate = { linspace = [1, 1, 2] }",
        "learning_rate[1]",
        "names 1.0 twice; a value may stand once",
    ),
    ("learning_rate = {}", "learning_rate", "must hold exactly one of linspace, geomspace, arange"),
    (
        "learning_rate = { linspce = [0, 1, 2] }",
        "learning_rate.linspce",
        "must hold exactly one of linspace, geomspa",
    ),
    (
        "learning_rate = { linspace = [0, 1, 2], arange = [0, 1, 0.5] }",
        "learning_rate",
        "must hold exactly one of linspace, geomspace, arange",
    ),
]


@pytest.mark.parametrize(("line", "key", "message"), WRONG_AXES)
def test_a_wrong_axis_is_named_with_its_line_and_key(line, key, message):
    text = SMALL + "[[grid]]\nbias = [true]\n[[grid]]\n"
    (problem,) = problems(text + line)
    assert problem.startswith(f"f.toml:20: grid[1].{key}: {message}")


def test_layers_of_an_axis_that_fit_neither_the_weights_nor_the_data():
    assert problems(SMALL + "[[grid]]\nlayers = [[2, 1],\n[3, 2]]\n") == [
        "f.toml:7: init.a.W1: has shape 2 x 1; layers [3, 2] need shape 3 x 2",
        "f.toml:8: init.a.b1: has length 1; layers [3, 2] need length 2",
        "f.toml:19: grid[0].layers[1]: layers [3, 2] begin with 3 but data.x has 2 columns; make them equal",
    ]


def test_all_problems_of_a_file_are_told_at_once_in_the_order_of_their_lines():
    text = changed(
        ("[2, 1]", '[2, 1]\nactivation = "sigmod"'),
        ("b1 = [0]", "b1 = [0, 1]"),
        ("steps = 5", "steps = -5\nstpes = 5"),
        more="[[grid]]\nlearning_rate = [[1, 2], [1]]\n"
        "[[grid]]\nlearning_rate = [true,\n1,\n'x']\nsample = [7]\n",
    )
    assert problems(text) == [
        'f.toml:5: network.activation: unknown activation "sigmod" (did you mean sigmoid?); '
        f"known: {ACTIVATION_NAMES}",
        "f.toml:9: init.a.b1: has length 2; layers [2, 1] need length 1",
        "f.toml:17: training.steps: must be a whole number of at least 0, not -5",
        "f.toml:18: training.stpes: unknown key (did you mean steps?)",
        "f.toml:20: grid[0].learning_rate[0]: "
        "has 2 learning rates but layers [2, 1] have 1 layers of weights; give one for each",
        "f.toml:22: grid[1].learning_rate[0]: must be a number, not true",
        'f.toml:24: grid[1].learning_rate[2]: must be a number, not the text "x"',
        "f.toml:25: grid[1].sample[0]: sample 7 does not exist; there are 2 samples, counting from 0",
    ]


def test_samples_are_counted_in_y_where_x_is_refused():
    text = changed(("[[0, 1], [1, 0]]", "[[0, 1], [1]]"), ("[[1], [0]]", "[[1], [0]]\nsample = 2"))
    assert [problem.split(":")[1] for problem in problems(text)] == ["11", "13"]


def test_an_empty_file_lacks_everything_a_run_needs():
    assert [re.match(r"f.toml:1: ([\w.]+): is missing;", line)[1] for line in problems("")] == [
        "name",
        "network.layers",
        "training.learning_rate",
        "training.steps",
        "data.x",
        "data.y",
    ]


def test_tables_that_are_no_tables():
    wrong = problems(
        "name = 'a'\nnetwork = 1\ndata = []\ntraining = true\nrecord = 'x'\ninit = 2\ngrid = [1]\n"
    )
    assert wrong[0] == "f.toml:2: network: must be a table [network], not 1"
    assert [re.match(r"f.toml:(\d): ([\w.\[\]]+)", line).groups() for line in wrong] == [
        ("2", "network"),
        ("3", "data"),
        ("4", "training"),
        ("5", "record"),
        ("6", "init"),
        ("7", "grid[0]"),
    ]


def test_a_table_of_weights_that_is_no_table():
    text = changed(("[init.a]\nW1 = [[0.5], [0.25]]\nb1 = [0]\n", "[init]\na = 3\n"))
    assert problems(text) == ["f.toml:7: init.a: must be a table [init.NAME] with W1, b1 ..., not 3"]


TWO_INITS = "[init.c]\nW1 = [[1], [1]]\nb1 = [1]\n"


def test_several_inits_must_be_decided_between():
    assert problems(SMALL + TWO_INITS) == [
        "f.toml:3: network.init: "
        "is undecided among a, c; set it in [network] or make it an axis of every [[grid]]"
    ]
    assert loads(changed(("[2, 1]", '[2, 1]\ninit = "c"'), more=TWO_INITS)).base()["init"] == "c"
    assert loads(SMALL + TWO_INITS + '[[grid]]\ninit = ["c", "a"]\n').base()["init"] is None


def test_weights_are_needed_by_the_combinations_that_meet_and_by_no_others():
    # c has no biases and meets only networks without; a has them and meets only networks with.
    text = SMALL + TWO_INITS.replace("b1 = [1]\n", "")
    grids = '[[grid]]\ninit = ["a"]\n[[grid]]\ninit = ["c"]\nbias = [false]\n'
    loads(text + grids)
    assert problems(text + grids.replace("[false]", "[false, true]")) == [
        "f.toml:17: init.c.b1: is missing; layers [2, 1] need length 1"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name = 'a'\n[network\n", "f.toml:2: is not TOML: Expected ']' at the end of a table declaration"),
        ("name = 'a'\n\nx = [", "f.toml:3: is not TOML: Invalid value"),
        ("name = 'a'\nname = [\n'b'\n]\n", "f.toml:2: name: is named twice; remove one of the two"),
        ("[data]\n[data]\n", "f.toml:2: data: is named twice; remove one of the two"),
        (
            "[[grid]]\nsteps = [1]\n[[grid]]\nsteps = [1]\nbias = [true]\nsteps = [\n2,\n]\n",
            "f.toml:6: grid[1].steps: is named twice; remove one of the two",
        ),
        ("x = { a = 1, a = 2 }\n", "f.toml:1: is not TOML: Duplicate inline table key 'a'"),
        (f"x = {'9' * 5000}\n", "f.toml: is not TOML: "),
        (f"x = {'[' * 5000}\n", "f.toml: is not TOML that can be read: it is nested too deeply"),
    ],
)
def test_what_is_not_toml(text, expected):
    (problem,) = problems(text)
    assert problem.startswith(expected)


def test_files_that_cannot_be_read(tmp_path):
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b'name = "a"\n# caf\xe9\n')
    for path, expected in [
        (tmp_path / "none.toml", ": cannot be read: No such file or directory"),
        (tmp_path, ": cannot be read: Is a directory"),
        (latin, ":2: is not UTF-8; save it as UTF-8"),
    ]:
        with pytest.raises(SweepError, match=re.escape(f"{path}{expected}")):
            load(path)


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(tmp_path):
    path = tmp_path / "small.toml"
    path.write_bytes(b"\xef\xbb\xbf" + SMALL.replace("\n", "\r\n").encode())
    assert load(path) == loads(SMALL)


# Lines

LINES = """\
top.dotted = 1
"quoted key" = [
  1,  # a comment, with a comma
  { a = 2, "b c".d = [3,
    4] },
]
[network]
layers = [2, 1]
[[grid]]
init = ["x"]
[[grid]]
steps = [
  1,
  2]
[grid.learning_rate]
linspace = [0, 1, 3]
[[grid]]
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ((), 1),
        (("unknown",), 1),
        (("top", "dotted"), 1),
        (("quoted key",), 2),
        (("quoted key", 0), 3),
        (("quoted key", 1, "a"), 4),
        (("quoted key", 1, "b c", "d", 1), 5),
        (("quoted key", 1, "b c", "unknown"), 4),
        (("quoted key", 9), 2),
        (("network", "layers", 1), 8),
        (("network", "bias"), 7),
        (("grid", 0, "init", 0), 10),
        (("grid", 1), 11),
        (("grid", 1, "steps", 1), 14),
        (("grid", 1, "init"), 11),
        (("grid", 1, "learning_rate", "linspace", 2), 16),
        (("grid", 2, "init"), 17),
        (("grid", 7, "init"), 9),
    ],
)
def test_lines(path, line):
    assert Outline(LINES).line(path) == line


def test_the_line_of_a_grid_written_as_an_inline_array():
    text = SMALL.replace(
        'name = "small"\n', 'name = "small"\ngrid = [\n  { steps = [1] },\n  { steps = [true] },\n]\n'
    )
    assert problems(text) == ["f.toml:4: grid[1].steps[0]: must be a whole number, not true"]


# Overrides


def test_an_override_fixes_a_parameter_and_drops_its_axes_but_no_comments():
    sweep = load(NOTEBOOK, ["learning_rate=0.25", "activation=tanh", "record.trace=false", "name=other"])
    assert sweep.base()["learning_rate"] == 0.25
    assert sweep.base()["activation"] == "tanh"
    assert sweep.record.trace is False
    assert sweep.name == "other"
    assert [list(grid.axes) for grid in sweep.grid] == [["init", "sample"], ["init", "sample"]]
    assert loads(sweep.text) == sweep
    original = NOTEBOOK.read_text(encoding="utf-8")
    assert {line for line in original.splitlines() if line.startswith("#")} <= set(sweep.text.splitlines())


def test_a_fixed_learning_rate_wins_over_those_of_the_layers():
    text = SMALL + "[[grid]]\nlearning_rate_1 = [1, 2]\nsteps = [1]\n"
    assert list(loads(text, overrides=["learning_rate=[3]"]).grid[0].axes) == ["steps"]
    assert list(loads(text, overrides=["steps=3"]).grid[0].axes) == ["learning_rate_1"]


@pytest.mark.parametrize("grids", ["", "[[grid]]\nbias = [true]\n", "[[grid]]\nsteps = [8]\n[[grid]]\n"])
def test_an_axis_can_be_set_in_every_grid(grids):
    sweep = loads(SMALL + grids, overrides=["grid.steps={ arange = [0, 3, 1] }", "grid.learning_rate_1=[2]"])
    assert len(sweep.grid) == max(1, grids.count("[[grid]]"))
    assert all(grid.axes["steps"].values == (0, 1, 2) for grid in sweep.grid)
    assert all(grid.axes["learning_rate_1"].values == (2.0,) for grid in sweep.grid)
    assert loads(sweep.text) == sweep


@pytest.mark.parametrize(
    "text",
    [
        SMALL.replace("[training]\nlearning_rate = 0.1", "[training]\nlearning_rate = 0.1 # why\n# and"),
        'name = "small"\ntraining.steps = 5\ntraining.learning_rate = 0.1\n'
        + SMALL[15 : SMALL.index("[training]")],
        SMALL.replace("\n", "\r\n"),
        SMALL + "[[grid]]\nlearning_rate = [1]\n[grid.steps]\narange = [0, 3, 1]\n[record]\nhistory = true\n",
        SMALL.replace('"small"', '"small"\ngrid = [{ steps = [1, 2] }, { bias = [true], steps = [3] }]'),
    ],
)
@pytest.mark.parametrize("limit", [0, 20_000])
def test_overrides_meet_every_way_of_writing(text, limit, monkeypatch):
    monkeypatch.setattr(overrides_module, "LONG_TEXT", limit)
    monkeypatch.setattr(overrides_module, "LONG_VALUE", limit // 1000)
    sweep = loads(text, overrides=["steps=7", "weights=true", "description=\"a 'text'\"", "init.a.b1=[2]"])
    assert sweep.training.steps == 7
    assert sweep.record.weights is True
    assert sweep.description == "a 'text'"
    assert sweep.init["a"]["b1"] == (2.0,)
    assert not any("steps" in grid.axes for grid in sweep.grid)
    assert loads(sweep.text) == sweep
    assert ("# why" in text) == ("# why" in sweep.text)


def test_a_long_text_keeps_its_values_and_comments():
    rows = "\n".join(f"[{index}, 0.50], # row {index}, é" for index in range(3000))
    targets = ", ".join("[1]" for _ in range(3000))
    text = changed(("[[0, 1], [1, 0]]", f"[\n{rows}\n]"), ("[[1], [0]]", f"[{targets}]"))
    sweep = loads(text, overrides=["steps=6"])
    assert sweep.text == text.replace("steps = 5", "steps = 6")
    assert len(sweep.data.x) == 3000


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("foo", "--set foo: is no override; write KEY=VALUE, such as learning_rate=0.1"),
        ("stpes=1", "--set stpes=1: unknown key (did you mean steps?)"),
        ("training.stpes=1", "--set training.stpes=1: unknown key (did you mean training.steps?)"),
        ("grid.stpes=[1]", "--set grid.stpes=[1]: unknown key (did you mean grid.steps?)"),
        ("data.steps=1", "--set data.steps=1: unknown key"),
        (
            "learning_rate_1=1",
            "--set learning_rate_1=1: learning_rate_1 can only be an axis; write grid.learning_rate_1",
        ),
        ("steps=x", '--set steps=x: training.steps: must be a whole number, not the text "x"'),
        ("steps=1\nname='b'", "--set steps=1"),
        ("name=../x", '--set name=../x: name: "../x" is not a plain file name'),
        (
            "grid.steps=[1, 1]",
            "--set grid.steps=[1, 1]: grid[0].steps[1]: names 1 twice; a value may stand once",
        ),
        (
            "sample=5",
            "--set sample=5: data.sample: sample 5 does not exist; there are 2 samples, counting from 0",
        ),
        (
            "layers=[2, 2, 1]",
            "--set layers=[2, 2, 1]: init.a.W1: has shape 2 x 1; layers [2, 2, 1] need shape 2 x 2",
        ),
    ],
)
def test_what_an_override_breaks_is_told_of_the_override(override, expected):
    assert problems(SMALL, override)[0].startswith(expected)


def test_problems_of_the_file_keep_its_lines_under_overrides():
    text = changed(
        ("steps = 5", "steps = -1"), more="[[grid]]\nbias = [true]\nlearning_rate = [1]\nsample = [4]\n"
    )
    assert problems(text, "learning_rate=x", "bar") == [
        "--set bar: is no override; write KEY=VALUE, such as learning_rate=0.1",
        '--set learning_rate=x: training.learning_rate: must be a number, not the text "x"',
        "f.toml:16: training.steps: must be a whole number of at least 0, not -1",
        "f.toml:20: grid[0].sample[0]: sample 4 does not exist; there are 2 samples, counting from 0",
    ]


# Round trips, fingerprints

numbers = st.floats(allow_nan=False, allow_infinity=False)
rates = st.floats(0, 1e9)


@st.composite
def sweep_texts(draw):
    """Write sweeps of any shape, their axes and their weights."""
    layers = draw(st.lists(st.integers(1, 3), min_size=2, max_size=4))
    n_samples = draw(st.integers(1, 3))

    def rows(n, m):
        return [[draw(numbers) for _ in range(m)] for _ in range(n)]

    def written(value):
        return repr(value).replace("True", "true").replace("False", "false").replace("'", '"')

    bias = draw(st.booleans())
    names = draw(st.lists(st.text('ab é."\\', min_size=1, max_size=4), min_size=1, max_size=3, unique=True))
    axes = {
        "init": st.sampled_from(names),
        "sample": st.integers(0, n_samples - 1),
        "learning_rate": rates
        | st.lists(rates, min_size=len(layers) - 1, max_size=len(layers) - 1).map(tuple),
        "learning_rate_1": rates,
        "steps": st.integers(0, 2**24),
        "activation": st.sampled_from(
            [name for name, entry in ACTIVATIONS.items() if len(layers) == 2 or not entry.over_layer]
        ),
        "optimizer": st.sampled_from(list(OPTIMIZERS)),
        "dtype": st.sampled_from(["float32", "float64"]),
        "target_loss": numbers,
    }
    lines = [f"name = {written(draw(st.from_regex('[A-Za-z0-9][A-Za-z0-9._-]{0,9}', fullmatch=True)))}"]
    lines.append(
        f"description = {json.dumps(draw(st.text(st.characters(codec='ascii'))))}".replace("\x7f", "\\u007F")
    )
    lines += [
        "[network]",
        f"layers = {layers}",
        f"bias = {written(bias)}",
        f"init = {json.dumps(names[0], ensure_ascii=False)}",
    ]
    for name in names:
        lines.append(f"[init.{json.dumps(name, ensure_ascii=False)}]")
        for key, shape in weight_shapes(layers, bias).items():
            lines.append(f"{key} = {rows(*shape) if len(shape) == 2 else rows(1, *shape)[0]}")
    lines += ["[data]", f"x = {rows(n_samples, layers[0])}", f"y = {rows(n_samples, layers[-1])}"]
    lines += ["[training]", f"learning_rate = {draw(rates)}", f"steps = {draw(st.integers(0, 9))}"]
    lines += ["[record]", f"history = {written(draw(st.booleans()))}"]
    for swept in draw(st.lists(st.lists(st.sampled_from(list(axes)), unique=True), max_size=3)):
        lines.append("[[grid]]")
        for name in swept:
            values = draw(st.lists(axes[name], min_size=1, max_size=3, unique=True))
            items = [list(item) if isinstance(item, tuple) else item for item in values]
            lines.append(f"{name} = {json.dumps(items, ensure_ascii=False)}")
    return "\n".join(lines)


@given(sweep_texts())
@settings(deadline=None, max_examples=60)
def test_a_written_sweep_loads_to_an_equal_one(text):
    sweep = loads(text)
    again = loads(dumps(sweep))
    assert again == sweep
    assert again.fingerprint() == sweep.fingerprint()
    assert hash(again) == hash(sweep)
    assert json.loads(json.dumps(sweep.canonical(), allow_nan=False))["name"] == sweep.name


SAME_MEANING = [
    ("learning_rate = 0.1", "learning_rate = 1e-1  # a comment"),
    ("[2, 1]", "[2, 1]\nbias = true"),
    ("[2, 1]", '[2, 1]\ninit = "a"'),
    ("b1 = [0]", "b1 = [0.0]"),
    ('"small"', '"small"\ndescription = "what it is for"'),
    ("steps = 5", "steps = 5\n[record]\ntrace = false"),
    ("steps = 5", "steps = 5\n[[grid]]"),
]
OTHER_MEANING = [
    ("learning_rate = 0.1", "learning_rate = 0.1000001"),
    ("learning_rate = 0.1", "learning_rate = [0.1]"),
    ("[2, 1]", "[2, 1]\noutput_activation = 'tanh'"),
    ('"small"', '"other"'),
    ("b1 = [0]", "b1 = [1]"),
    ("[[1], [0]]", "[[0], [1]]"),
    ("steps = 5", "steps = 5\n[record]\ntrace = true"),
    ("steps = 5", "steps = 5\n[[grid]]\nsteps = [5]"),
]


@pytest.mark.parametrize(("old", "new"), SAME_MEANING)
def test_the_fingerprint_overlooks_how_a_sweep_is_written(old, new):
    assert loads(changed((old, new))).fingerprint() == loads(SMALL).fingerprint()


@pytest.mark.parametrize(("old", "new"), OTHER_MEANING)
def test_the_fingerprint_tells_what_a_sweep_means(old, new):
    assert loads(changed((old, new))).fingerprint() != loads(SMALL).fingerprint()
    assert loads(changed((old, new))) != loads(SMALL)


def test_the_order_of_axes_numbers_the_runs_so_it_tells_sweeps_apart():
    one = loads(SMALL + "[[grid]]\nsteps = [1, 2]\nsample = [0, 1]\n")
    other = loads(SMALL + "[[grid]]\nsample = [0, 1]\nsteps = [1, 2]\n")
    assert one != other
    assert one.fingerprint() != other.fingerprint()


def test_ranges_and_replaced_values_mean_what_they_expand_to():
    one = loads(SMALL + "[[grid]]\nsteps = { arange = [1, 4, 1] }\n")
    other = loads(SMALL.replace("steps = 5\n", "") + "[[grid]]\nsteps = [1, 2, 3]\n")
    assert one.fingerprint() == other.fingerprint()


# Schema, starter, notebook


@pytest.mark.parametrize("text", [SMALL, starter(), NOTEBOOK.read_text(encoding="utf-8")])
def test_the_schema_accepts_what_loads(text):
    loads(text)
    jsonschema.Draft202012Validator.check_schema(schema())
    accepts = jsonschema.Draft202012Validator(schema()).is_valid
    assert accepts(tomllib.loads(text))
    assert not accepts({**tomllib.loads(text), "nmae": 1})
    assert not accepts({**tomllib.loads(text), "grid": [{"steps": []}]})
    assert not accepts({**tomllib.loads(text), "grid": [{"steps": {"linspace": [0, 1, 2]}}]})
    assert accepts({**tomllib.loads(text), "grid": [{"learning_rate_12": {"geomspace": [1, 2, 2]}}]})
    assert accepts({**tomllib.loads(text), "init": {"a": {"file": "weights.npz"}}})
    assert not accepts({**tomllib.loads(text), "init": {"a": {"file": "weights.npz", "b1": [0]}}})


def test_the_schema_names_and_describes_every_key():
    rule = schema()
    json.dumps(rule)
    sweep = loads(SMALL)
    assert set(rule["properties"]) == set(type(sweep).model_fields) - {"text"} | {"random"}
    for section in ("network", "data", "training", "record"):
        assert set(rule["properties"][section]["properties"]) == set(
            type(getattr(sweep, section)).model_fields
        )
    grid = rule["properties"]["grid"]["items"]
    assert set(grid["properties"]) == {"zip", "repeats", *PARAMETERS}
    random = rule["properties"]["random"]
    assert set(random["properties"]) == {"samples", "method", *PARAMETERS}  # its seed is that of the points
    keys = [*rule["properties"].values(), *grid["properties"].values(), *grid["patternProperties"].values()]
    keys += [key for table in rule["properties"].values() for key in table.get("properties", {}).values()]
    assert all(key["description"] for key in keys)
    assert rule["properties"]["network"]["properties"]["activation"]["anyOf"][0]["enum"] == list(ACTIVATIONS)


def test_the_starter_is_a_sweep_with_the_schema_on_its_first_line():
    assert starter().startswith("#:schema ./fastbp.schema.json\n")
    assert max(map(len, starter().splitlines())) < 100
    sweep = loads(starter())
    rates = sweep.grid[0].axes["learning_rate"].values
    assert np.allclose(np.diff(np.log(rates)), math.log(rates[1] / rates[0]))
    assert sweep.record.history_log == 50
    assert sweep.base()["activation"] == "tanh"


def test_the_notebook_is_the_seven_experiments():
    sweep = load(NOTEBOOK)
    combinations = [[len(item.values) for item in grid.axes.values()] for grid in sweep.grid]
    assert sum(math.prod(counts) for counts in combinations) == 7
    assert sweep.record.trace is True
    assert sweep.base()["steps"] == 3
    assert sweep.init["tasks"]["W1"] == ((0.1, 0.3), (-0.4, 0.2))
    assert sweep.data.x[1:] == ((1.2, 0.0), (-1.2, -1.0), (1.2, 0.0))


def test_a_sweep_without_errors_loads_neither_tomlkit_nor_tree_sitter():
    code = (
        "import sys, fastbp.sweep as sweep\n"
        f"sweep.load({str(NOTEBOOK)!r})\n"
        "assert not {'tomlkit', 'tree_sitter'} & set(sys.modules), sorted(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_large_data_is_read_in_a_moment():
    n = 20_000
    text = changed(
        ("[[0, 1], [1, 0]]", "[" + "[0.125, 2]," * n + "]"),
        ("[[1], [0]]", "[" + "[1]," * n + "]"),
        text=SMALL,
    )
    sweep = loads(text)
    assert len(sweep.data.x) == n
    assert sweep.data.x[-1] == (0.125, 2.0)


def test_a_problem_reads_as_one_line():
    assert str(Problem("f.toml", 3, "training.steps", "is wrong")) == "f.toml:3: training.steps: is wrong"
    assert str(Problem("f.toml", None, "", "is wrong")) == "f.toml: is wrong"


@pytest.mark.parametrize("written", ["steps=1 # c", "x=" + "[" * 150 + "]" * 150])
def test_an_override_that_only_tomllib_reads(written):
    if written.startswith("steps"):
        sweep = loads(SMALL, overrides=[written])
        assert sweep.training.steps == 1
        assert loads(sweep.text) == sweep
    else:
        (problem,) = problems(SMALL, written)
        assert problem.startswith("--set x=[[")


def test_an_override_that_is_not_utf_8():
    (problem,) = problems(SMALL, "description=\udcff")
    assert "is not UTF-8" in problem


def test_of_very_many_problems_the_first_hundred_are_told():
    found = problems(SMALL + "".join(f"key_{k} = 1\n" for k in range(5000)))
    assert len(found) == 101
    assert found[-1] == "f.toml: and 4900 more problems; mend these first"


def test_all_wrong_parts_of_one_value_are_told():
    text = changed(
        ("layers = [2, 1]", "layers = [0, -1]"),
        ("x = [[0, 1], [1, 0]]", "x = [[nan, 1], [inf, true], [1]]"),
        ("W1 = [[0.5], [0.25]]", "W1 = [[nan], [inf]]"),
        ("learning_rate = 0.1", "learning_rate = [-1, nan]"),
        more="[[grid]]\nlayers = [[1, 0], [2, -2]]\n",
    )
    keys = [problem.split(": ")[1] for problem in problems(text)]
    assert [key for key in keys if key.startswith("network.layers")] == [
        "network.layers[0]",
        "network.layers[1]",
    ]
    assert [key for key in keys if key.startswith("init")] == ["init.a.W1[0][0]", "init.a.W1[1][0]"]
    assert [key for key in keys if key.startswith("data.x")] == [
        "data.x[0][0]",
        "data.x[1][0]",
        "data.x[1][1]",
    ]
    rates = [key for key in keys if key.startswith("training.learning_rate")]
    assert rates == ["training.learning_rate[0]", "training.learning_rate[1]"]
    assert [key for key in keys if key.startswith("grid")] == ["grid[0].layers[0][1]", "grid[0].layers[1][1]"]
