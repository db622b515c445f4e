"""The table [random]: points, their distributions, and what is wrong with a bad one."""

import itertools
import math
import sys
import time
import tomllib
import tracemalloc

import jsonschema
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sweep import DRAWN, SMALL, problems

import fastbp
from fastbp.kernels.initializers import INITIALIZERS
from fastbp.plan import Plan
from fastbp.sweep import dumps, loads, schema
from fastbp.sweep.random import DISTRIBUTIONS, METHODS, OPTIONS

FREE, FREE_DRAWN = (text.replace("learning_rate = 0.1\n", "") for text in (SMALL, DRAWN))
RANDOM = """\
[random]
samples = 4
seed = 3
learning_rate = { loguniform = [0.01, 1] }
steps = { integers = [1, 100] }
"""


def random(lines, samples=1000, text=FREE):
    return loads(f"{text}[random]\nsamples = {samples}\n{lines}\n")


def drawn(lines, name="learning_rate", samples=1000, text=FREE):
    return random(lines, samples, text).grid[0].axes[name].values


# Points and runs


def test_without_a_grid_the_points_are_the_runs():
    sweep = loads(FREE + RANDOM)
    (grid,) = sweep.grid
    assert list(grid.axes) == ["learning_rate", "steps"]
    assert grid.together == (("learning_rate", "steps"),)
    plan = Plan(sweep)
    assert plan.n_runs == 4
    assert [plan.parameters(run)["steps"] for run in range(4)] == list(grid.axes["steps"].values)
    assert all(type(value) is int for value in grid.axes["steps"].values)


def test_every_grid_is_run_at_each_point_and_the_points_vary_slowest():
    text = (
        FREE_DRAWN + RANDOM + '[[grid]]\nbias = [true]\nloss = ["mse", "half_sse"]\n[[grid]]\nrepeats = 3\n'
    )
    text = text.replace("[network]", "[network]\nseed = 0")
    sweep = loads(text)
    points = list(zip(*(sweep.grid[0].axes[name].values for name in ("learning_rate", "steps")), strict=True))
    plan = Plan(sweep)
    assert plan.n_runs == 4 * 2 + 4 * 3 - 4  # seed 0 with mse is in both
    found = [
        tuple(plan.parameters(run)[name] for name in ("learning_rate", "steps", "loss", "seed"))
        for run in range(20)
    ]
    first = [(*point, loss, 0) for point in points for loss in ("mse", "half_sse")]
    assert found == first + [(*point, "mse", seed) for point in points for seed in range(3)]


def test_more_samples_go_on_where_fewer_end():
    few, more = (loads(FREE + RANDOM, overrides=[f"random.samples={n}"]).grid[0].axes for n in (4, 9))
    for name, axis in few.items():
        assert more[name].values[:4] == axis.values
        assert len(more[name].values) == 9


def test_the_uniform_points_are_those_of_philox():
    values = drawn(
        "seed = 11\nlearning_rate = { uniform = [0, 1] }\ntarget_loss = { uniform = [0, 1] }", samples=3
    )
    raw = np.random.Philox(key=11).random_raw(6).tolist()
    assert values == tuple((number >> 11) * 2.0**-53 for number in raw[::2])


def test_the_seed_of_the_points_is_not_that_of_the_weights():
    sweep = loads(FREE_DRAWN + RANDOM)
    assert sweep.base()["seed"] is None
    assert loads(FREE_DRAWN + RANDOM, overrides=["random.seed=4"]) != sweep
    assert loads(FREE_DRAWN + RANDOM, overrides=["seed=4"]).grid == sweep.grid


def test_a_point_that_is_drawn_twice_is_kept_once():
    sweep = random("loss = { choice = ['mse', 'half_sse'] }\nlearning_rate = { choice = [1, 2, 3] }")
    assert Plan(sweep).n_runs == 6
    assert loads(dumps(sweep)) == sweep
    assert sorted(drawn("learning_rate = { choice = [1, 2, 3] }")) == [1, 2, 3]


