"""Grids whose axes advance together, and parameters that only some runs have, against a naive enumeration."""

import itertools
import json
import pickle
import time
import tracemalloc
from unittest import mock

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_plan import FIXED as PLAIN
from test_plan import TEXT as PLAIN_TEXT
from test_plan import hashable
from test_sweep import DRAWN, SMALL, problems

from fastbp import plan as plan_module
from fastbp.plan import Plan
from fastbp.sweep import SweepError, dumps, loads
from fastbp.sweep.needs import deciders
from fastbp.sweep.parameters import PARAMETERS
from fastbp.sweep.sections import SECTIONS
from fastbp.tables import axis_column

TEXT = PLAIN_TEXT + 'batch_size = 2\nbatch_order = "in_order"\n'
FIXED = PLAIN | {"batch_size": 2, "batch_order": "in_order"}
VALUES = {
    "optimizer": ["sgd", "momentum", "nesterov", "rmsprop"],
    "activation": ["tanh", "leaky_relu", "sigmoid"],
    "hidden_activation": ["leaky_relu", "identity"],
    "batch_order": ["in_order", "shuffled"],
    "init": ["a", "b", "constant", "normal"],
    "learning_rate": [0.5, 0.25, 0.125],
    "steps": [2, 1],
    "target_loss": [0.0, 1.0, 2.0],
    "momentum": [0.5, 0.9],
    "rho": [0.8, 0.9],
    "negative_slope": [0.0, 0.5],
    "batch_seed": [2, 3, 4],
    "bias_init": ["zeros", "uniform"],
    "bias_scale": [1.0, 2.0],
    "seed": [0, 1],
}
# Written out once more, for the names in VALUES alone: what a parameter hangs on, and where it exists.
CONDITIONS = {
    "momentum": ("optimizer", ["momentum", "nesterov"]),
    "rho": ("optimizer", ["rmsprop"]),
    "negative_slope": ("activation", ["leaky_relu"]),
    "batch_seed": ("batch_order", ["shuffled"]),
    "bias_scale": ("bias_init", ["uniform"]),
    "seed": ("init", ["normal"]),
}


def has(name, values):
    """Whether a run with these values has a parameter."""
    if name == "negative_slope":
        hidden = values["hidden_activation"] or values["activation"]
        output = values["output_activation"] or values["activation"]
        return "leaky_relu" in (hidden, output)
    if name == "bias_scale":
        return values["init"] in ("constant", "normal") and values["bias_init"] == "uniform"
    if name == "seed":
        return values["init"] == "normal" or (
            values["init"] == "constant" and values["bias_init"] == "uniform"
        )
    return name not in CONDITIONS or values[CONDITIONS[name][0]] in CONDITIONS[name][1]


def written(grids, text=TEXT):
    lines = [text]
    for grid in grids:
        # A JSON value of these kinds is a TOML value.
        lines += ["[[grid]]", *(f"{name} = {json.dumps(values)}" for name, values in grid.items())]
    return "\n".join(lines)


@st.composite
def grids_of_points(draw):
    """Up to 4 grids of up to 5 axes, some of which advance together."""

    def grid():
        names = draw(st.lists(st.sampled_from(sorted(VALUES)), unique=True, max_size=5))
        # Most grids hold what their conditional parameters need.
        needs = [CONDITIONS[name] for name in names if name in CONDITIONS]
        names = list(dict.fromkeys([*names, *(needed for needed, _ in needs)]))
        groups = draw(st.sampled_from([[], [2], [3], [2, 2], [2, 3]]))
        shuffled, together = draw(st.permutations(names)), []
        for size in groups:
            together.append(shuffled[:size])
            shuffled = shuffled[size:]
        together = [group for group in together if len(group) > 1]
        made = {}
        zipped = list(itertools.chain(*together))
        for group in [*together, *([name] for name in names if name not in zipped)]:
            points = list(itertools.product(*(VALUES[name] for name in group)))
            chosen = draw(st.lists(st.sampled_from(points), unique=True, min_size=1, max_size=5))
            for needed, among in needs:
                if needed in group:
                    fitting = [point for point in points if point[group.index(needed)] in among]
                    chosen = list(dict.fromkeys([*chosen, draw(st.sampled_from(fitting))]))
            made |= {name: [point[k] for point in chosen] for k, name in enumerate(group)}
        return ({"zip": together} if together else {}) | {name: made[name] for name in names}

    return [grid() for _ in range(draw(st.integers(0, 4)))]


