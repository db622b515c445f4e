import itertools
from pathlib import Path

import numpy as np
import pytest
from numba.core import config

from fastbp import check as check_module
from fastbp.check import BOUND, PLACES_A_MATRIX, RUNS_A_GROUP, Comparison, check
from fastbp.kernels import cpu
from fastbp.sweep import load, loads

NOTEBOOK = Path(__file__).parents[1] / "sweeps" / "notebook.toml"
ONE_UNIT = """\
name = "one"

[network]
layers = [1, 1, 1]
hidden_activation = "relu"
output_activation = "identity"
init = "a"

[init.a]
W1 = [[0.5]]
b1 = [0.1]
W2 = [[0.8]]
b2 = [0.3]

[data]
x = [[1.0]]
y = [[2.0]]

[training]
learning_rate = 0.1
steps = 0
"""

if config.DISABLE_JIT:  # NumPy warns of overflow and 0 / 0, compiled code does not
    pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def by_name(comparisons):
    return {comparison.parameter: comparison for comparison in comparisons}


def spoil(monkeypatch, change):
    """Have `change` done to the recorded gradients, (blocks, steps * n_parameters, width), of every batch."""
    train_batch, spoiled = cpu.train_batch, []

    def train_badly(batch, *arguments, **options):
        train_batch(batch, *arguments, **options)
        if batch.trace["g"].size:
            change(batch.trace["g"])
            spoiled.append(batch)

    monkeypatch.setattr(cpu, "train_batch", train_badly)
    return spoiled


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_notebook_passes(dtype):
    comparisons = check(load(NOTEBOOK, [f"dtype={dtype}"]))
    assert [(c.parameter, c.dtype) for c in comparisons] == [
        (name, dtype) for name in ("W1", "b1", "W2", "b2")
    ]
    assert [c.n_compared for c in comparisons] == [28, 14, 28, 14]
    assert all(c.passed for c in comparisons)
    assert all(0 < c.error <= BOUND[dtype] for c in comparisons)
    assert not any(c.n_left_out for c in comparisons)


@pytest.mark.parametrize(
    "overrides",
    [
        ["loss=half_sse"],
        ["activation=tanh"],
        ["activation=identity", "bias=false"],
        ["hidden_activation=relu"],
        ["steps=0"],
        ['grid.dtype=["float64", "float32"]'],
    ],
    ids=" ".join,
)
def test_variants_of_the_notebook_pass(overrides):
    text = NOTEBOOK.read_text()
    if "bias=false" in overrides:
        text = "\n".join(line for line in text.splitlines() if not line.startswith("b"))
    comparisons = check(loads(text, overrides=overrides))
    assert all(c.passed for c in comparisons)
    assert all(c.n_compared for c in comparisons)
    biases = [] if "bias=false" in overrides else ["b1", "b2"]
    assert {c.parameter for c in comparisons} == {"W1", "W2", *biases}
    assert {c.dtype for c in comparisons} == {"float64"} | (
        {"float32"} if "float32" in overrides[0] else set()
    )


def scale(g):
    g *= 1 + 1e-5


def flip(g):
    g *= -1


def vanish(g):
    g[:] = 0


def shift_one(g):
    g[0, 0, 0] += 0.01


def become_nan(g):
    g[:] = np.nan


def become_infinite(g):
    g[:] = np.inf


@pytest.mark.parametrize("change", [scale, flip, vanish, become_nan, become_infinite])
def test_wrong_gradients_fail(monkeypatch, change):
    spoiled = spoil(monkeypatch, change)
    comparisons = check(load(NOTEBOOK))
    assert spoiled
    assert [c.passed for c in comparisons] == [False] * 4


def test_one_wrong_gradient_fails(monkeypatch):
    spoil(monkeypatch, shift_one)  # of W1[0, 0] of the first run
    assert [c.passed for c in check(load(NOTEBOOK))] == [False, True, True, True]


def test_one_gradient_that_is_not_a_number_fails(monkeypatch):
    def change(g):
        g[0, 4, 0] = np.nan  # b1[0]

    spoil(monkeypatch, change)
    assert [c.passed for c in check(load(NOTEBOOK))] == [True, False, True, True]


def test_an_error_below_the_bound_passes(monkeypatch):
    def change(g):
        g *= 1 + 1e-8

    spoil(monkeypatch, change)
    comparisons = check(load(NOTEBOOK))
    assert all(c.passed for c in comparisons)
    assert all(c.error > 0.5e-8 for c in comparisons)


@pytest.mark.parametrize("wrong", [0, 1])
def test_the_worst_of_all_groups_is_told(monkeypatch, wrong):
    groups = itertools.count()

    def change(g):
        if next(groups) == wrong:
            g *= 1.5

    spoil(monkeypatch, change)
    comparisons = check(load(NOTEBOOK, ['grid.loss=["mse", "half_sse"]']))
    assert next(groups) == 2
    assert [c.passed for c in comparisons] == [False] * 4
    assert all(c.error == pytest.approx(1 / 3, rel=1e-3) for c in comparisons)
    assert [c.n_compared for c in comparisons] == [56, 28, 56, 28]


@pytest.mark.parametrize(("error", "dtype", "passed"), [
    (0.0, "float64", True), (1e-6, "float64", True), (1.1e-6, "float64", False), (1e-4, "float32", True),
    (1.1e-3, "float32", False), (float("nan"), "float64", False), (float("inf"), "float32", False),
])  # fmt: skip
def test_a_comparison_passes_within_the_bound_of_its_dtype(error, dtype, passed):
    assert Comparison("W1", dtype, error, 1, 0).passed is passed