# Distributions


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("rule", "distribution"),
    [
        ("uniform = [-1, 3]", scipy.stats.uniform(-1, 4)),
        ("loguniform = [0.01, 100]", scipy.stats.loguniform(0.01, 100)),
        ("normal = [1.5, 0.25]", scipy.stats.norm(1.5, 0.25)),
    ],
)
def test_values_are_spread_as_their_distribution_says(rule, distribution, method):
    values = drawn(
        f"method = '{method}'\nseed = 5\ntarget_loss = {{ {rule} }}", "target_loss", samples=3000, text=SMALL
    )
    assert len(values) == 3000
    assert all(type(value) is float for value in values)
    # The methods of SciPy fill the interval more evenly than chance does.
    far = 1.95 / math.sqrt(3000) if method == "uniform" else 3 / 3000
    assert scipy.stats.kstest(values, distribution.cdf).statistic < far


@pytest.mark.parametrize("method", METHODS)
def test_whole_numbers_and_choices_are_even(method):
    lines = (
        f"method = '{method}'\nsteps = {{ integers = [3, 8] }}\nloss = {{ choice = ['mse', 'half_sse'] }}\n"
    )
    axes = random(f"{lines}learning_rate = {{ uniform = [0, 1] }}", samples=2000).grid[0].axes
    for name, values in (("steps", range(3, 8)), ("loss", ["mse", "half_sse"])):
        counts = [axes[name].values.count(value) for value in values]
        assert sum(counts) == 2000
        assert max(abs(count - 2000 / len(values)) for count in counts) < 120


@pytest.mark.parametrize("rule", ["uniform", "loguniform"])
@given(st.floats(1e-300, 1e300), st.integers(1, 3))
@settings(deadline=None, max_examples=30)
def test_the_end_is_left_out_even_of_the_narrowest_interval(rule, low, ulps):
    high = low
    for _ in range(ulps):
        high = math.nextafter(high, math.inf)
    values = drawn(f"target_loss = {{ {rule} = [{low!r}, {high!r}] }}", "target_loss", 50, SMALL)
    assert all(low <= value < high for value in values)


def test_extreme_numbers_of_the_unit_interval_have_values():
    units = np.array([0.0, 1 - 2.0**-53])
    for rule, numbers in (
        ("normal", [0, 1]),
        ("uniform", [1, 2]),
        ("loguniform", [1, 2]),
        ("integers", [0, 9]),
    ):
        name = "steps" if rule == "integers" else "target_loss"
        values = DISTRIBUTIONS[rule].read(fastbp.sweep.parameter(name), numbers)(units)
        assert all(map(math.isfinite, values))
        assert rule == "normal" or (values[0] == numbers[0] and values[1] < numbers[1])


@pytest.mark.parametrize("method", ["sobol", "latin_hypercube"])
def test_the_methods_of_scipy_fill_the_square_and_can_be_drawn_again(method):
    lines = (
        f"method = '{method}'\nlearning_rate = {{ uniform = [0, 1] }}\ntarget_loss = {{ uniform = [0, 1] }}"
    )
    sweep = random(lines, samples=64)
    assert random(lines, samples=64) == sweep
    assert random(f"seed = 1\n{lines}", samples=64) != sweep
    for name in ("learning_rate", "target_loss"):
        assert sorted(int(value * 64) for value in sweep.grid[0].axes[name].values) == list(range(64))


