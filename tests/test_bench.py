import math
import threading
import time

import numpy as np
import pytest
from runs import DTYPES, thread_pool
from test_sweep import SMALL

from fastbp import bench as bench_module
from fastbp.bench import as_values, bench, multiply_adds
from fastbp.kernels import cpu, peak
from fastbp.kernels.structure import Structure
from fastbp.sweep import loads

LONG = SMALL.replace("steps = 5", "steps = 16_777_216")


def counted(structure):
    """Count the multiplications of weights, one after the other, of a step over all samples."""
    count = 0
    for _ in range(structure.n_samples):
        for layer, (n_in, n_out) in enumerate(zip(structure.layers, structure.layers[1:], strict=False)):
            for _ in range(n_in):
                for _ in range(n_out):
                    count += 2  # the sum of the forward pass, the gradient
                    count += layer > 0  # the delta of the layer before, which the inputs have none of
    return count


@pytest.mark.parametrize("layers", [(2, 2, 2), (1, 1), (3, 5, 4, 2)])
@pytest.mark.parametrize("n_samples", [1, 7])
def test_multiply_adds_of_all_samples(layers, n_samples):
    activations = ("tanh",) * (len(layers) - 1)
    structure = Structure(layers, True, activations, "mse", "sgd", 3, "float64", n_samples)
    assert multiply_adds(structure) == counted(structure)
    # 7 samples by 3 make steps of 3, 3 and 1; drawn with replacement there are always 3.
    if n_samples == 7:
        batches = structure._replace(batch_size=3)
        assert multiply_adds(batches) == pytest.approx(counted(structure) / 3)
        drawn = batches._replace(batch_order="with_replacement")
        assert multiply_adds(drawn) == pytest.approx(counted(structure) * 3 / 7)


def test_what_is_measured_fits_together():
    found = bench(loads(SMALL + "[[grid]]\nlearning_rate = { linspace = [0, 1, 50] }\n"), 2, 0.05)
    assert (found.name, found.threads, found.n_runs, found.n_groups) == ("small", 2, 50, 1)
    (group,) = found.groups
    assert group.n_runs == 50
    assert group.multiply_adds_a_second == pytest.approx(group.steps_a_second * 2 * 2 * 2)
    assert group.share_of_peak == pytest.approx(group.multiply_adds_a_second / found.peak["float64"])
    assert group.seconds == found.seconds == pytest.approx(50 * 5 / group.steps_a_second)
    assert all(0 < number < math.inf for number in (*found.peak.values(), group.steps_a_second))


def test_runs_that_would_take_hours_are_measured_in_part():
    began = time.monotonic()
    found = bench(loads(LONG), 1, 0.05)
    assert time.monotonic() - began < 600
    assert 0 < found.groups[0].steps_a_second < math.inf
    assert found.seconds == pytest.approx(2**24 / found.groups[0].steps_a_second)


def test_runs_without_steps():
    found = bench(loads(SMALL.replace("steps = 5", "steps = 0")), 1, 0.05)
    assert found.groups[0].steps_a_second == found.groups[0].share_of_peak == 0
    assert 0 < found.seconds < math.inf


def test_the_largest_groups_are_measured_and_stand_for_the_others(monkeypatch):
    monkeypatch.setattr(bench_module, "GROUPS", 2)
    found = bench(loads(SMALL + '[[grid]]\nsteps = [1, 9, 2, 8]\ndtype = ["float32"]\n'), 1, 0.05)
    assert [group.structure.steps for group in found.groups] == [9, 8]
    assert found.n_groups == 4
    assert list(found.peak) == ["float32"]
    measured = sum(group.seconds for group in found.groups)
    assert found.seconds == pytest.approx(measured * (10 + 9 + 3 + 2) / (10 + 9))


def test_compiling_is_not_measured(monkeypatch):
    calls = []

    def train_batch(batch, pool, threads, cancel, advance=None, n_runs_in_all=None):
        calls.append(cancel.is_set())
        if not cancel.is_set():
            advance(batch.n_runs)

    monkeypatch.setattr(cpu, "train_batch", train_batch)
    bench(loads(SMALL), 1, 0.05)
    assert calls[:2] == [True, False]


def test_as_values():
    found = bench(loads(SMALL), 1, 0.05)
    values = as_values(found)
    assert values["groups"][0]["layers"] == (2, 1)
    assert values["groups"][0]["steps_a_second"] == found.groups[0].steps_a_second
    assert "structure" not in values["groups"][0]
    assert values["peak"] == found.peak


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_chains", peak.CHAINS)
def test_chains_are_multiply_adds(dtype, n_chains):
    width, steps, x, y = cpu.width(dtype), 5, dtype(0.75), dtype(0.5)
    values = np.arange(n_chains * width, dtype=dtype).reshape(1, n_chains, width)
    expected = values.astype(float)
    for _ in range(steps):  # of these numbers none is rounded
        expected = expected * 0.75 + 0.5
    peak.CHAINS[n_chains](values, steps, x, y)
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_peak_is_a_number(dtype, monkeypatch):
    monkeypatch.setattr(peak, "STEPS_A_CALL", 10)
    with thread_pool(2) as pool:
        assert 0 < peak.multiply_adds_a_second(dtype, pool, 2, 0.01) < math.inf
    assert threading.active_count() < 50