# What is left out.

AT_THE_KINK = ONE_UNIT.replace("[[0.5]]", "[[0.00001]]").replace("[0.1]", "[0]")


def test_relu_away_from_its_kink_is_compared():
    assert all((c.passed, c.n_compared, c.n_left_out) == (True, 1, 0) for c in check(loads(ONE_UNIT)))
    below = check(loads(ONE_UNIT.replace("[[0.5]]", "[[-0.5]]")))  # the unit is off, its gradients are 0
    assert all((c.passed, c.n_compared) == (True, 1) for c in below)


def test_kinks_of_relu_are_left_out():
    found = by_name(check(loads(AT_THE_KINK)))
    assert all(c.passed for c in found.values())
    # W1 and b1 move the net input over 0, W2 and b2 do not.
    assert {name: (c.n_compared, c.n_left_out) for name, c in found.items()} == {
        "W1": (0, 1),
        "b1": (0, 1),
        "W2": (1, 0),
        "b2": (1, 0),
    }


def test_kinks_would_be_reported_if_they_were_not_left_out(monkeypatch):
    monkeypatch.setattr(check_module, "KINK", np.inf)
    monkeypatch.setattr(check_module, "ROUGH", np.inf)
    found = by_name(check(loads(AT_THE_KINK)))
    assert [found[name].passed for name in ("W1", "b1", "W2", "b2")] == [False, False, True, True]


def test_a_wrong_slope_beside_a_kink_is_reported(monkeypatch):
    def change(g):
        g *= 1.01

    spoil(monkeypatch, change)
    found = by_name(check(loads(AT_THE_KINK)))
    assert not found["W2"].passed
    assert not found["b2"].passed


def test_no_place_is_left_out_without_relu():
    found = check(loads(AT_THE_KINK.replace('"relu"', '"tanh"')))
    assert not any(c.n_left_out for c in found)
    assert all(c.passed for c in found)


def test_a_smooth_place_is_compared_however_sharply_it_bends():
    # At the least loss the slopes to the left and to the right are opposite.
    text = """
name = "least"
network = { layers = [1, 1], activation = "identity" }
init.a = { W1 = [[1]], b1 = [0] }
data = { x = [[1], [1]], y = [[0], [2]] }
training = { learning_rate = 1, steps = 1 }
"""
    assert all((c.passed, c.n_compared, c.n_left_out) == (True, 1, 0) for c in check(loads(text)))


HUGE = """
[init.huge]
W1 = [[1e200]]
b1 = [0]
W2 = [[1e200]]
b2 = [0]
"""


def test_a_start_that_diverges_is_left_out():
    text = ONE_UNIT.replace('"relu"', '"identity"').replace("\n[data]", HUGE + "\n[data]")
    alone = check(loads(text, overrides=["init=huge"]))
    assert all((c.n_compared, c.n_left_out) == (0, 1) for c in alone)
    beside = check(loads(text + '[[grid]]\ninit = ["huge", "a"]\n'))
    assert all((c.passed, c.n_compared, c.n_left_out) == (True, 1, 1) for c in beside)


# What is compared.


def test_runs_are_spread_over_the_group(monkeypatch):
    weights = []
    train_batch = cpu.train_batch

    def see(batch, *arguments, **options):
        train_batch(batch, *arguments, **options)
        if batch.trace["g"].size:
            weights.append(batch.n_runs)

    monkeypatch.setattr(cpu, "train_batch", see)
    text = ONE_UNIT + "[[grid]]\nlearning_rate = { arange = [0, 1000, 1] }\n"
    found = check(loads(text))
    assert weights == [RUNS_A_GROUP]
    assert all(c.n_compared == RUNS_A_GROUP for c in found)


def test_the_last_run_of_a_group_is_compared():
    # Only the last of 100 samples has its kink where the weights are.
    x = [[10.0]] * 99 + [[0.00001]]
    text = ONE_UNIT.replace("[0.1]", "[0]").replace("[[1.0]]", str(x)).replace("[[2.0]]", str([[2.0]] * 100))
    found = by_name(check(loads(text + "[[grid]]\nsample = { arange = [0, 100, 1] }\n")))
    assert found["b1"].n_left_out == 1
    assert found["b1"].n_compared == RUNS_A_GROUP - 1


def test_places_of_a_large_matrix_are_spread():
    random = np.random.default_rng(0)
    values = {
        "W1": random.normal(size=(12, 10)),
        "b1": random.normal(size=10),
        "W2": random.normal(size=(10, 1)),
    }
    lines = [f"{name} = {array.tolist()}" for name, array in values.items()]
    text = f"""
name = "large"
[network]
layers = [12, 10, 1]
activation = "tanh"
[init.a]
{chr(10).join(lines)}
b2 = [0.5]
[data]
x = {random.normal(size=(2, 12)).tolist()}
y = [[0.5], [-0.5]]
[training]
learning_rate = 0.1
steps = 1
"""
    found = by_name(check(loads(text)))
    assert all(c.passed for c in found.values())
    assert {name: c.n_compared for name, c in found.items()} == {
        "W1": PLACES_A_MATRIX,
        "b1": 10,
        "W2": 10,
        "b2": 1,
    }


def test_few_numbers_at_once_bound_what_is_compared(monkeypatch):
    monkeypatch.setattr(check_module, "NUMBERS", 1)
    found = check(load(NOTEBOOK))
    assert [c.n_compared for c in found] == [1] * 4
    assert all(c.passed for c in found)