def test_scipy_is_needed_only_by_its_methods(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    loads(FREE + RANDOM)
    assert problems(FREE + RANDOM + 'method = "sobol"\n') == [
        "f.toml:21: random.method: sobol needs SciPy; pip install 'fastbp[random]', or take the method uniform"
    ]


# What the sweep keeps


@pytest.mark.parametrize("method", METHODS)
def test_points_are_written_out_and_the_fingerprint_is_theirs(method):
    text = (
        FREE_DRAWN
        + RANDOM
        + f'method = "{method}"\n[[grid]]\nseed = [1, 2]\n[[grid]]\nzip = ["seed", "bias"]\n'
    )
    sweep = loads(text + "seed = [1, 2]\nbias = [true, true]\n")
    again = loads(dumps(sweep))
    assert again == sweep
    assert again.fingerprint() == sweep.fingerprint()
    assert "random" not in tomllib.loads(dumps(sweep))
    # What another version of SciPy might draw otherwise is kept as it was drawn.
    assert ("random" in tomllib.loads(sweep.text)) == (method == "uniform")
    assert loads(sweep.text) == sweep


def test_the_fingerprint_tells_points_apart_but_not_how_they_are_written():
    sweep = loads(FREE + RANDOM)
    same = FREE + RANDOM.replace("[0.01, 1]", "[1e-2, 1.0]").replace(
        "seed = 3", 'method = "uniform"\nseed = 3'
    )
    assert loads(same).fingerprint() == sweep.fingerprint()
    for old, new in (("seed = 3", "seed = 4"), ("samples = 4", "samples = 5"), ("100]", "101]")):
        assert loads(FREE + RANDOM.replace(old, new)).fingerprint() != sweep.fingerprint()


def test_points_are_trained(tmp_path):
    sweep = loads(FREE + RANDOM + "[[grid]]\nbias = [true]\n")
    runs = fastbp.run(sweep, out=tmp_path / "out").runs().to_pandas().sort_values("run")
    assert list(runs["learning_rate"]) == list(sweep.grid[0].axes["learning_rate"].values)
    assert set(runs["steps"]) <= set(range(1, 100))
    assert loads((tmp_path / "out" / "sweep.toml").read_text()) == sweep


# Overrides


@pytest.mark.parametrize(
    ("override", "names", "n_runs"),
    [
        ("learning_rate=0.5", ["steps", "bias"], 4),
        ("random.samples=7", ["learning_rate", "steps", "bias"], 7),
        ("random.learning_rate={ uniform = [0, 1] }", ["learning_rate", "steps", "bias"], 4),
        ("random.target_loss={ normal = [0, 1] }", ["learning_rate", "steps", "target_loss", "bias"], 4),
        ("grid.steps=[1, 2]", ["learning_rate", "bias", "steps"], 8),
    ],
)
def test_overrides(override, names, n_runs):
    sweep = loads(FREE + RANDOM + "# kept\n[[grid]]\nbias = [true]\n", overrides=[override])
    assert list(sweep.grid[0].axes) == names
    assert Plan(sweep).n_runs == n_runs
    assert loads(sweep.text) == sweep
    assert "# kept" in sweep.text


def test_overrides_that_leave_nothing_to_draw():
    sweep = loads(FREE + RANDOM, overrides=["learning_rate=0.5", "steps=3"])
    assert sweep.grid == ()
    assert "[random]" not in sweep.text


def test_an_override_draws_what_was_an_axis():
    sweep = loads(
        DRAWN + "[[grid]]\nlearning_rate = [1, 2]\nseed = [3]\n",
        overrides=["random.learning_rate={ uniform = [0, 1] }", "random.samples=5"],
    )
    assert list(sweep.grid[0].axes) == ["learning_rate", "seed"]
    assert Plan(sweep).n_runs == 5
    (problem,) = problems(SMALL, "random.learning_rate={ unifrom = [0, 1] }", "random.samples=5")
    assert problem.startswith(
        "--set random.learning_rate={ unifrom = [0, 1] }: random.learning_rate.unifrom: "
    )
    (problem,) = problems(SMALL, "random.stpes=1")
    assert problem == "--set random.stpes=1: unknown key (did you mean random.steps?)"


# What is wrong with a bad one

WRONG = [
    (
        "samples = 4\n",
        "",
        "random.samples",
        15,
        "is missing; say how many points to draw, such as samples = 100",
    ),
    ("= 4", "= 0", "random.samples", 16, "must be a whole number of at least 1, not 0"),
    ("= 4", "= 10000001", "random.samples", 16, "asks for 10000001 values; use at most 10000000"),
    ("seed = 3", "seed = -1", "random.seed", 17, "must be a whole number of at least 0, not -1"),
    (
        "seed = 3",
        'method = "sobel"',
        "random.method",
        17,
        'unknown method "sobel" (did you mean sobol?); known: uniform, sobol, latin_hypercube',
    ),
    ("steps =", "stpes =", "random.stpes", 19, "unknown parameter (did you mean steps?)"),
    ("seed = 3", "sampels = 3", "random.sampels", 17, "unknown parameter (did you mean samples?)"),
    (
        "{ integers = [1, 100] }",
        "[1, 2]",
        "random.steps",
        19,
        "must be a distribution, such as { integers = [least, end (left out)] }, not a list; to give all runs one",
    ),
    (
        "{ integers = [1, 100] }",
        "{}",
        "random.steps",
        19,
        "must hold exactly one of uniform, loguniform, normal",
    ),
    (
        "integers",
        "integer",
        "random.steps.integer",
        19,
        "must hold exactly one of uniform, loguniform, normal, integers, choice; integer is unknown (did you me",
    ),
    ("integers", "uniform", "random.steps.uniform", 19, "cannot be drawn by uniform; use integers or choice"),
    (
        "loguniform",
        "integers",
        "random.learning_rate.integers",
        18,
        "cannot be drawn by integers; use uniform or log",
    ),
    ("[1, 100]", "[1]", "random.steps.integers", 19, "takes two numbers: [least, end (left out)]"),
    ("[1, 100]", "[1, 2.5]", "random.steps.integers[1]", 19, "must be a whole number, not 2.5"),
    (
        "[1, 100]",
        "[5, 5]",
        "random.steps.integers",
        19,
        "must rise from its first number to its second, not from 5",
    ),
    ("[1, 100]", "[-1, 5]", "random.steps.integers[0]", 19, "must be a whole number of at least 0, not -1"),
    (
        "[1, 100]",
        "[1, 99999999]",
        "random.steps.integers[1]",
        19,
        "must be a whole number of at most 16777216, not",
    ),
    (
        "[0.01, 1]",
        "[0, 1]",
        "random.learning_rate.loguniform[0]",
        18,
        "must be more than 0 for loguniform, not 0",
    ),
    ("[0.01, 1]", "[1, nan]", "random.learning_rate.loguniform[1]", 18, "must be a finite number, not nan"),
    (
        "loguniform = [0.01",
        "uniform = [-1",
        "random.learning_rate.uniform[0]",
        18,
        "must be at least 0, not -1.0",
    ),
    (
        "loguniform = [0.01, 1]",
        "normal = [0, 1]",
        "random.learning_rate.normal",
        18,
        "must be at least 0, not -",
    ),
    (
        "loguniform = [0.01, 1]",
        "normal = [1, 0]",
        "random.learning_rate.normal[1]",
        18,
        "must be more than 0, not 0.0",
    ),
    (
        "loguniform = [0.01, 1]",
        "choice = [1, -1]",
        "random.learning_rate.choice[1]",
        18,
        "must be at least 0, not -1",
    ),
    (
        "loguniform = [0.01, 1]",
        "choice = []",
        "random.learning_rate.choice",
        18,
        "must be a list of values to choose",
    ),
    (
        "loguniform = [0.01, 1]",
        "choice = [1, 1]",
        "random.learning_rate.choice[1]",
        18,
        "names 1.0 twice; a value may",
    ),
    (
        "learning_rate = {",
        "target_loss = { uniform = [-1e308, 1e308] }\nlearning_rate = {",
        "random.target_loss.uniform",
        18,
        "spans more than a float64 can hold",
    ),
    (
        "loguniform = [0.01, 1]",
        "choice = [1, [1, 2]]",
        "random.learning_rate.choice[1]",
        18,
        "has 2 learning rates but layers [2, 1] have 1 layers of weights; give one for each",
    ),
    (
        "steps = {",
        "learning_rate_2 = { uniform = [0, 1] }\nsteps = {",
        "random.learning_rate_2",
        19,
        "there is no layer 2; layers [2, 1] have 1 layers of weights",
    ),
]


@pytest.mark.parametrize(("old", "new", "key", "line", "message"), WRONG)
def test_a_wrong_value_is_named_with_its_line_and_key(old, new, key, line, message):
    assert RANDOM.count(old) == 1
    text = FREE.replace("steps = 5\n", "") + RANDOM.replace(old, new)
    found = problems(text)
    assert found[-1].startswith(f"f.toml:{line}: {key}: {message}")
    # What would have been drawn is not said to be missing, but where its name is not understood.
    assert len(found) == 1 or "stpes" in new


def test_all_problems_are_told_at_once():
    text = (
        SMALL
        + "[random]\nsamples = 0\nmethod = 'x'\nsteps = 3\nlearning_rate = { uniform = [2, 1] }\nfoo = 1\n"
    )
    keys = [problem.split(": ")[1] for problem in problems(text)]
    assert keys == [
        "random.samples",
        "random.method",
        "random.steps",
        "random.learning_rate.uniform",
        "random.foo",
    ]


def test_tables_that_draw_nothing():
    assert problems(SMALL + "[random]\nsamples = 3\n") == [
        "f.toml:17: random: draws no parameter; add one, such as learning_rate = { loguniform = [0.01, 1] }"
    ]
    assert problems("random = 3\n" + SMALL) == ["f.toml:1: random: must be a table [random], not 3"]


def test_a_parameter_is_drawn_or_an_axis():
    text = DRAWN + "[[grid]]\nsteps = [1, 2]\nseed = [1, 2]\nzip = ['steps', 'seed']\n"
    assert problems(text + RANDOM) == [
        "f.toml:14: grid[0].steps: is drawn in [random] as well; remove one of the two"
    ]


def test_drawn_values_have_to_fit_the_rest():
    text = (
        FREE
        + RANDOM.replace("= 4", "= 40")
        + "layers = { choice = [[2, 1], [3, 1]] }\ninit = { choice = ['a', 'b'] }\n"
    )
    assert problems(text) == [
        "f.toml:7: init.a.W1: has shape 2 x 1; layers [3, 1] need shape 3 x 1",
        "f.toml:21: random.layers.choice[1]: layers [3, 1] begin with 3 but data.x has 2 columns; make them equal",
        'f.toml:22: random.init.choice[1]: unknown init "b"; known: a, ' + ", ".join(INITIALIZERS),
    ]


def test_conditional_parameters_of_points():
    lines = "optimizer = { choice = ['sgd', 'momentum'] }\nmomentum = { uniform = [0, 1] }\n"
    plan = Plan(random(lines, samples=50, text=SMALL))
    found = [plan.parameters(run) for run in range(50)]
    n_heavy = sum(values["optimizer"] == "momentum" for values in found)
    assert 5 < n_heavy < 45
    assert plan.n_runs == n_heavy + 1  # without momentum all points are one run
    assert all((values["momentum"] is None) == (values["optimizer"] == "sgd") for values in found)
    grids = '[[grid]]\noptimizer = ["nesterov"]\n[[grid]]\noptimizer = ["sgd"]\n'
    only = f"[random]\nsamples = 9\nmomentum = {{ uniform = [0, 1] }}\n{grids}"
    assert Plan(loads(SMALL + only)).n_runs == 9 + 1
    (problem,) = problems(SMALL + only.replace("nesterov", "adam"))
    assert problem.startswith('f.toml:19: random.momentum: optimizer "adam", "sgd" has no momentum;')


def test_the_schema_knows_points():
    accepts = jsonschema.Draft202012Validator(schema()).is_valid
    raw = tomllib.loads(FREE + RANDOM)
    assert accepts(raw)
    assert not accepts(raw | {"random": {"steps": {"integers": [1, 2]}}})
    for wrong in (
        {"steps": {"uniform": [1, 2]}},
        {"sampels": 3},
        {"method": "x"},
        {"loss": {"choice": ["x"]}},
    ):
        assert not accepts(raw | {"random": raw["random"] | wrong})
    properties = schema()["properties"]["random"]["properties"]
    assert set(OPTIONS) <= set(properties)
    assert all(item["description"] for item in properties.values())


# Size


def test_a_million_points_are_planned_in_seconds():
    lines = "learning_rate = { loguniform = [0.01, 1] }\n"
    lines += "scale = { normal = [1, 0.1] }\nsteps = { integers = [1, 9] }"
    start = time.perf_counter()
    sweep = random(lines, samples=10**6)
    plan = Plan(sweep)
    assert plan.n_runs == 10**6
    assert time.perf_counter() - start < 20  # some 5 on an idle processor
    shards = plan.shards()
    tracemalloc.start()
    try:
        ids, _ = plan.runs(next(itertools.islice(shards, 3, None)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 30e6
    assert plan.find(plan.parameters(int(ids[-1]))) == ids[-1]
