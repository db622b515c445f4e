"""Random experiments as Hypothesis strategies, and the machines that run an experiment."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from types import SimpleNamespace

import numba
import numpy as np
import reference
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from numba.core import config

from fastbp.kernels import cpu
from fastbp.kernels.activations import ACTIVATIONS
from fastbp.kernels.batch import make_batch, pack
from fastbp.kernels.lanes import kernel, rows
from fastbp.kernels.losses import LOSSES, weight
from fastbp.kernels.metrics import METRICS
from fastbp.kernels.network import Network
from fastbp.kernels.optimizers import OPTIMIZERS

JIT = not config.DISABLE_JIT
DTYPES = [np.float64, np.float32]
NO_TARGET = -1.0  # no loss is that low


def examples(n):
    """Hypothesis settings: `n` examples, half of them where the compiler is switched off."""
    return settings(
        max_examples=n if JIT else n // 2,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


@dataclass(frozen=True)
class Experiment:
    """Runs of one network.

    x, y: (n_samples, n_features), or (n_runs, n_samples, n_features); w: (n_runs, n_parameters), its dtype is that
    of the training; learning_rates, scales: (n_runs, n_layers); targets: (n_runs,).
    """

    layers: tuple[int, ...]
    activations: tuple[str, ...]
    loss: str
    bias: bool
    x: np.ndarray
    y: np.ndarray
    w: np.ndarray
    learning_rates: np.ndarray
    targets: np.ndarray
    scales: np.ndarray
    steps: int

    def with_(self, **changes):
        return replace(self, **changes)

    def pick(self, runs):
        """Give the experiment of some of the runs, in that order."""
        runs = np.asarray(runs, int)
        return self.with_(
            x=self.x if self.x.ndim == 2 else self.x[runs],
            y=self.y if self.y.ndim == 2 else self.y[runs],
            w=self.w[runs],
            learning_rates=self.learning_rates[runs],
            targets=self.targets[runs],
            scales=self.scales[runs],
        )

    def data(self, run):
        """Give x and y of a run."""
        return tuple(values if values.ndim == 2 else values[run] for values in (self.x, self.y))


def n_parameters(layers, bias):
    return sum((n_in + bias) * n_out for n_in, n_out in pairwise(layers))


def random_experiment(
    seed, layers, activations, loss, bias, n_samples, n_runs, steps, dtype=np.float64, rate=0.1, per_run=False
):
    """Draw weights, data and learning rates of a given structure, all of moderate size."""
    random = np.random.default_rng(seed)
    shape = (n_runs, n_samples) if per_run else (n_samples,)
    return Experiment(
        layers=tuple(layers),
        activations=tuple(activations),
        loss=loss,
        bias=bias,
        x=random.normal(size=(*shape, layers[0])).astype(dtype),
        y=random.normal(size=(*shape, layers[-1])).astype(dtype),
        w=random.uniform(-1, 1, (n_runs, n_parameters(layers, bias))).astype(dtype),
        learning_rates=random.uniform(0, rate, (n_runs, len(layers) - 1)).astype(dtype),
        targets=np.full(n_runs, NO_TARGET, dtype),
        scales=random.uniform(0.5, 1.5, (n_runs, len(layers) - 1)).astype(dtype),
        steps=steps,
    )


@st.composite
def experiments(
    draw, dtype=np.float64, activations=tuple(ACTIVATIONS), max_runs=3, max_steps=4, per_run=False
):
    """Random experiments: 1 to 4 layers of 1 to 6 units, any activation a layer, any loss."""
    layers = draw(st.lists(st.integers(1, 6), min_size=2, max_size=5))
    return random_experiment(
        seed=draw(st.integers(0, 2**32 - 1)),
        layers=layers,
        activations=[draw(st.sampled_from(activations)) for _ in layers[1:]],
        loss=draw(st.sampled_from(tuple(LOSSES))),
        bias=draw(st.booleans()),
        n_samples=draw(st.integers(1, 5)),
        n_runs=draw(st.integers(1, max_runs)),
        steps=draw(st.integers(1, max_steps)),
        dtype=dtype,
        per_run=per_run,
    )


def network_of(experiment):
    n_samples = experiment.x.shape[-2]
    return Network(
        layers=np.array(experiment.layers, np.int64),
        activations=np.array([list(ACTIVATIONS).index(name) for name in experiment.activations], np.int64),
        bias=experiment.bias,
        loss=list(LOSSES).index(experiment.loss),
        optimizer=list(OPTIMIZERS).index("sgd"),
        weight=weight(experiment.loss, n_samples, experiment.layers[-1]),
        n_samples=n_samples,
    )


def batch_of(experiment, width, *, history=True, trace=True, network=None):
    """Lay an experiment out in blocks of `width` runs."""
    return make_batch(
        network or network_of(experiment),
        experiment.steps,
        experiment.x,
        experiment.y,
        experiment.w,
        np.column_stack([experiment.targets, experiment.learning_rates, experiment.scales]),
        width,
        history=history,
        trace=trace,
    )


def train_in_interpreter(batch):
    """Train a batch of blocks of one run in plain Python."""
    with np.errstate(all="ignore"):
        cpu.train_blocks(*cpu.arguments(batch), 0, batch.n_blocks, 0, batch.steps)


def thread_pool(threads):
    """Give a pool whose threads let divergence pass where the compiler is switched off."""
    return ThreadPoolExecutor(threads, initializer=lambda: np.seterr(all="ignore"))


def train_in_lanes(batch, threads=2, **options):
    """Train a batch of blocks of ``cpu.width`` runs with the driver of the CPU."""
    with thread_pool(threads) as pool:
        cpu.train_batch(batch, pool, threads, **options)


def run(experiment, machine="lanes", **options):
    """Train an experiment; give everything, the run as the first axis of each array."""
    batch = batch_of(experiment, 1 if machine == "interpreter" else cpu.width(experiment.w.dtype), **options)
    {"interpreter": train_in_interpreter, "lanes": train_in_lanes}[machine](batch)
    return result_of(batch)


def result_of(batch):
    """Take the results out of a batch, in the shapes of `reference.train` behind the axis of runs."""
    n_units = sum(batch.network.layers[1:])
    shapes = {
        "w": (-1, batch.w.shape[1]),
        "g": (-1, batch.w.shape[1]),
        "z": (-1, batch.network.n_samples, n_units),
        "a": (-1, batch.network.n_samples, n_units),
        "delta": (-1, batch.network.n_samples, n_units),
    }

    def rows(array, shape):
        lanes = array.transpose(0, 2, 1).reshape(batch.n_blocks * batch.width, array.shape[1])
        n_rows = array.shape[1] // abs(int(np.prod(shape)))
        return lanes[: batch.n_runs].reshape(batch.n_runs, n_rows, *shape[1:])

    m = batch.runs(batch.m)
    return SimpleNamespace(
        final=batch.runs(batch.w),
        metrics={name: m[:, row] for name, row in METRICS.items()},
        losses=rows(batch.losses, (-1,)),
        **{name: rows(batch.trace[name], shape) for name, shape in shapes.items()},
    )


def reference_of(experiment, run):
    """Train one run of an experiment by the textbook."""
    x, y = experiment.data(run)
    return reference.train(
        experiment.layers,
        experiment.activations,
        experiment.loss,
        experiment.bias,
        x,
        y,
        experiment.w[run],
        experiment.learning_rates[run],
        experiment.steps,
        experiment.targets[run],
        experiment.scales[run],
    )


def distance_to_kink(experiment, result):
    """Give the smallest |z| of the units whose activation has a kink, as the reference saw them."""
    ends = np.cumsum(experiment.layers[1:])
    distances = [
        np.abs(result.z[..., end - n : end]).min()
        for name, n, end in zip(experiment.activations, experiment.layers[1:], ends, strict=True)
        if name in reference.KINKED
    ]
    return min(distances, default=np.inf)


def assert_same_bits(left, right, names=("final", "losses")):
    """Hold two results to the same bits: the named arrays and all metrics."""
    pairs = [(name, getattr(left, name), getattr(right, name)) for name in names]
    pairs += [(name, left.metrics[name], right.metrics[name]) for name in METRICS]
    for name, a, b in pairs:
        assert a.dtype == b.dtype, name
        assert a.shape == b.shape, name
        integers = f"u{a.dtype.itemsize}"
        differ = np.ascontiguousarray(a).view(integers) != np.ascontiguousarray(b).view(integers)
        assert not differ.any(), f"{name}: {a[differ][:3]} is not {b[differ][:3]}"


def error_of(got, expected, scale=None):
    """Give the largest difference of two arrays, relative to the largest magnitude of the second (or `scale`).

    A smaller one than 0.3 counts as that: it is what cancellation left of numbers of size 1.
    """
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    assert got.shape == expected.shape
    scale = np.abs(expected).max(initial=0.0) if scale is None else scale
    return np.abs(got - expected).max(initial=0.0) / max(scale, 0.3)


def assert_close(got, expected, tolerance, name="", scale=None):
    """Hold an array to another, within `tolerance` as `error_of` measures it."""
    error = error_of(got, expected, scale)
    assert error <= tolerance, f"{name}: {got} is not {expected}, off by {error}"


def lanewise(function, *columns):
    """Give ``function(*columns)``, computed in lanes: the columns are 1-D arrays of one dtype, so is the result.

    Where the compiler is switched off the same rows pass through as runs of one.
    """
    columns = np.stack(columns, axis=1)
    width = cpu.width(columns.dtype)
    arguments = pack(columns, width, columns.dtype)
    result = np.zeros_like(arguments[:, :1])
    with np.errstate(all="ignore"):
        _driver(function, columns.shape[1])(arguments, result)
    return result.transpose(0, 2, 1).reshape(-1)[: len(columns)]


@cache
def _driver(function, n_columns):
    f = kernel(function)

    @numba.njit(error_model="numpy")
    def one(arguments, result):
        for block in range(len(arguments)):
            w, out = rows(arguments, block), rows(result, block)
            out[0] = f(w[0])

    @numba.njit(error_model="numpy")
    def two(arguments, result):
        for block in range(len(arguments)):
            w, out = rows(arguments, block), rows(result, block)
            out[0] = f(w[0], w[1])

    @numba.njit(error_model="numpy")
    def three(arguments, result):
        for block in range(len(arguments)):
            w, out = rows(arguments, block), rows(result, block)
            out[0] = f(w[0], w[1], w[2])

    return (one, two, three)[n_columns - 1]


def runwise(function, *columns):
    """Give ``function(*columns)`` as `lanewise` does, in the interpreter."""
    with np.errstate(all="ignore"):
        results = [function(*numbers) for numbers in zip(*columns, strict=True)]
    return np.array(results).astype(columns[0].dtype)


MAPS = {"interpreter": runwise, "lanes": lanewise}
MACHINES = list(MAPS)
