import itertools
import json
import tracemalloc
from unittest import mock

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastbp import plan as plan_module
from fastbp.plan import BLOCK, Plan
from fastbp.sweep import PARAMETERS, loads

TEXT = """\
name = "planned"

[network]
layers = [2, 2, 1]
activation = "tanh"
init = "a"

[init.a]
W1 = [[0.5, -0.4], [0.3, 0.6]]
b1 = [0.1, -0.2]
W2 = [[0.7], [-0.5]]
b2 = [0.2]

[init.b]
W1 = [[0.1, 0.2], [0.3, 0.4]]
b1 = [0, 0]
W2 = [[1], [1]]
b2 = [0]

[data]
x = [[0, 0], [0, 1], [1, 0]]
y = [[0], [1], [1]]

[training]
learning_rate = 0.5
steps = 2
"""
FIXED = {
    **dict.fromkeys(PARAMETERS),
    "scale": "standard",
    "layers": (2, 2, 1),
    "bias": True,
    "activation": "tanh",
    "freeze": (),
    "init": "a",
    "bias_init": "zeros",
    "init_scale": 1.0,
    "init_offset": 0.0,
    "standardise": (),
    "loss": "mse",
    "optimizer": "sgd",
    "learning_rate": 0.5,
    "learning_rate_1": None,
    "learning_rate_2": None,
    "schedule": "constant",
    "steps": 2,
    "batch_order": "shuffled",
    "dtype": "float64",
    "stop_at_target": False,
    "stop_on_divergence": False,
}
# Most lists hold the fixed value, so that grids with and without the axis overlap.
VALUES = {
    "layers": [[2, 2, 1]],
    "bias": [True, False],
    "activation": ["tanh", "relu", "sigmoid"],
    "hidden_activation": ["relu", "identity"],
    "output_activation": ["identity"],
    "init": ["a", "b"],
    "sample": [0, 1, 2],
    "loss": ["mse", "half_sse"],
    "learning_rate": [0.5, 0.25, 0.125, 0.0, [0.5, 0.25]],
    "learning_rate_1": [0.5, 0.25],
    "learning_rate_2": [0.0],
    "steps": [0, 2, 1],
    "dtype": ["float32", "float64"],
    "target_loss": [0.0, 0.5],
}


def sweep_of(grids, text=TEXT):
    lines = [text]
    for grid in grids:
        # A JSON value of these kinds is a TOML value.
        lines += ["[[grid]]", *(f"{name} = {json.dumps(values)}" for name, values in grid.items())]
    return loads("\n".join(lines))


@st.composite
def many_grids(draw):
    """Up to 4 grids of up to 4 axes, in any order."""
    axes = st.lists(st.sampled_from(sorted(VALUES)), unique=True, max_size=4)

    def chosen(name):
        values = draw(st.permutations(VALUES[name]))
        values = values[: draw(st.integers(1, len(values)))]
        return values if name != "bias" or True in values else [False, True]  # the biases must be of use

    return [{name: chosen(name) for name in draw(axes)} for _ in range(draw(st.integers(0, 4)))]


def hashable(value):
    return tuple(value) if isinstance(value, list) else value


def expected_runs(grids):
    """The values of every run by its id: the products of the grids, a combination only where it first stands."""
    runs, seen = {}, set()
    combinations = (
        FIXED | dict(zip(grid, map(hashable, combination), strict=True))
        for grid in grids or [{}]
        for combination in itertools.product(*grid.values())
    )
    for run, values in enumerate(combinations):
        key = tuple(sorted(values.items()))
        if key not in seen:
            seen.add(key)
            runs[run] = values
    return runs


def all_parameters(plan, run):
    return dict.fromkeys(FIXED) | plan.parameters(run)


def decoded(plan, shard):
    """The values of the runs of a shard by their ids, from the codes."""
    ids, codes = plan.runs(shard)
    return {
        int(run): FIXED | {name: plan.domains[name][code[position]] for name, code in codes.items()}
        for position, run in enumerate(ids)
    }


@settings(deadline=None)
@given(many_grids())
@example([])
@example([{}])
@example([{}, {"learning_rate": [0.5]}, {}])
@example([{"learning_rate_1": [0.25]}, {}])
@example([{"sample": [0]}, {"sample": [0, 1]}, {"init": ["a", "b"], "sample": [1, 2]}])
def test_every_id_is_one_combination(grids):
    plan, expected = Plan(sweep_of(grids)), expected_runs(grids)
    assert plan.n_runs == len(expected)
    for run, values in expected.items():
        assert all_parameters(plan, run) == values