def dimensions(grid):
    groups = {name: group for group in grid.get("zip", []) for name in group}
    names = [name for name in grid if name != "zip"]
    return list(dict.fromkeys(tuple(groups.get(name, [name])) for name in names))


def expected_runs(grids, fixed=FIXED):
    """The values of every run by its id: a combination only where it first stands."""
    runs, seen, start = {}, set(), 0
    for grid in grids or [{}]:
        points = [list(zip(*(grid[name] for name in names), strict=True)) for names in dimensions(grid)]
        combinations = list(itertools.product(*points))
        for run, chosen in enumerate(combinations, start):
            values = dict(fixed)
            for names, point in zip(dimensions(grid), chosen, strict=True):
                values |= dict(zip(names, map(hashable, point), strict=True))
            values = {name: value if has(name, values) else None for name, value in values.items()}
            key = tuple(sorted(values.items()))
            if key not in seen:
                seen.add(key)
                runs[run] = values
        start += len(combinations)
    return runs


def lenient(grids, text=TEXT):
    """The sweep, or None where it sweeps what no run has."""
    try:
        return loads(written(grids, text))
    except SweepError as error:
        if not all("; those that have it: " in problem.message for problem in error.problems):
            raise
        return None


def hold_against_enumeration(grids, fixed, text):
    sweep, expected = lenient(grids, text), expected_runs(grids, fixed)
    if sweep is None:
        return
    assert loads(dumps(sweep)) == sweep
    plan = Plan(sweep)
    assert plan.n_runs == len(expected)
    found = {}
    with mock.patch.object(plan_module, "SHARD_RUNS", 32):
        for shard in plan.shards():
            ids, codes = plan.runs(shard)
            for position, run in enumerate(ids.tolist()):
                assert run not in found
                found[run] = fixed | {
                    name: plan.domains[name][code[position]] for name, code in codes.items()
                }
                structure = shard.group.structure
                assert (structure.optimizer, structure.steps) == (
                    expected[run]["optimizer"],
                    expected[run]["steps"],
                )
    swept = {name for grid in grids for name in grid}
    for run, values in expected.items():
        assert all(found[run][name] == values[name] for name in swept - {"zip"})
        own = dict.fromkeys(FIXED) | plan.parameters(run)
        assert own == values
        assert plan.find(plan.parameters(run)) == run
    assert found.keys() == expected.keys()
    for name, values in plan.domains.items():
        none_is_a_value = any(run[name] is None for run in expected.values())
        assert none_is_a_value or name not in CONDITIONS or None not in values


@settings(deadline=None, max_examples=200)
@given(grids_of_points())
@example([{"optimizer": ["sgd", "momentum"], "momentum": [0.5, 0.9]}])
@example([{"init": ["constant", "a"], "bias_init": ["zeros", "uniform"], "seed": [0, 1]}])
@example(
    [{"zip": [["learning_rate", "target_loss"]], "learning_rate": [0.5, 0.25], "target_loss": [0.0, 1.0]}] * 2
)
@example(
    [
        {
            "zip": [["learning_rate", "target_loss"]],
            "learning_rate": [0.5, 0.25],
            "target_loss": [0.0, 1.0],
            "steps": [1, 2],
        },
        {"steps": [2], "target_loss": [0.0, 1.0, 2.0], "learning_rate": [0.125, 0.25, 0.5]},
    ]
)
@example(
    [
        {
            "zip": [["learning_rate", "target_loss"], ["negative_slope", "momentum"]],
            "learning_rate": [0.5, 0.25],
            "target_loss": [0.0, 1.0],
            "negative_slope": [0.5, 0.0],
            "momentum": [0.5, 0.9],
            "activation": ["leaky_relu"],
            "optimizer": ["momentum"],
        },
        {
            "activation": ["leaky_relu"],
            "optimizer": ["momentum", "nesterov"],
            **{name: VALUES[name] for name in ("negative_slope", "momentum", "learning_rate", "target_loss")},
        },
    ]
)
@example(
    [
        {
            "zip": [["batch_order", "batch_seed", "learning_rate"]],
            "batch_order": ["in_order", "in_order", "in_order", "in_order", "shuffled"],
            "batch_seed": [2, 3, 3, 2, 2],
            "learning_rate": [0.5, 0.25, 0.5, 0.25, 0.5],
        }
    ]
)
def test_every_id_is_one_combination_that_stands_nowhere_earlier(grids):
    hold_against_enumeration(grids, FIXED, TEXT)


