"""Straight code against the kernels that serve every network: the same bits."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import (
    DTYPES,
    HIDDEN,
    JIT,
    assert_same_bits,
    batch_of,
    combinations,
    examples,
    random_experiment,
    result_of,
    train_in_lanes,
)

from fastbp.kernels import cpu, straight
from fastbp.kernels.activations import ACTIVATIONS
from fastbp.kernels.losses import LOSSES
from fastbp.kernels.network import multiply_adds
from fastbp.kernels.optimizers import OPTIMIZERS
from fastbp.kernels.schedules import SCHEDULES
from fastbp.kernels.straight import Straight, is_possible

pytestmark = pytest.mark.skipif(not JIT, reason="there is no straight code without the compiler")
dtypes = pytest.mark.parametrize("dtype", DTYPES)
UNWRITABLE = {"sin"}  # of large arguments its kernel asks whether there are any


def both_ways(experiment, cuts=()):
    """Train in the kernels of every network and in straight code, in calls that end at `cuts`."""
    usual, other = (
        batch_of(experiment, cpu.width(experiment.w.dtype), history=(), trace=False) for _ in "ab"
    )
    train_in_lanes(usual)
    code = straight.straight(other)
    edges = [
        0,
        *sorted({min(cut, experiment.steps) for cut in cuts} - {0, experiment.steps}),
        experiment.steps,
    ]
    for start, stop in itertools.pairwise(edges):
        code(other, 0, other.n_blocks, start, stop)
    return usual, other


def assert_the_same(experiment, cuts=()):
    usual, other = both_ways(experiment, cuts)
    assert_same_bits(result_of(usual), result_of(other), ["final"])
    for name in ("w", "m", "state"):
        np.testing.assert_array_equal(getattr(usual, name), getattr(other, name))


@dtypes
@examples(8)
@given(st.data())
def test_the_same_bits_as_the_kernels_of_every_network(dtype, data):
    experiment = data.draw(combinations(dtype, max_runs=40, max_steps=30))
    options = {**experiment.options, "batch_size": 0}
    for stop in ("stops_at_target", "stops_on_divergence", "patient"):
        options[stop] = False
    if options["schedule"] == "cosine":
        options["schedule"] = "linear"
    allowed = [name if name not in UNWRITABLE else "tanh" for name in experiment.activations]
    experiment = experiment.with_(options=options, activations=tuple(allowed))
    if multiply_adds(batch_of(experiment, 1, trace=False).network) * len(experiment.x) <= 250:
        assert_the_same(experiment, data.draw(st.lists(st.integers(0, 30), max_size=3)))


@pytest.mark.parametrize("activation", [name for name in HIDDEN if name not in UNWRITABLE])
def test_every_activation(activation):
    assert_the_same(random_experiment(1, [2, 2, 1], [activation, "identity"], "mse", True, 2, 20, 3))


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss(loss):
    output = LOSSES[loss].output or "tanh"
    assert_the_same(random_experiment(2, [2, 2], [output], loss, True, 2, 20, 3, n_validation=1))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer(optimizer):
    assert_the_same(
        random_experiment(3, [2, 2], ["tanh"], "mse", False, 1, 20, 23, optimizer=optimizer, decays=True)
    )


@pytest.mark.parametrize("schedule", [name for name in SCHEDULES if name != "cosine"])
def test_every_schedule(schedule):
    own = dict.fromkeys(SCHEDULES[schedule].defaults, 2.0)
    experiment = random_experiment(4, [1, 2], ["tanh"], "mse", True, 1, 20, 25, own=own, schedule=schedule)
    assert_the_same(experiment)


@dtypes
def test_scales_of_one_are_left_out(dtype):
    experiment = random_experiment(5, [2, 2, 2], ["sigmoid"] * 2, "mse", True, 1, 50, 30, dtype)
    plain = experiment.with_(scales=np.ones_like(experiment.scales))
    assert_the_same(plain)
    mixed = np.where(np.arange(50)[:, None] < 25, 1, experiment.scales).astype(dtype)
    assert_the_same(experiment.with_(scales=mixed))


def test_divergence_comes_out_the_same():
    experiment = random_experiment(6, [2, 2, 1], ["relu", "identity"], "mse", True, 2, 30, 60, rate=300.0)
    usual, _ = both_ways(experiment)
    assert np.isinf(result_of(usual).metrics["loss_last"]).any() or np.isnan(result_of(usual).final).any()
    assert_the_same(experiment)


@pytest.mark.parametrize("kept", [(), (0,), (7, 30), (40,), (3, 39, 40)])
def test_recorded_steps_take_the_other_way(kept, monkeypatch):
    monkeypatch.setattr(straight, "GAIN", np.inf)
    experiment = random_experiment(7, [2, 3, 1], ["tanh", "identity"], "mse", True, 2, 100, 40)
    width = cpu.width(np.float64)
    batches = [batch_of(experiment, width, history=kept, trace=False) for _ in range(2)]
    code = straight.order(batches[0], 1.0)
    code.result()  # is compiled before the training begins
    calls = []
    monkeypatch.setattr(Straight, "__call__", _counted(Straight.__call__, calls))
    train_in_lanes(batches[0])
    n_calls = len(calls)
    monkeypatch.setattr(straight, "order", lambda *_: None)
    train_in_lanes(batches[1])
    assert n_calls > 0
    assert n_calls == len(calls)
    assert all(not set(range(start, stop)) & set(kept) for start, stop in calls)
    left, right = map(result_of, batches)
    assert_same_bits(left, right, ["final", "losses"])


def _counted(call, calls):
    def counted(self, batch, first, last, start, stop):
        calls.append((start, stop))
        call(self, batch, first, last, start, stop)

    return counted


def test_code_is_compiled_once_and_only_where_it_pays():
    def batch(**options):
        n_samples = options.pop("n_samples", 1)
        experiment = random_experiment(8, [2, 2, 1], ["tanh"] * 2, "mse", True, n_samples, 20, 37, **options)
        return batch_of(experiment, cpu.width(np.float64), history=(), trace=False)

    ordered = straight.order(batch(), 1e6)
    assert ordered is straight.order(batch(), 1e6)
    assert ordered is not straight.order(batch(optimizer="momentum"), 1e6)
    assert straight.order(batch(), 0.01) is None
    assert straight.order(batch(n_samples=2000), 1e6) is None
    for option in ("stops_at_target", "stops_on_divergence"):
        assert straight.order(batch(**{option: True}), 1e6) is None
    assert straight.order(batch(n_samples=3, batch_size=2), 1e6) is None


def test_what_cannot_be_written_is_left_to_the_other_kernels():
    assert UNWRITABLE <= set(ACTIVATIONS)
    for activation in UNWRITABLE:
        experiment = random_experiment(9, [2, 1], [activation], "mse", True, 1, 5, 3)
        assert straight.straight(batch_of(experiment, cpu.width(np.float64), trace=False)) is None


def test_multiply_adds_by_hand():
    def of(layers):
        shape = [2, *layers]
        experiment = random_experiment(1, shape, ["tanh"] * len(layers), "mse", True, 1, 1, 1)
        return multiply_adds(batch_of(experiment, 1, trace=False).network)

    # Forward and gradient of both layers, delta back through the second: 4 + 4 and 4 + 4 + 4.
    assert of([2, 2]) == 20
    assert of([3]) == 12
    assert of([4, 1]) == 2 * 8 + 3 * 4
    assert is_possible(batch_of(random_experiment(1, [2, 2], ["tanh"], "mse", True, 1, 1, 1), 1).network)