@settings(deadline=None)
@given(many_grids())
@example([{"learning_rate_1": [0.25]}, {"learning_rate": [0.5]}])
def test_the_parameters_of_a_run_lead_back_to_it(grids):
    plan = Plan(sweep_of(grids))
    for run in expected_runs(grids):
        assert plan.find(plan.parameters(run)) == run


@settings(deadline=None)
@given(many_grids(), st.sampled_from([1, 32, 64, 2**17]))
@example([{}, {"learning_rate": [0.5, 0.25]}, {"learning_rate": [0.25, 0.125], "sample": [0, 1]}], 32)
def test_the_shards_hold_every_run_once(grids, shard_runs):
    plan, expected = Plan(sweep_of(grids)), expected_runs(grids)
    with mock.patch.object(plan_module, "SHARD_RUNS", shard_runs):
        shards = list(plan.shards())
        assert plan.n_shards == len(shards)
    assert [shard.number for shard in shards] == list(range(len(shards)))
    ids = np.concatenate([plan.runs(shard).ids for shard in shards])
    assert ids.dtype == np.int64
    assert sorted(ids.tolist()) == sorted(expected)
    assert sum(shard.n_runs for shard in shards) == len(expected)
    for shard in shards:
        found = decoded(plan, shard)
        assert len(found) == shard.n_runs
        assert found == {run: expected[run] for run in found}


@settings(deadline=None)
@given(many_grids())
def test_the_runs_of_a_group_share_a_structure(grids):
    plan, expected = Plan(sweep_of(grids)), expected_runs(grids)
    structures = [group.structure for group in plan.groups]
    assert len(set(structures)) == len(structures)
    for shard in plan.shards():
        structure = shard.group.structure
        for run in plan.runs(shard).ids.tolist():
            values = expected[run]
            hidden = values["hidden_activation"] or values["activation"]
            output = values["output_activation"] or values["activation"]
            assert structure.activations == (hidden, output)
            assert structure.n_samples == (3 if values["sample"] is None else 1)
            for name in ("layers", "bias", "loss", "optimizer", "steps", "dtype"):
                assert getattr(structure, name) == values[name]


@pytest.mark.parametrize(("bias", "n_parameters"), [(True, 9), (False, 6)])
def test_a_structure_counts_its_weights_and_units(bias, n_parameters):
    structure = next(
        g.structure for g in Plan(sweep_of([{"bias": [True, False]}])).groups if g.structure.bias is bias
    )
    assert structure.n_parameters == n_parameters
    assert structure.n_units == 3


def test_the_last_axis_varies_fastest():
    plan = Plan(sweep_of([{"loss": ["half_sse", "mse"], "init": ["b", "a"], "learning_rate": [3, 1, 2]}]))
    found = [
        tuple(plan.parameters(run)[name] for name in ("loss", "init", "learning_rate")) for run in range(12)
    ]
    assert found[:4] == [
        ("half_sse", "b", 3),
        ("half_sse", "b", 1),
        ("half_sse", "b", 2),
        ("half_sse", "a", 3),
    ]
    assert found == list(itertools.product(["half_sse", "mse"], ["b", "a"], [3, 1, 2]))


def test_ids_go_on_from_grid_to_grid():
    plan = Plan(sweep_of([{"learning_rate": [1, 2]}, {"learning_rate": [2, 3]}, {"learning_rate": [4]}]))
    assert plan.n_runs == 4  # the second 2 has no run of its own
    assert plan.find({"learning_rate": 2}) == 1
    assert plan.find({"learning_rate": 3}) == 3
    assert plan.find({"learning_rate": 4}) == 4


@pytest.mark.parametrize("values", [{"learning_rate": 7.0}, {"sample": 1}, {"bias": False}])
def test_a_combination_that_no_grid_holds_is_not_found(values):
    with pytest.raises(KeyError, match="no run has"):
        Plan(sweep_of([{"learning_rate": [1, 2]}, {"init": ["b"]}])).find(values)


@pytest.mark.parametrize("run", [-1, 6, 2**62])
def test_an_unknown_run_is_refused(run):
    plan = Plan(sweep_of([{"init": ["a", "b"], "sample": [0, 1, 2]}]))
    with pytest.raises(IndexError, match=f"no run {run}; ids are 0 to 5"):
        plan.parameters(run)


