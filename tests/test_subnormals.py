"""Subnormal numbers count as zero while kernels train, and as what they are everywhere else."""

import numpy as np
import pytest
from runs import DTYPES, JIT, batch_of, random_experiment, train_in_lanes

from fastbp.kernels import cpu, straight
from fastbp.kernels.subnormals import flush_subnormals, restore_subnormals

pytestmark = pytest.mark.skipif(not JIT, reason="the interpreter computes with subnormal numbers")
dtypes = pytest.mark.parametrize("dtype", DTYPES)


def halving(dtype):
    """Runs without a gradient whose weights a decay halves in each step, past the smallest normal number."""
    steps = -2 * int(np.finfo(dtype).minexp)
    experiment = random_experiment(
        0, [1, 1], ["identity"], "mse", False, 1, 40, steps, dtype, own={"weight_decay": 0.5}, decays=True
    )
    return experiment.with_(
        x=0 * experiment.x, y=0 * experiment.y, learning_rates=np.ones_like(experiment.learning_rates)
    )


def is_subnormal(values):
    return (values != 0) & (np.abs(values) < np.finfo(values.dtype).tiny)


@dtypes
def test_weights_decay_to_the_smallest_normal_number(dtype):
    batch = batch_of(halving(dtype), cpu.width(dtype), trace=True)
    order, _ = cpu.order_at(batch, 0)
    cpu.compiled(*cpu.arguments(batch), order, 0, batch.n_blocks, 0, batch.steps)
    w, tiny = batch.trace["w"], np.finfo(dtype).tiny
    assert not is_subnormal(w).any()
    # Each is half of the one before, to the bit; half of the last would be subnormal: nothing is subtracted.
    before, after = w[:, :-1], w[:, 1:]
    np.testing.assert_array_equal(after, np.where(np.abs(before) >= 2 * tiny, before / 2, before))
    assert (np.abs(batch.w) < 2 * tiny).all()


@dtypes
def test_straight_code_does_the_same(dtype):
    experiment = halving(dtype)
    usual, other = (batch_of(experiment, cpu.width(dtype), history=(), trace=False) for _ in "ab")
    train_in_lanes(usual)
    straight.straight(other)(other, 0, other.n_blocks, 0, other.steps)
    np.testing.assert_array_equal(other.w, usual.w)


@dtypes
def test_the_thread_computes_with_them_again_afterwards(dtype):
    tiny = np.full(5, np.finfo(dtype).tiny, dtype)
    experiment = halving(dtype).with_(steps=3)
    batch = batch_of(experiment, cpu.width(dtype), history=(), trace=False)
    order, _ = cpu.order_at(batch, 0)
    cpu.compiled(*cpu.arguments(batch), order, 0, batch.n_blocks, 0, batch.steps)
    straight.straight(batch)(batch, 0, batch.n_blocks, 0, batch.steps)
    assert is_subnormal(tiny / 4).all()


def test_the_interpreter_has_no_mode():
    restore_subnormals(flush_subnormals())
    assert is_subnormal(np.array([np.finfo(float).tiny]) / 4).all()
