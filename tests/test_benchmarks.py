"""All contestants of the comparison compute the losses that fastbp computes; what is made of their times."""

import io
import json
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks import compare, machine, tables, workers
from benchmarks.contestants import CONTESTANTS, contestant
from benchmarks.workloads import WORKLOADS

N_RUNS = 8
# A workload of each kind of network, loss and optimizer, with few of its steps.
STEPS = {"fractal-8-72": 20, "8-16-16-4": 20, "digits": 56, "notebook": 3}
SMALL = {name: replace(WORKLOADS[name], steps=steps) for name, steps in STEPS.items()}


@pytest.fixture
def module(name, monkeypatch):
    """Import a contestant; JAX has its settings back afterwards, and PyTorch compiles nothing: it takes long."""
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    try:
        found = contestant(name)
    except ImportError as missing:
        pytest.skip(str(missing))
    config = found.jax.config if hasattr(found, "jax") else None
    before = config and config.jax_enable_x64
    stance = found.torch.compiler.set_stance("force_eager") if name == "torch" else nullcontext()
    with stance:
        yield found
    if config:
        config.update("jax_enable_x64", before)


def losses_of(module, workload, setting):
    trainer = module.trainer(workload, min(N_RUNS, workload.n_runs), setting)
    trainer.train()
    first = trainer.losses().copy()
    trainer.reset()
    trainer.train()
    np.testing.assert_array_equal(trainer.losses(), first)
    return first


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")  # the other libraries' own warnings are theirs
@pytest.mark.parametrize("workload", SMALL)
@pytest.mark.parametrize("name", [name for name in CONTESTANTS if name != "fastbp"])
def test_contestants_compute_the_same_losses(name, workload, module):
    chosen, own = SMALL[workload], contestant("fastbp")
    if obstacle := module.obstacle(chosen):
        pytest.skip(obstacle)
    (whole,) = own.settings(chosen)
    expected = losses_of(own, chosen, whole)
    assert np.ptp(expected) > 0
    for setting in {setting.form: setting for setting in module.settings(chosen)}.values():
        losses = losses_of(module, chosen, setting)
        np.testing.assert_allclose(losses, expected, rtol=compare.TOLERANCE[chosen.dtype])


@pytest.mark.parametrize("name", [name for name in WORKLOADS if name != "digits"])
def test_fewer_runs_are_the_first_of_more(name):
    workload = WORKLOADS[name]
    np.testing.assert_array_equal(workload.weights(3), workload.weights(7)[:3])
    np.testing.assert_array_equal(workload.learning_rates(3), workload.learning_rates(7)[:3])
    x, y = workload.samples()
    assert x.shape == (workload.n_samples, workload.layers[0])
    assert y.shape == (workload.n_samples, workload.layers[-1])
    assert x.dtype == y.dtype == workload.weights(1).dtype == workload.dtype


def test_batches_are_whole_epochs():
    workload = WORKLOADS["digits"]
    epochs = workload.batches().reshape(-1, workload.n_samples)
    assert len(epochs) == 10
    np.testing.assert_array_equal(np.sort(epochs), np.broadcast_to(np.arange(1792), epochs.shape))


def test_a_missing_library_is_a_line():
    def desk():
        raise ModuleNotFoundError("No module named 'library'\nand more")

    replies = io.StringIO()
    workers.serve(desk, [json.dumps(["version", {}])] * 2, replies)
    expected = ["ModuleNotFoundError: No module named 'library'", None]
    assert [json.loads(line) for line in replies.getvalue().splitlines()] == [expected] * 2


def test_a_process_that_cannot_answer_is_a_line():
    worker = workers.Worker("nobody")
    try:
        with pytest.raises(workers.WorkerError, match="KeyError: 'nobody'"):
            worker.ask("version")
        worker.process.kill()
        worker.process.wait()
        with pytest.raises(workers.WorkerError, match="ended with code -9"):
            worker.ask("version")
    finally:
        worker.close()


def test_a_comparison_in_processes():
    names = ("fastbp", "numpy", "keras", "peak")
    running = {name: workers.Worker(name) for name in names}
    try:
        own, numpy, keras = compare.compare(WORKLOADS["2-2-2-f64"], running, turns=2, seconds=0.01)
    finally:
        for worker in running.values():
            worker.close()
    assert not own.obstacle
    assert not numpy.obstacle
    assert keras.obstacle
    assert not keras.rates
    assert min(own.rates + numpy.rates + numpy.peaks) > 0
    assert numpy.own == own.rates
    assert len(numpy.rates) == len(numpy.peaks) == 2


def test_other_losses_are_told():
    assert compare.difference([1.0, 2.0], [1.0, 2.0 + 1e-12], 1e-9) == ""
    assert "5.0e-01 off" in compare.difference([1.0, 3.0], [1.0, 2.0], 1e-9)
    assert "nan off" in compare.difference([1.0, np.nan], [1.0, 2.0], 1e-9)


def test_tables(tmp_path):
    workload = WORKLOADS["fractal-8-72"]
    peaks = [workload.multiply_adds * 10e6] * 3
    own = tables.Measured(workload, "fastbp", "fastbp 1", "all", 9, [4e6, 5e6, 6e6], [4e6, 5e6, 6e6], peaks)
    other = tables.Measured(workload, "jax", "JAX 1", "64 runs", 9, [1e6, 1e6, 2e6], own.rates, peaks)
    missing = tables.Measured(workload, "numba", obstacle="is missing")
    assert own.ratio is None
    assert other.ratio == (4, 3, 5)
    assert own.share == pytest.approx(0.5)
    rows = [own, other, missing]
    tables.write(rows, {"processor": "one"}, tmp_path)
    text = (tmp_path / "compare.md").read_text(encoding="utf-8")
    assert "- processor: one" in text
    assert "| fastbp 1 | 5 (4 to 6) |  | 50.0% | 45% |" in text
    assert "| JAX 1 | 1 (1 to 2) | 4 (3 to 5) | 10.0% | 4.5x |" in text
    assert "- numba: is missing" in text
    written = pq.read_table(tmp_path / "compare.parquet")
    assert written.schema.metadata[b"processor"] == b"one"
    assert [row["contestant"] for row in written.to_pylist()] == ["fastbp", "jax", "numba"]
    assert written["steps_a_second"].to_pylist() == [own.rates, other.rates, []]


def test_the_machine_has_a_name():
    assert all(machine.described().values())