@settings(deadline=None, max_examples=100)
@given(grids_of_points())
@example([{"optimizer": ["sgd", "momentum"]}, {"optimizer": ["sgd"], "learning_rate": [0.5]}])
def test_a_fixed_value_of_a_conditional_parameter_is_that_of_the_runs_that_have_it(grids):
    hold_against_enumeration(grids, FIXED | {"momentum": 0.9}, TEXT + "momentum = 0.9\n")


LEVELS = st.lists(st.integers(0, 3), unique=True, min_size=1, max_size=4)


@st.composite
def grids_of_numbers(draw):
    """Up to 3 grids of the same 4 lane parameters, so that zips meet products in every way."""
    names = ["learning_rate_1", "learning_rate_2", "target_loss", "init_scale"]

    def grid():
        order, together = draw(st.permutations(names)), []
        cuts = draw(st.sampled_from([[4], [2, 2], [3, 1], [2, 1, 1], [1, 1, 1, 1]]))
        made, rest = {}, list(order)
        for size in cuts:
            group, rest = rest[:size], rest[size:]
            point = st.tuples(*[st.integers(0, 3)] * size)
            points = draw(st.lists(point, unique=True, min_size=1, max_size=3 + 9 * (size > 1)))
            made |= {name: [values[k] for values in points] for k, name in enumerate(group)}
            together += [group] * (size > 1)
        return ({"zip": together} if together else {}) | made

    return [grid() for _ in range(draw(st.integers(2, 3)))]


@settings(deadline=None, max_examples=200)
@given(grids_of_numbers())
def test_zips_and_products_of_the_same_names(grids):
    fixed = PLAIN | {"learning_rate_1": None, "learning_rate_2": None}
    plan, expected = Plan(loads(written(grids))), expected_runs(grids, fixed)
    found = {}
    for shard in plan.shards():
        ids, codes = plan.runs(shard)
        for position, run in enumerate(ids.tolist()):
            assert run not in found
            found[run] = fixed | {name: plan.domains[name][code[position]] for name, code in codes.items()}
    assert found == expected
    assert plan.n_runs == len(expected)


def test_a_group_stands_where_its_first_axis_stands():
    text = 'seed = [0, 1]\nsteps = [1, 2]\nlearning_rate = [0.5, 0.25]\nzip = ["learning_rate", "seed"]\n'
    text = f"{DRAWN}[[grid]]\n{text}"
    (grid,) = loads(text).grid
    assert grid.together == (("seed", "learning_rate"),)
    assert grid.dimensions == (("seed", "learning_rate"), ("steps",))
    assert grid.shape == (2, 2)
    plan = Plan(loads(text))
    found = [
        tuple(plan.parameters(run)[name] for name in ("seed", "steps", "learning_rate")) for run in range(4)
    ]
    assert found == [(0, 1, 0.5), (0, 2, 0.5), (1, 1, 0.25), (1, 2, 0.25)]


