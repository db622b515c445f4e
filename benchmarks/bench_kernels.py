"""The microkernels one by one, on one processor: ``pytest benchmarks/bench_kernels.py``, by pytest-benchmark."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numba
import numpy as np
import pytest

from benchmarks.floor import block, updates
from fastbp.bench import multiply_adds
from fastbp.kernels import cpu, optimizers, straight
from fastbp.kernels.activations import ACTIVATIONS
from fastbp.kernels.batch import make_batch
from fastbp.kernels.lanes import kernel, rows
from fastbp.kernels.mathematics import exp
from fastbp.kernels.matrices import Matrix, multiply
from fastbp.kernels.optimizers import OPTIMIZERS
from fastbp.kernels.peak import multiply_adds_a_second
from fastbp.kernels.structure import Structure, network_of

ROWS = 64  # of values and of parameters: they stay in the first-level cache
PRODUCTS_A_CALL = 100_000  # some tenths of a millisecond
ENDLESS = 1_000_000_000  # steps
SHAPES = [(2, 2, 1), (8, 8, 72), (16, 16, 16), (64, 32, 32), (5, 7, 3)]  # inputs, outputs, samples
VALUES = {"exp": lambda z, h: exp(z)} | {n: ACTIVATIONS[n].value for n in ("sigmoid", "tanh", "erf")}
STRUCTURES = {
    "2-2-2": ((2, 2, 2), ("sigmoid", "sigmoid"), "mse", "sgd", 1),
    "8-8-1": ((8, 8, 1), ("tanh", "identity"), "mse", "sgd", 72),
    "16-16-1": ((16, 16, 1), ("sigmoid", "sigmoid"), "mse", "sgd", 16),
    "8-16-16-4": ((8, 16, 16, 4), ("sigmoid", "sigmoid", "sigmoid"), "mse", "sgd", 64),
    "64-32-10 adam": ((64, 32, 10), ("relu", "softmax"), "cross_entropy", "adam", 32),
}

dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])


@cache
def peak(dtype):
    """Give the multiply-adds a second of one processor."""
    with ThreadPoolExecutor(1) as pool:
        return multiply_adds_a_second(dtype, pool, 1)


def tell(benchmark, dtype, n_products):
    """Note the multiply-adds a second in the fastest round of so many, and their share of the peak."""
    if benchmark.stats:  # not where pytest-benchmark is told to measure nothing
        rate = n_products / benchmark.stats["min"]
        benchmark.extra_info |= {"multiply_adds_a_second": rate, "share_of_peak": rate / peak(dtype)}


@numba.njit(error_model="numpy")
def products(times, A, a, B, b, sizes, C, c, adds):
    """Multiply so many `times`; a, b, c are the strides of row and column."""
    for _ in range(times):
        result = Matrix(rows(C, 0), 0, c[0], c[1])
        multiply(
            rows(A, 0)[0],
            Matrix(rows(A, 0), 0, a[0], a[1]),
            Matrix(rows(B, 0), 0, b[0], b[1]),
            sizes,
            result,
            result,
            adds,
        )


@dtypes
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("orientation", ["forward", "delta", "gradient"])
def test_multiply(benchmark, orientation, shape, dtype):
    """The product of a layer, with the strides that `network` gives it; all of a block's own numbers."""
    n_in, n_out, n = shape
    w, a, delta = (block(dtype, size) for size in (n_in * n_out, n * n_in, n * n_out))
    arguments = {
        "forward": (w, (n_out, 1), a, (1, n_in), (n_in, n_out, n), delta.copy(), (1, n_out), False),
        "delta": (w, (1, n_out), delta, (1, n_out), (n_out, n_in, n), a.copy(), (1, n_in), False),
        "gradient": (delta, (n_out, 1), a, (n_in, 1), (n, n_out, n_in), w.copy(), (1, n_out), False),
    }[orientation]
    times = max(1, PRODUCTS_A_CALL // (n_in * n_out * n))
    benchmark(products, times, *arguments)
    tell(benchmark, dtype, times * n_in * n_out * n * cpu.width(dtype))


@cache
def values_of(name):
    """Give the loop of a function over the rows of a block."""
    f = kernel(VALUES[name])

    @numba.njit(error_model="numpy")
    def loop(times, z, a):
        for _ in range(times):
            for j in range(z.shape[1]):
                rows(a, 0)[j] = f(rows(z, 0)[j], 0)

    return loop


@dtypes
@pytest.mark.parametrize("name", VALUES)
def test_values(benchmark, name, dtype):
    """A function of each of a block's numbers."""
    z, times = block(dtype, ROWS), 100
    benchmark(values_of(name), times, z, z.copy())
    if benchmark.stats:
        benchmark.extra_info["values_a_second"] = times * z.size / benchmark.stats["min"]


@dtypes
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_update(benchmark, name, dtype):
    """The update of all parameters of a block."""
    w, times = block(dtype, ROWS), 100
    hyper = np.full_like(block(dtype, 4), 0.5)
    coefficients = block(dtype, optimizers.N_COEFFICIENTS)
    moments = w.copy(), w.copy()
    benchmark(updates, times, list(OPTIMIZERS).index(name), w, w.copy(), *moments, hyper, coefficients)
    if benchmark.stats:
        benchmark.extra_info["parameters_a_second"] = times * w.size / benchmark.stats["min"]


@dtypes
@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("code", ["tiles", "straight"])
def test_step(benchmark, code, name, dtype):
    """Whole steps of a block, whose weights stand still: their rates are 0."""
    layers, activations, loss, optimizer, n_samples = STRUCTURES[name]
    structure = Structure(layers, True, activations, loss, optimizer, ENDLESS, dtype, n_samples)
    width, random = cpu.width(dtype), np.random.default_rng(0)
    hyper = [default or 0.0 for _, _, default in structure.hyperparameters()]
    batch = make_batch(
        network_of(structure),
        ENDLESS,
        random.normal(size=(n_samples, layers[0])),
        random.uniform(size=(n_samples, layers[-1])),
        random.normal(size=(width, structure.n_parameters)).astype(dtype),
        np.tile(hyper, (width, 1)),
        width,
    )
    arguments, (order, _) = cpu.arguments(batch), cpu.order_at(batch, 0)
    cpu.compiled(*arguments, order, 0, 1, 0, 1)
    steps = max(1, PRODUCTS_A_CALL // int(multiply_adds(structure)))
    if code == "tiles":
        benchmark(cpu.compiled, *arguments, order, 0, 1, 1, 1 + steps)
    elif straight.is_possible(batch.network):
        benchmark(straight.straight(batch), batch, 0, 1, 1, 1 + steps)
    else:
        pytest.skip("too large for straight-line code")
    tell(benchmark, dtype, steps * multiply_adds(structure) * width)
