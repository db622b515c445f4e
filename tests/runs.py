"""Random experiments as Hypothesis strategies, and the machines that run an experiment."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from types import SimpleNamespace

import numba
import numpy as np
import reference
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from numba.core import config

from fastbp.kernels import cpu, structure
from fastbp.kernels.activations import ACTIVATIONS
from fastbp.kernels.batch import make_batch, pack
from fastbp.kernels.lanes import kernel, rows
from fastbp.kernels.losses import LOSSES
from fastbp.kernels.metrics import METRICS, STEPS, stopping
from fastbp.kernels.optimizers import OPTIMIZERS
from fastbp.kernels.orders import ORDERS, Orders
from fastbp.kernels.schedules import SCHEDULES
from fastbp.kernels.structure import Structure

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

    x, y: (n_samples + n_validation, n_features), or (n_runs, …, n_features); w: (n_runs, n_parameters), its dtype
    is that of the training; learning_rates, scales: (n_runs, n_layers); targets: (n_runs,); own: hyperparameters
    by name, (n_runs,); options: the fields of a `Structure` that are not its defaults.
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
    own: dict = field(default_factory=dict)
    options: dict = field(default_factory=dict)

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
            own={name: values[runs] for name, values in self.own.items()},
        )

    def data(self, run):
        """Give x and y of a run."""
        return tuple(values if values.ndim == 2 else values[run] for values in (self.x, self.y))

    @property
    def structure(self):
        n_validation = self.options.get("n_validation", 0)
        return Structure(
            layers=self.layers,
            bias=self.bias,
            activations=self.activations,
            loss=self.loss,
            optimizer=self.options.get("optimizer", "sgd"),
            steps=self.steps,
            dtype=self.w.dtype.name,
            n_samples=self.x.shape[-2] - n_validation,
        )._replace(**self.options)


def n_parameters(layers, bias):
    return sum((n_in + bias) * n_out for n_in, n_out in pairwise(layers))


def targets_of(random, loss, shape):
    """Draw targets that a loss takes."""
    kind = LOSSES[loss].targets
    if kind == "class":
        return np.eye(shape[-1])[random.integers(0, shape[-1], shape[:-1])]
    if kind == "sign":
        return random.choice([-1.0, 1.0], shape)
    return random.uniform(size=shape) if kind == "probability" else random.normal(size=shape)


def random_experiment(
    seed,
    layers,
    activations,
    loss,
    bias,
    n_samples,
    n_runs,
    steps,
    dtype=np.float64,
    rate=0.1,
    per_run=False,
    own=None,
    **options,
):
    """Draw weights, data and learning rates of a given structure, all of moderate size."""
    random = np.random.default_rng(seed)
    n_rows = n_samples + options.get("n_validation", 0)
    shape = (n_runs, n_rows) if per_run else (n_rows,)
    return Experiment(
        layers=tuple(layers),
        activations=tuple(activations),
        loss=loss,
        bias=bias,
        x=random.normal(size=(*shape, layers[0])).astype(dtype),
        y=targets_of(random, loss, (*shape, layers[-1])).astype(dtype),
        w=random.uniform(-1, 1, (n_runs, n_parameters(layers, bias))).astype(dtype),
        learning_rates=random.uniform(0, rate, (n_runs, len(layers) - 1)).astype(dtype),
        targets=np.full(n_runs, NO_TARGET, dtype),
        scales=random.uniform(0.5, 1.5, (n_runs, len(layers) - 1)).astype(dtype),
        steps=steps,
        own={name: np.full(n_runs, value) for name, value in (own or {}).items()},
        options=options,
    )


HIDDEN = tuple(name for name, activation in ACTIVATIONS.items() if not activation.over_layer)


@st.composite
def experiments(
    draw,
    dtype=np.float64,
    activations=tuple(ACTIVATIONS),
    max_runs=3,
    max_steps=4,
    per_run=False,
    losses=None,
):
    """Random experiments: 1 to 4 layers of 1 to 6 units, any activations, any loss that goes with the last."""
    layers = draw(st.lists(st.integers(1, 6), min_size=2, max_size=5))
    hidden = [name for name in activations if name in HIDDEN]
    output = draw(st.sampled_from(activations))
    fitting = [name for name in losses or LOSSES if LOSSES[name].output in ("", output)]
    return random_experiment(
        seed=draw(st.integers(0, 2**32 - 1)),
        layers=layers,
        activations=[*(draw(st.sampled_from(hidden)) for _ in layers[2:]), output],
        loss=draw(st.sampled_from(fitting)),
        bias=draw(st.booleans()),
        n_samples=draw(st.integers(1, 5)),
        n_runs=draw(st.integers(1, max_runs)),
        steps=draw(st.integers(1, max_steps)),
        dtype=dtype,
        per_run=per_run,
    )


# Own hyperparameters of a combination are drawn from these; those of integers are in WHOLE.
BETWEEN = {
    "negative_slope": (0.0, 0.5),
    "elu_alpha": (0.3, 2.0),
    "huber_delta": (0.3, 2.0),
    "momentum": (0.0, 0.95),
    "rho": (0.5, 0.99),
    "beta_1": (0.0, 0.95),
    "beta_2": (0.5, 0.999),
    "epsilon": (1e-8, 1e-2),
    "momentum_decay": (0.0, 0.1),
    "decay_rate": (0.3, 1.0),
    "final_factor": (0.0, 1.2),
    "clip_norm": (0.05, 1.0),
    "weight_decay": (0.0, 0.2),
    "min_delta": (0.0, 0.01),
}
WHOLE = {"warmup_steps": (0, 4), "decay_steps": (1, 6), "patience": (1, 4)}


def with_own(experiment, seed):
    """Give the experiment with own hyperparameters that differ from run to run."""
    random, own, n_runs = np.random.default_rng(seed), {}, len(experiment.w)
    for name, layer, _ in experiment.structure.hyperparameters():
        if layer is None and name != "target_loss":
            drawn = (
                random.integers(*WHOLE[name], n_runs)
                if name in WHOLE
                else random.uniform(*BETWEEN[name], n_runs)
            )
            own[name] = drawn.astype(experiment.w.dtype)
    return experiment.with_(own=own)


@st.composite
def combinations(draw, dtype=np.float64, max_runs=3, max_steps=8, stops=False):
    """Random experiments with anything that a structure can ask for."""
    layers = draw(st.lists(st.integers(1, 4), min_size=2, max_size=4))
    loss = draw(st.sampled_from(list(LOSSES)))
    output = LOSSES[loss].output or draw(st.sampled_from(list(ACTIVATIONS)))
    optimizer, bias = draw(st.sampled_from(list(OPTIMIZERS))), draw(st.booleans())
    n_samples, n_validation = draw(st.integers(1, 7)), draw(st.integers(0, 3))
    names = [f"{kind}{layer}" for layer in range(1, len(layers)) for kind in "Wb"[: 1 + bias]]
    seed = draw(st.integers(0, 2**32 - 1))
    drawn = random_experiment(
        seed,
        layers,
        [*(draw(st.sampled_from(HIDDEN)) for _ in layers[2:]), output],
        loss,
        bias,
        n_samples,
        draw(st.integers(1, max_runs)),
        draw(st.integers(1, max_steps)),
        dtype,
        per_run=draw(st.booleans()),
        n_validation=n_validation,
        optimizer=optimizer,
        schedule=draw(st.sampled_from(list(SCHEDULES))),
        warms_up=draw(st.booleans()),
        clips=draw(st.booleans()),
        decays=optimizer == "adamw" or draw(st.booleans()),
        frozen=tuple(draw(st.sets(st.sampled_from(names), max_size=2))),
        batch_size=draw(st.integers(0, n_samples)),
        batch_order=draw(st.sampled_from(list(ORDERS))),
        batch_seed=draw(st.integers(0, 2**32 - 1)),
        stops_at_target=stops and draw(st.booleans()),
        stops_on_divergence=stops and draw(st.booleans()),
        patient=stops and n_validation > 0 and draw(st.booleans()),
        validate_every=draw(st.integers(0, 2)),
    )
    return with_own(drawn, seed)


def network_of(experiment):
    return structure.network_of(experiment.structure)


def hyper_of(experiment):
    """Give the hyperparameters of each run, in the order of the structure."""
    columns = []
    for name, layer, default in experiment.structure.hyperparameters():
        if name == "target_loss":
            columns.append(experiment.targets)
        elif layer is not None:
            columns.append(
                {"learning_rate": experiment.learning_rates, "scale": experiment.scales}[name][:, layer]
            )
        else:
            columns.append(experiment.own.get(name, np.full(len(experiment.w), default)))
    return np.column_stack(columns)


def orders_of(experiment):
    shape = experiment.structure
    if not shape.batch_size:
        return None
    return Orders(shape.batch_order, shape.batch_seed, shape.n_samples, shape.samples_a_step, shape.steps)


def batch_of(experiment, width, *, history=True, trace=None, network=None, measures=("loss_last",)):
    """Lay an experiment out in blocks of `width` runs; a trace is made where all steps take all samples.

    The history is of all steps, of none, or of those named.
    """
    steps = experiment.steps
    return make_batch(
        network or network_of(experiment),
        steps,
        experiment.x,
        experiment.y,
        experiment.w,
        hyper_of(experiment),
        width,
        orders=orders_of(experiment),
        steps_kept=range(steps + 1) if history is True else history or (),
        measures=measures,
        trace=not experiment.structure.batch_size if trace is None else trace,
    )


def train_in_interpreter(batch):
    """Train a batch of blocks of one run in plain Python."""
    with np.errstate(all="ignore"):
        for start, order, stop in slices(batch):
            cpu.train_blocks(*cpu.arguments(batch), order, 0, batch.n_blocks, start, stop)


def slices(batch):
    """Give the steps that one order of samples serves, in turn."""
    start, stop = 0, -1
    while stop < batch.steps:
        order, stop = cpu.order_at(batch, start)
        yield start, order, stop
        start = stop


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
    stops = stopping(batch.network)
    return SimpleNamespace(
        final=batch.runs(batch.w),
        metrics={name: m[:, row] for name, row in METRICS.items()},
        steps=m[:, STEPS].astype(int) if stops else np.full(batch.n_runs, batch.steps),
        losses=rows(batch.history, (-1,))[:, :: len(batch.measures)],
        history={
            name: rows(batch.history, (-1,))[:, k :: len(batch.measures)]
            for k, name in enumerate(batch.measures)
        },
        **{name: rows(batch.trace[name], shape) for name, shape in shapes.items()},
    )


def reference_of(experiment, run, rounding=0.0):
    """Train one run of an experiment by the textbook, or with gradients that are a little wrong."""
    x, y = experiment.data(run)
    shape, own = experiment.structure, {name: float(values[run]) for name, values in experiment.own.items()}
    for name, layer, default in shape.hyperparameters():
        if layer is None and name != "target_loss" and default is not None:
            own.setdefault(name, default)
    if own.get("decay_steps") == 0:
        own["decay_steps"] = max(shape.steps - own.get("warmup_steps", 0), 1)
    n, stops = shape.n_samples, ("target", "divergence", "patience")
    flags = (shape.stops_at_target, shape.stops_on_divergence, shape.patient)
    return reference.train(
        experiment.layers,
        experiment.activations,
        experiment.loss,
        experiment.bias,
        x[:n],
        y[:n],
        experiment.w[run],
        experiment.learning_rates[run],
        experiment.steps,
        experiment.targets[run],
        experiment.scales[run],
        optimizer=shape.optimizer,
        schedule=shape.schedule,
        own=own,
        batches=None if is_full(shape) else batches_of(shape),
        validation=(x[n:], y[n:]) if shape.n_validation else None,
        frozen=shape.frozen,
        stops=[name for name, flag in zip(stops, flags, strict=True) if flag],
        validate_every=shape.validate_every or shape.n_batches,
        rounding=rounding,
    )


def is_full(shape):
    """Whether each step takes all samples."""
    all_are_asked_for = shape.batch_size >= shape.n_samples and shape.batch_order != "with_replacement"
    return shape.batch_size == 0 or all_are_asked_for


def batches_of(shape):
    """Give the samples of each step, as the documentation has them."""
    n, size, steps = shape.n_samples, min(shape.batch_size, shape.n_samples), []
    places = -(-n // size) * size if shape.batch_order == "with_replacement" else n
    raw = np.random.Philox(key=np.array([shape.batch_seed, 1], np.uint64))
    while len(steps) < shape.steps:
        numbers = raw.random_raw(-(-places // 4) * 4)[:places]
        epoch = {
            "in_order": lambda: np.arange(n),
            "shuffled": lambda numbers=numbers: np.argsort(numbers, kind="stable"),
            "with_replacement": lambda numbers=numbers: np.array(
                [int((u >> 11) / 2**53 * n) for u in numbers.tolist()]
            ),
        }[shape.batch_order]()
        steps += [epoch[first : first + size] for first in range(0, places, size)]
    return steps[: shape.steps]


def distance_to_kink(experiment, result):
    """Give the smallest distance of a unit to where its activation or the loss has a kink, by the reference."""
    ends = np.cumsum(experiment.layers[1:])
    distances = [
        np.abs(result.z[..., end - n : end]).min()
        for name, n, end in zip(experiment.activations, experiment.layers[1:], ends, strict=True)
        if name in reference.KINKED | {"softsign"}  # of which the curvature jumps, which differences feel
    ]
    y = experiment.y[..., : experiment.structure.n_samples, :]
    output = result.a[..., -experiment.layers[-1] :]
    # In runs with data and hyperparameters of their own the nearest of any run's will do.
    for targets in y if y.ndim == 3 else [y]:
        if experiment.loss == "mae":
            distances.append(np.abs(output - targets).min())
        if experiment.loss == "huber":
            for delta in experiment.own.get("huber_delta", [1.0]):
                distances.append(np.abs(np.abs(output - targets) - delta).min())
        if experiment.loss == "hinge":
            distances.append(np.abs(1 - output * targets).min())
    return min(distances, default=np.inf)


def distance_to_a_tie(experiment, run, result):
    """Give how far the last outputs are from another score, where that is a count."""
    kind, (x, _) = LOSSES[experiment.loss].score, experiment.data(run)
    own = reference.OWN | {name: float(values[run]) for name, values in experiment.own.items()}
    parameters = reference.split(experiment.layers, experiment.bias, result.w[-1])
    with np.errstate(all="ignore"):
        outputs = reference.forward(
            parameters, experiment.activations, np.asarray(x, float), experiment.scales[run], own
        )[1]
    a = outputs[-1]
    if kind == "accuracy" and a.shape[1] > 1:
        best = np.sort(a, axis=1)
        return (best[:, -1] - best[:, -2]).min()
    return {"binary_accuracy": np.abs(a - 0.5).min(), "sign_accuracy": np.abs(a).min()}.get(kind, np.inf)


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


def width_of(machine, dtype):
    """Give the runs a block of a machine."""
    return 1 if machine == "interpreter" else cpu.width(dtype)


def unpack(blocks, n_runs):
    """Give (blocks, rows, width) as (n_runs, rows)."""
    return blocks.transpose(0, 2, 1).reshape(-1, blocks.shape[1])[:n_runs]


def on(machine, function):
    """Give `function` of packed arrays as the machine runs it."""
    if machine == "lanes":
        return _compiled(function)

    def interpreted(*arguments):
        with np.errstate(all="ignore"):
            return function(*arguments)

    return interpreted


@cache
def _compiled(function):
    compiled = numba.njit(error_model="numpy")(function)

    def silent(*arguments):
        with np.errstate(all="ignore"):  # where the compiler is switched off
            return compiled(*arguments)

    return silent


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