def test_how_a_zip_is_written_makes_no_difference_but_that_it_is_there_does():
    axes = "seed = [0, 1]\nlearning_rate = [0.5, 0.25]\n"
    texts = [f"{DRAWN}[[grid]]\n{zipped}{axes}" for zipped in ('zip=["seed","learning_rate"]\n', "")]
    other = f'{DRAWN}[[grid]]\n{axes}zip = [["learning_rate", "seed"]]\n'
    one, product = map(loads, texts)
    assert loads(other) == one != product
    assert loads(other).fingerprint() == one.fingerprint() != product.fingerprint()
    assert hash(loads(other)) == hash(one)


AXES = "steps = [1, 2]\nlearning_rate = [1, 2, 1]\nseed = [0, 1]\n"


@pytest.mark.parametrize(
    ("zipped", "key", "message"),
    [
        (
            "3",
            "zip",
            'must be a list of names of axes, such as ["learning_rate", "steps"], or a list of such',
        ),
        ("[]", "zip", "must be a list of names of axes"),
        ('["steps", 3]', "zip[1]", "must be a text in quotes, not 3"),
        ('["steps", "sed"]', "zip[1]", '"sed" is no axis of this grid (did you mean seed?)'),
        ('["steps", "loss"]', "zip[1]", '"loss" is no axis of this grid'),
        ('["steps"]', "zip", "needs at least two axes that advance together; add one, or remove the group"),
        (
            '[["steps", "seed"], ["seed", "learning_rate"]]',
            "zip[1][0]",
            "names seed twice; an axis may stand once",
        ),
        (
            '[["steps", "seed"], "steps"]',
            "zip[1]",
            "must be a list of names, as the others are, not the text",
        ),
        (
            '["seed", "learning_rate"]',
            "zip",
            "learning_rate has 3 values but seed has 2; axes that advance together must be equally long",
        ),
    ],
)
def test_a_wrong_zip(zipped, key, message):
    (problem,) = problems(f"{DRAWN}[[grid]]\n{AXES}zip = {zipped}\n")
    assert problem.startswith(f"f.toml:17: grid[0].{key}: {message}")


def test_a_zip_that_takes_the_same_values_twice():
    text = f'{DRAWN}[[grid]]\nzip = ["steps", "seed"]\nsteps = [1, 2, 1]\nseed = [0, 1, 0]\n'
    assert problems(text) == [
        "f.toml:14: grid[0].zip: steps, seed take the same values at 0 and at 2 (counting from 0); "
        "remove one of the two"
    ]


TWO_NETWORKS = """\
[init.c]
W1 = [[1, 1], [1, 1]]
b1 = [1, 1]
W2 = [[1], [1]]
b2 = [1]
"""


def test_only_values_that_meet_in_a_zip_have_to_fit():
    grid = '[[grid]]\nzip = [["init", "layers", "learning_rate"]]\ninit = ["a", "c"]\n'
    grid += "layers = [[2, 1], [2, 2, 1]]\nlearning_rate = [[1], [1, 2]]\n"
    assert Plan(loads(SMALL + TWO_NETWORKS + grid)).n_runs == 2
    found = problems(SMALL + TWO_NETWORKS + grid.replace('["a", "c"]', '["c", "a"]'))
    assert "f.toml:7: init.a.W1: has shape 2 x 1; layers [2, 2, 1] need shape 2 x 2" in found
    found = problems(SMALL + TWO_NETWORKS + grid.replace("[[1], [1, 2]]", "[[1, 2], [1]]"))
    assert [problem.split(": ")[1] for problem in found] == [
        "grid[0].learning_rate[0]",
        "grid[0].learning_rate[1]",
    ]


def test_runs_are_counted_by_dimensions():
    axes = "".join(f"learning_rate{k} = {{ linspace = [1, 2, 100000] }}\n" for k in ("", "_1"))
    axes += "target_loss = { linspace = [1, 2, 100000] }\nseed = { arange = [0, 100000, 1] }\n"
    assert "a grid may have" in problems(f"{DRAWN}[[grid]]\n{axes}")[0]
    zipped = 'zip = [["learning_rate", "learning_rate_1"], ["target_loss", "seed"]]\n'
    assert Plan(loads(f"{DRAWN}[[grid]]\n{zipped}{axes}")).n_runs == 10**10