RATES = {"learning_rate_1": [k / 50 for k in range(50)], "dtype": ["float64", "float32"], "init": ["a", "b"]}


@pytest.mark.parametrize(
    ("shard_runs", "largest"), [(1, 32), (32, 32), (70, 64), (99, 96), (100, 96), (128, 100)]
)
def test_shards_are_whole_blocks_of_a_group_within_the_bound_of_runs(monkeypatch, shard_runs, largest):
    monkeypatch.setattr(plan_module, "SHARD_RUNS", shard_runs)
    plan = Plan(sweep_of([RATES]))
    shards = list(plan.shards())
    assert max(shard.n_runs for shard in shards) == largest
    for group in plan.groups:
        cuts = [(shard.start, shard.stop) for shard in shards if shard.group is group]
        assert [start for start, _ in cuts] == [0, *(stop for _, stop in cuts[:-1])]
        assert cuts[-1][1] == group.n_runs == 100
        assert all(start % BLOCK == 0 for start, _ in cuts)


def test_shards_keep_within_the_bound_of_bytes(monkeypatch):
    plan = Plan(sweep_of([RATES], TEXT + "[record]\ntrace = true\n"))
    a_run = plan.bytes_a_run(plan.groups[0].structure)
    monkeypatch.setattr(plan_module, "SHARD_BYTES", a_run * 64)
    assert {shard.n_runs for shard in plan.shards()} == {64, 36}
    monkeypatch.setattr(plan_module, "SHARD_BYTES", a_run * 64 - 1)
    assert {shard.n_runs for shard in plan.shards()} == {32, 4}
    monkeypatch.setattr(plan_module, "SHARD_BYTES", 1)  # a block is the least
    assert {shard.n_runs for shard in plan.shards()} == {32, 4}


def test_what_is_recorded_makes_shards_smaller():
    kept = ["", "history = true", "history = true\ntrace = true"]
    plans = [Plan(sweep_of([{"steps": [1000]}], f"{TEXT}[record]\n{lines}\n")) for lines in kept]
    plain, history, trace = (plan.bytes_a_run(plan.groups[0].structure) for plan in plans)
    assert history - plain == 1001 * 24  # run, step and loss: 8 bytes each
    assert trace - history > 1000 * 9 * 16  # a value and a gradient a weight, at the least
    assert plans[0].shard_runs(plans[0].groups[0]) > plans[2].shard_runs(plans[2].groups[0])


@pytest.fixture(scope="module")
def large():
    axis = "{ linspace = [0, 1, 4096] }"
    return loads(f"{TEXT}[[grid]]\nlearning_rate_1 = {axis}\nlearning_rate_2 = {axis}\n")


def test_a_large_sweep_is_planned_without_arrays_of_its_length(large):
    tracemalloc.start()
    try:
        plan = Plan(large)
        assert plan.n_runs == 4096**2
        assert sum(shard.n_runs for shard in plan.shards()) == 4096**2
        assert plan.parameters(4096**2 - 1)["learning_rate_1"] == 1.0
        assert plan.find(plan.parameters(12_345_678)) == 12_345_678
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10e6  # the ids alone would take 134 MB


def test_the_shards_of_a_large_sweep_decode(large):
    plan = Plan(large)
    shards = list(plan.shards())
    rates = np.linspace(0, 1, 4096)
    for shard in (shards[0], shards[len(shards) // 2], shards[-1]):
        ids, codes = plan.runs(shard)
        assert (ids == np.arange(shard.start, shard.stop)).all()
        for name, digits in (("learning_rate_1", ids // 4096), ("learning_rate_2", ids % 4096)):
            assert (np.array(plan.domains[name])[codes[name]] == rates[digits]).all()
        assert plan.parameters(int(ids[-1]))["learning_rate_2"] == rates[ids[-1] % 4096]


def test_large_grids_that_overlap_are_cut_without_listing_runs():
    first, second = "{ arange = [0, 1000, 1] }", "{ arange = [600, 1600, 1] }"
    grids = "".join(
        f"[[grid]]\nlearning_rate_1 = {axis}\nlearning_rate_2 = {axis}\n" for axis in (first, second)
    )
    plan = Plan(loads(TEXT + grids))
    assert plan.n_runs == 2 * 1000**2 - 400**2
    assert plan.find({"learning_rate_1": 700.0, "learning_rate_2": 999.0}) == 700_999
    assert plan.find({"learning_rate_1": 700.0, "learning_rate_2": 1000.0}) == 1000**2 + 100 * 1000 + 400
