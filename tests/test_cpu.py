import threading
from concurrent.futures import CancelledError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import (
    DTYPES,
    JIT,
    assert_same_bits,
    batch_of,
    combinations,
    examples,
    experiments,
    hyper_of,
    network_of,
    random_experiment,
    result_of,
    run,
    thread_pool,
    train_in_lanes,
)

from fastbp.kernels import cpu, orders
from fastbp.kernels.batch import aligned, make_batch, pack
from fastbp.kernels.network import sizes

TRACE = ["final", "losses", "w", "g", "z", "a", "delta"]


def many(dtype, seed=0, per_run=False, steps=6, blocks=3):
    """Runs enough for some blocks, the last of them not full; one of them diverges."""
    n_runs = blocks * cpu.width(dtype) + min(5, cpu.width(dtype) - 1)
    experiment = random_experiment(
        seed,
        [3, 4, 2],
        ["tanh", "identity"],
        "mse",
        bias=True,
        n_samples=3,
        n_runs=n_runs,
        steps=steps,
        dtype=dtype,
        per_run=per_run,
    )
    rates = experiment.learning_rates.copy()
    rates[n_runs // 2] = np.sqrt(np.finfo(dtype).max)
    return experiment.with_(learning_rates=rates, targets=np.full(n_runs, 0.5, dtype))


def picked(result, runs):
    """Give the result of some runs, in that order."""
    return type(result)(
        **{
            name: {key: array[runs] for key, array in value.items()}
            if isinstance(value, dict)
            else value[runs]
            for name, value in vars(result).items()
        }
    )


@pytest.mark.parametrize("per_run", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_run_is_the_same_in_any_lane_and_block(dtype, per_run):
    experiment = many(dtype, per_run=per_run)
    n_runs = len(experiment.w)
    everything = run(experiment)
    assert np.flatnonzero(everything.metrics["step_diverged"] >= 0).tolist() == [n_runs // 2]
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(n_runs)
        assert_same_bits(run(experiment.pick(order)), picked(everything, order), TRACE)
    for shift in (1, cpu.width(dtype) // 2, 2 * cpu.width(dtype)):
        # Other runs in front push every run into another lane or block.
        order = np.concatenate([np.zeros(shift, int), np.arange(n_runs)])
        assert_same_bits(run(experiment.pick(order)), picked(everything, order), TRACE)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_run_is_the_same_alone_as_with_neighbours(dtype):
    experiment = many(dtype)
    everything = run(experiment)
    for r in (0, 1, len(experiment.w) // 2, len(experiment.w) - 1):
        assert_same_bits(run(experiment.pick([r])), picked(everything, [r]), TRACE)


@pytest.mark.parametrize("dtype", DTYPES)
@examples(40)
@given(st.data())
def test_any_choice_of_runs_of_any_network(dtype, data):
    experiment = data.draw(experiments(dtype, max_runs=6, per_run=data.draw(st.booleans())))
    everything = run(experiment)
    index = st.integers(0, len(experiment.w) - 1)
    order = data.draw(st.lists(index, min_size=1, max_size=2 * cpu.width(dtype)))
    assert_same_bits(run(experiment.pick(order)), picked(everything, order), TRACE)


@pytest.mark.parametrize("dtype", DTYPES)
@examples(40)
@given(st.data())
def test_any_choice_of_runs_of_any_combination(dtype, data):
    experiment = data.draw(combinations(dtype, max_runs=6))
    everything = run(experiment)
    index = st.integers(0, len(experiment.w) - 1)
    order = data.draw(st.lists(index, min_size=1, max_size=2 * cpu.width(dtype)))
    assert_same_bits(run(experiment.pick(order)), picked(everything, order), TRACE)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads(threads):
    experiment = many(np.float64, blocks=8)
    batch = batch_of(experiment, cpu.width(np.float64))
    train_in_lanes(batch, threads=threads)
    expected = batch_of(experiment, cpu.width(np.float64))
    with np.errstate(all="ignore"):
        cpu.compiled(
            *cpu.arguments(expected), cpu.order_at(expected, 0)[0], 0, expected.n_blocks, 0, experiment.steps
        )
    assert_same_bits(result_of(batch), result_of(expected), TRACE)


@pytest.mark.parametrize("seconds", [1e-9, 1e-4, 10.0])
def test_any_length_of_a_call(seconds, monkeypatch):
    # Calls so short do one step of one block each; calls so long do all at once.
    experiment = many(np.float64, steps=30)
    expected = run(experiment)
    monkeypatch.setattr(cpu, "SECONDS_A_CALL", seconds)
    assert_same_bits(run(experiment), expected, TRACE)


@pytest.mark.parametrize("dtype", DTYPES)
@examples(30)
@given(st.data())
def test_any_slicing_of_the_steps(dtype, data):
    steps = data.draw(st.integers(0, 30))
    experiment = many(dtype, steps=steps, blocks=1)
    assert_same_bits(sliced(experiment, data), run(experiment), TRACE)


@pytest.mark.parametrize("dtype", DTYPES)
@examples(60)
@given(st.data())
def test_any_slicing_of_any_combination(dtype, data):
    # State of optimizers, patience, what is left of stopped runs, orders drawn in chunks of any size.
    experiment = data.draw(combinations(dtype, max_runs=5, max_steps=30, stops=True))
    targets = data.draw(st.floats(0, 1)) * np.arange(len(experiment.w))
    experiment = experiment.with_(targets=targets.astype(dtype))
    expected = run(experiment, trace=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(orders, "PLACES", data.draw(st.sampled_from([1, 20, 2**20])))
        result = sliced(experiment, data)
    assert_same_bits(result, expected, ["final", "losses", "w", "g", "z", "a"])
    np.testing.assert_array_equal(result.steps, expected.steps)


def sliced(experiment, data):
    """Give the result of a training that is interrupted at some steps."""
    batch = batch_of(experiment, cpu.width(experiment.w.dtype), trace=True)
    cuts = data.draw(st.sets(st.integers(1, max(1, experiment.steps - 1)), max_size=6))
    start, done = 0, False
    while not done:
        order, reach = cpu.order_at(batch, start)
        stop = min([reach, experiment.steps, *[cut for cut in cuts if cut > start]])
        # Fresh scratch each time: nothing but the batch may carry over.
        arguments = cpu.arguments(batch)
        with np.errstate(all="ignore"):
            for block in reversed(range(batch.n_blocks)):
                cpu.compiled(*arguments, order, block, block + 1, start, stop)
        start, done = stop, stop == experiment.steps
    return result_of(batch)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("history", "trace"), [(False, False), (True, False), (False, True)])
def test_what_is_recorded_changes_nothing(history, trace, dtype):
    experiment = many(dtype)
    width = cpu.width(dtype)
    batch, everything = batch_of(experiment, width, history=history, trace=trace), batch_of(experiment, width)
    train_in_lanes(batch)
    train_in_lanes(everything)
    np.testing.assert_array_equal(batch.w, everything.w)
    np.testing.assert_array_equal(batch.m, everything.m)
    for name, array in {"losses": batch.history, **batch.trace}.items():
        recorded = history if name == "losses" else trace
        expected = everything.history if name == "losses" else everything.trace[name]
        assert array.shape[1] == recorded * expected.shape[1]
        if recorded:
            np.testing.assert_array_equal(array, expected)


def test_data_and_learning_rates_are_left_alone():
    experiment = many(np.float64, per_run=True)
    batch = batch_of(experiment, cpu.width(np.float64))
    before = [array.copy() for array in (batch.x, batch.y, batch.hyper)]
    train_in_lanes(batch)
    for array, copy in zip((batch.x, batch.y, batch.hyper), before, strict=True):
        np.testing.assert_array_equal(array, copy)
    assert (batch.runs(batch.w) != experiment.w).any()


# Cancelling and telling of progress


def test_cancelled_before_it_began():
    batch = batch_of(many(np.float64), cpu.width(np.float64))
    before = batch.w.copy()
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(CancelledError):
        train_in_lanes(batch, cancel=cancel)
    np.testing.assert_array_equal(batch.w, before)


def test_cancelled_on_the_way(monkeypatch):
    monkeypatch.setattr(cpu, "SECONDS_A_CALL", 1e-9)
    batch = batch_of(many(np.float64, steps=50), cpu.width(np.float64))
    cancel, told = threading.Event(), []

    def advance(runs):
        told.append(runs)
        cancel.set()

    with pytest.raises(CancelledError):
        train_in_lanes(batch, cancel=cancel, advance=advance)
    assert 0 < sum(told) < batch.n_runs


class NumberedPool:
    """A pool of two threads whose tasks know their number."""

    def __init__(self, pool):
        self.pool, self.local, self.n_tasks = pool, threading.local(), 0

    def submit(self, task):
        number, self.n_tasks = self.n_tasks, self.n_tasks + 1
        return self.pool.submit(self._call, number, task)

    def _call(self, number, task):
        self.local.number = number
        task()


def test_an_error_is_raised_once_no_thread_writes_any_more():
    batch = batch_of(many(np.float64), cpu.width(np.float64))
    both_have_trained, raised, finished = threading.Barrier(2), threading.Event(), []

    def advance(runs):
        if not finished:
            both_have_trained.wait(30)
        if numbered.local.number == 0:
            raise ZeroDivisionError("from the progress bar")
        raised.wait(0.2)  # the first task's error is on its way
        finished.append(runs)

    with thread_pool(2) as pool:
        numbered = NumberedPool(pool)
        with pytest.raises(ZeroDivisionError, match="from the progress bar"):
            cpu.train_batch(batch, numbered, 2, advance=advance)
        assert finished
        raised.set()
        left = batch.w.copy()
    np.testing.assert_array_equal(batch.w, left)


@pytest.mark.parametrize("steps", [0, 1, 7, 50])
@pytest.mark.parametrize("seconds", [1e-9, 10.0])
def test_progress_adds_up_to_the_runs(seconds, steps, monkeypatch):
    monkeypatch.setattr(cpu, "SECONDS_A_CALL", seconds)
    batch = batch_of(many(np.float64, steps=steps), cpu.width(np.float64))
    told = []
    train_in_lanes(batch, advance=told.append)
    assert sum(told) == pytest.approx(batch.n_runs, rel=1e-12)
    assert min(told) > 0


# The layout


@pytest.mark.parametrize("dtype", [np.float64, np.float32, "float32"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (2, 0, 16), (1, 1000, 32)])
def test_aligned(shape, dtype):
    arrays = [aligned(shape, dtype) for _ in range(20)]
    for array in arrays:
        assert array.ctypes.data % 64 == 0 or array.size == 0
        assert array.shape == shape
        assert array.dtype == dtype
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert not array.any()
        array[...] = 1
    assert all((array == 1).all() for array in arrays)


@pytest.mark.parametrize("dtype", DTYPES)
def test_all_arrays_of_a_batch_are_aligned(dtype):
    batch = batch_of(many(dtype, per_run=True), cpu.width(dtype))
    names = ("x", "y", "w", "hyper", "m", "history")
    for array in (*(getattr(batch, name) for name in names), *batch.trace.values()):
        assert array.ctypes.data % 64 == 0
        assert array.dtype == dtype
        assert array.shape[::2] == (batch.n_blocks, batch.width)


@pytest.mark.parametrize("width", [1, 4, 16])
@pytest.mark.parametrize("extra", [-1, 0, 1, 2])
@pytest.mark.parametrize("blocks", [1, 2])
def test_pack_and_unpack(blocks, extra, width):
    n_runs = blocks * width + extra
    if n_runs < 1:
        return
    experiment = random_experiment(4, [2, 3], ["tanh"], "mse", True, 2, n_runs, 1, per_run=True)
    batch = batch_of(experiment, width)
    assert batch.n_blocks == -(-n_runs // width)
    np.testing.assert_array_equal(batch.runs(batch.w), experiment.w)
    np.testing.assert_array_equal(batch.runs(batch.x), experiment.x.reshape(n_runs, -1))
    np.testing.assert_array_equal(batch.runs(batch.hyper)[:, 1:2], experiment.learning_rates)
    np.testing.assert_array_equal(batch.runs(batch.hyper)[:, 2:], experiment.scales)
    lanes = batch.w.transpose(0, 2, 1).reshape(-1, 9)
    for r in range(batch.n_blocks * width):
        np.testing.assert_array_equal(batch.w[r // width, :, r % width], experiment.w[min(r, n_runs - 1)])
    assert (lanes[n_runs:] == experiment.w[-1]).all()
    np.testing.assert_array_equal(pack(experiment.w, width, np.float64), batch.w)


def test_make_batch_takes_its_dtype_from_the_weights_and_copies_them():
    experiment = random_experiment(1, [3, 2], ["tanh"], "mse", True, 3, n_runs=33, steps=2)
    w = experiment.w.astype(np.float32)
    network = network_of(experiment)
    batch = make_batch(network, 2, experiment.x, experiment.y, w, hyper_of(experiment), 32)
    for array in (batch.x, batch.y, batch.w, batch.hyper, batch.m, batch.history):
        assert array.dtype == np.float32
    before = w.copy()
    batch.w[...] = 0
    np.testing.assert_array_equal(w, before)


@examples(50)
@given(experiments())
def test_sizes(experiment):
    n_units = sum(experiment.layers[1:])
    assert sizes(network_of(experiment)) == (experiment.w.shape[1], n_units)


def test_machine():
    assert cpu.n_threads() >= 1
    assert cpu.width("float32") == cpu.width(np.float32) == (32 if JIT else 1)