# Repeats


def test_repeats_are_an_axis_of_seeds_from_the_fixed_one_on():
    text = DRAWN.replace("[network]", "[network]\nseed = 7")
    (grid,) = loads(f"{text}[[grid]]\nsteps = [1]\nrepeats = 3\nbias = [true]\n").grid
    assert list(grid.axes) == ["steps", "seed", "bias"]
    assert grid.axes["seed"].values == (7, 8, 9)
    assert loads(f"{text}[[grid]]\nrepeats = 3\n") == loads(f"{text}[[grid]]\nseed = [7, 8, 9]\n")
    zipped = 'zip = ["seed", "steps"]\nsteps = [3, 2, 1]\nrepeats = 3\n'
    assert Plan(loads(f"{text}[[grid]]\n{zipped}")).n_runs == 3


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("repeats = 0", "must be a whole number of at least 1, not 0"),
        ("repeats = [1]", "must be a whole number, not a list"),
        ("repeats = 10000001", "asks for 10000001 values; use at most 10000000"),
        ("repeats = 2\nseed = [3]", "stands for an axis of seeds, and seed is one; remove one of the two"),
    ],
)
def test_wrong_repeats(lines, message):
    assert problems(f"{DRAWN}[[grid]]\n{lines}\n") == [f"f.toml:14: grid[0].repeats: {message}"]


@pytest.mark.parametrize(
    ("grid", "override", "axes", "together"),
    [
        ("repeats = 2\n", "seed=5", {"seed": (5, 6)}, ()),
        ("repeats = 2\n", "grid.seed=[9]", {"seed": (9,)}, ()),
        ("seed = [4]\n", "grid.repeats=2", {"seed": (0, 1)}, ()),
        (f'{AXES}zip = ["steps", "seed"]\n', "steps=1", {"learning_rate": (1, 2), "seed": (0, 1)}, ()),
        (
            f'bias = [true, true]\n{AXES}zip = [["steps", "seed", "bias"]]\n',
            "steps=1",
            {"bias": (True, True), "learning_rate": (1, 2), "seed": (0, 1)},
            (("bias", "seed"),),
        ),
    ],
)
def test_overrides_of_axes_that_advance_together(grid, override, axes, together):
    text = DRAWN + "[[grid]]\n" + grid.replace("[1, 2, 1]", "[1, 2]")
    sweep = loads(text, overrides=[override])
    (found,) = sweep.grid
    assert {name: axis.values for name, axis in found.axes.items()} == axes
    assert found.together == together
    assert loads(sweep.text) == sweep


# Conditional parameters


def test_an_axis_of_one_optimizer_does_not_multiply_the_others():
    grid = {"optimizer": ["sgd", "momentum"], "momentum": [0.5, 0.9], "learning_rate": [0.5, 0.25]}
    plan = Plan(loads(written([grid])))
    assert plan.n_runs == 2 + 4
    assert plan.domains["momentum"] == (0.5, 0.9, None)
    assert plan.parameters(0)["momentum"] is None
    assert plan.find({"optimizer": "sgd", "learning_rate": 0.25}) == 1
    assert plan.find({"optimizer": "momentum", "momentum": 0.9, "learning_rate": 0.5}) == 6
    with pytest.raises(KeyError):
        plan.find({"optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.25})
    assert Plan(loads(written([grid | {"optimizer": ["momentum"]}]))).domains["momentum"] == (0.5, 0.9)


def test_what_draws_weights_does_not_multiply_the_runs_whose_weights_are_given():
    grid = {
        "init": ["a", "zeros", "normal"],
        "bias_init": ["zeros", "constant", "uniform"],
        "bias_scale": [1.0, 2.0],
        "seed": [0, 1],
    }
    plan = Plan(loads(written([grid])))
    names = list(grid)
    found = [
        tuple(plan.domains[name][code] for name, code in zip(names, codes, strict=True))
        for shard in plan.shards()
        for codes in zip(*(plan.runs(shard).codes[name] for name in names), strict=True)
    ]
    expected = [("a", bias_init, None, None) for bias_init in grid["bias_init"]]
    for init, seeds in (("zeros", [None]), ("normal", [0, 1])):
        expected += [(init, "zeros", None, seed) for seed in seeds]
        expected += [(init, "constant", scale, seed) for scale in (1.0, 2.0) for seed in seeds]
        expected += [(init, "uniform", scale, seed) for scale in (1.0, 2.0) for seed in (0, 1)]
    assert len(found) == len(expected) == plan.n_runs
    assert set(found) == set(expected)


@pytest.mark.parametrize(
    "domain", [(True, None), (3, None), (0.5, None), ("a", None), ((0.5, 1.0), 2.0, None)]
)
def test_a_parameter_that_a_run_lacks_is_null_in_its_column(domain):
    codes = np.array([*range(len(domain)), 0])
    values = axis_column("swept", domain, codes).to_pylist()
    expected = [domain[code] for code in codes]
    if isinstance(domain[0], tuple):  # a list for each run, or null
        expected = [None if v is None else list(v) if isinstance(v, tuple) else [v] for v in expected]
    assert values == expected
    assert [type(value) for value in values] == [type(value) for value in expected]


def test_a_parameter_that_no_run_has():
    message = 'optimizer "sgd" has no momentum; those that have it: momentum, nesterov'
    message += "; remove it or choose one of these"
    assert problems(SMALL + "momentum = 0.5\n") == [f"f.toml:17: training.momentum: {message}"]
    grids = '[[grid]]\noptimizer = ["sgd"]\nmomentum = [0.5]\n[[grid]]\noptimizer = ["momentum"]\n'
    assert problems(SMALL + grids) == [f"f.toml:19: grid[0].momentum: {message}"]
    loads(SMALL + "momentum = 0.5\n" + '[[grid]]\n[[grid]]\noptimizer = ["momentum"]\n')
    loads(SMALL + grids.replace("sgd", "nesterov"))
    assert problems(SMALL + '[[grid]]\noptimizer = ["sgd", "adam"]\nmomentum = [0.5]\n') == [
        'f.toml:19: grid[0].momentum: optimizer "sgd", "adam" has no momentum; '
        "those that have it: momentum, nesterov; remove it or choose one of these"
    ]
    file = SMALL + 'optimizer = "momentum"\n[[grid]]\nmomentum = [0.5]\n'
    assert problems(file, "optimizer=sgd") == [f"--set optimizer=sgd: grid[0].momentum: {message}"]
    # Nothing is said of what meets a refused value.
    assert [p.split(": ")[1] for p in problems(SMALL + 'momentum = 0\noptimizer = "sdg"\n')] == [
        "training.optimizer"
    ]


@pytest.mark.parametrize(
    ("text", "line", "name", "found"),
    [
        (SMALL, "seed = 1", "seed", 'init "a"'),
        (SMALL, 'bias_init = "normal"\nseed = 1', "seed", 'init "a"'),
        (SMALL, 'bias_init = "normal"\nbias_scale = 1', "bias_scale", 'init "a"'),
        (DRAWN, "bias_scale = 2", "bias_scale", 'bias_init "zeros"'),
        (DRAWN, 'init = "constant"\nseed = 1', "seed", 'init "constant", "zeros"'),
        (DRAWN, "negative_slope = 0.1", "negative_slope", 'activation "sigmoid"'),
        (DRAWN, "elu_alpha = 0.1", "elu_alpha", 'activation "sigmoid"'),
    ],
)
def test_a_parameter_of_the_network_that_no_run_has(text, line, name, found):
    (problem,) = problems(text.replace("[network]", f"[network]\n{line}"))
    place = 4 + line.count("\n")
    assert problem.startswith(f"f.toml:{place}: network.{name}: {found} has no {name}; those that have it: ")


@pytest.mark.parametrize(
    ("line", "name", "found"),
    [
        ("huber_delta = 2", "huber_delta", 'loss "mse"'),
        ("rho = 0.5", "rho", 'optimizer "sgd"'),
        ("beta_1 = 0.5", "beta_1", 'optimizer "sgd"'),
        ("beta_2 = 0.5", "beta_2", 'optimizer "sgd"'),
        ("epsilon = 0.5", "epsilon", 'optimizer "sgd"'),
        ("momentum_decay = 0.5", "momentum_decay", 'optimizer "sgd"'),
        ("decay_steps = 5", "decay_steps", 'schedule "constant"'),
        ("decay_rate = 0.5", "decay_rate", 'schedule "constant"'),
        ("final_factor = 0.5", "final_factor", 'schedule "constant"'),
        ('batch_size = 1\nbatch_order = "in_order"\nbatch_seed = 1', "batch_seed", 'batch_order "in_order"'),
    ],
)
def test_a_parameter_of_the_training_that_no_run_has(line, name, found):
    (problem,) = problems(f"{SMALL}{line}\n")
    place = 17 + line.count("\n")
    assert problem.startswith(f"f.toml:{place}: training.{name}: {found} has no {name}; those that have it: ")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ('activation = "leaky_relu"', None),
        ('activation = ["leaky_relu"]', None),
        ('hidden_activation = "tanh"\noutput_activation = "leaky_relu"', None),
        ('hidden_activation = "leaky_relu"', '"sigmoid"'),  # [2, 1] has no hidden layer
        ('activation = "leaky_relu"\noutput_activation = "tanh"', '"tanh"'),
    ],
)
def test_activation_stands_for_that_of_any_layer(lines, expected):
    text = SMALL.replace("[network]", f"[network]\n{lines}\nnegative_slope = 0.5")
    if expected is None:
        loads(text)
    else:
        (problem,) = problems(text)
        assert f"network.negative_slope: activation {expected} has no negative_slope;" in problem


def test_every_conditional_parameter_hangs_on_one_that_all_runs_have():
    for name, item in PARAMETERS.items():
        if item.needs is not None:
            assert item.needs.parameter == "activation" or not PARAMETERS[item.needs.parameter].needs
            assert all(PARAMETERS[decider].needs is None for decider in deciders(name))
            assert SECTIONS[item.section].model_fields[name].default is None


# Size


def test_a_plan_can_be_sent_to_another_process():
    plan = Plan(
        loads(
            written([{"learning_rate": [0.5, 0.25], "seed": [0, 1], "zip": ["seed", "learning_rate"]}], DRAWN)
        )
    )
    again = pickle.loads(pickle.dumps(plan))
    assert again.n_runs == plan.n_runs == 2
    assert again.find(plan.parameters(1)) == 1


def test_large_grids_with_a_diagonal_in_common():
    axis = "{ linspace = [0, 1, 4096] }"
    axes = f"learning_rate_1 = {axis}\nlearning_rate_2 = {axis}\n"
    drawn = TEXT.replace('init = "a"', 'init = "normal"\nseed = 0')
    text = f'{drawn}[[grid]]\nzip = ["learning_rate_1", "learning_rate_2"]\n{axes}[[grid]]\n{axes}'
    sweep = loads(text + f"[[grid]]\nrepeats = 3\n{axes}")
    tracemalloc.start()
    start = time.perf_counter()
    try:
        plan = Plan(sweep)
        assert plan.n_runs == 3 * 4096**2
        shard = list(plan.shards())[100]
        ids, codes = plan.runs(shard)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - start < 5
    assert peak < 40e6
    assert (codes["learning_rate_1"] != codes["learning_rate_2"]).all()
    assert plan.find(plan.parameters(int(ids[5]))) == ids[5]
    assert plan.find({"learning_rate_1": 1.0, "learning_rate_2": 1.0}) == 4095
    assert np.unique(ids).size == shard.n_runs
