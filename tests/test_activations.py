from functools import cache

import mpmath
import numpy as np
import pytest
from runs import DTYPES, HIDDEN, MACHINES, on, pack, unpack, width_of

from fastbp.kernels.activations import ACTIVATIONS, HYPERPARAMETERS, OFFSETS, activate, multiply_slope
from fastbp.kernels.lanes import rows

SELU_SCALE = mpmath.mpf("1.0507009873554804934193349852946")
SELU_ALPHA = mpmath.mpf("1.6732632423543772848170429916717")
# The same functions by other formulas, in arbitrary precision; h are the activation's own hyperparameters.
FORMULAS = {
    "identity": lambda z, h: z,
    "sigmoid": lambda z, h: (1 + mpmath.tanh(z / 2)) / 2,
    "tanh": lambda z, h: 1 - 2 / (mpmath.exp(2 * z) + 1),
    "relu": lambda z, h: (z + abs(z)) / 2,
    "leaky_relu": lambda z, h: ((1 + h[0]) * z + (1 - h[0]) * abs(z)) / 2,
    "elu": lambda z, h: max(z, mpmath.mpf(0)) + h[0] * (mpmath.exp(min(z, mpmath.mpf(0))) - 1),
    "selu": lambda z, h: SELU_SCALE * FORMULAS["elu"](z, [SELU_ALPHA]),
    "softplus": lambda z, h: mpmath.log(1 + mpmath.exp(z)),
    "softsign": lambda z, h: z / (1 + abs(z)),
    "gelu": lambda z, h: z * mpmath.ncdf(z),
    "silu": lambda z, h: z * (1 + mpmath.tanh(z / 2)) / 2,
    "erf": lambda z, h: 1 - mpmath.erfc(z),
    "sin": lambda z, h: mpmath.cos(z - mpmath.pi / 2),
}
INF, NAN = np.inf, np.nan
# Values and slopes at minus infinity and at infinity; h stands for the activation's own hyperparameter.
LIMITS = {
    "identity": ((-INF, INF), (1, 1)),
    "sigmoid": ((0, 1), (0, 0)),
    "tanh": ((-1, 1), (0, 0)),
    "relu": ((0, INF), (0, 1)),
    "leaky_relu": ((-INF, INF), ("h", 1)),
    "elu": (("-h", INF), (0, 1)),
    "selu": ((-float(SELU_SCALE * SELU_ALPHA), INF), (0, float(SELU_SCALE))),
    "softplus": ((0, INF), (0, 1)),
    "softsign": ((-1, 1), (0, 0)),
    "gelu": ((0, INF), (0, 1)),
    "silu": ((0, INF), (0, 1)),
    "erf": ((-1, 1), (0, 0)),
    "sin": ((NAN, NAN), (NAN, NAN)),
}
# The slope at the kink, 0: the one from below, as in PyTorch.
AT_THE_KINK = {"relu": 0.0, "leaky_relu": "h", "elu": "h", "selu": float(SELU_SCALE * SELU_ALPHA)}
OUTSIDE = [-1, -(2**40), len(ACTIVATIONS), len(ACTIVATIONS) + 100, 2**40]
TOLERANCE = {np.float64: 2e-15, np.float32: 1e-6}

machines = pytest.mark.parametrize("machine", MACHINES)
dtypes = pytest.mark.parametrize("dtype", DTYPES)


def loop(kind, z, a, delta, h, first, last, n_units):
    for block in range(len(z)):
        args = rows(z, block), rows(a, block), rows(h, block)
        activate(kind, (args[0], args[1], args[2], first, last, n_units))
        multiply_slope(kind, (args[0], args[1], rows(delta, block), args[2], first, last, n_units))


def apply(machine, kind, z, h=None, delta=3.0, first=0, last=None, of_layer=None):
    """Give a (9 before) and the new delta of some runs with units z, own hyperparameters h: (n_runs, n_units).

    The units are those of several samples where a layer has `of_layer`.
    """
    n_runs, n_units = z.shape
    placed = np.zeros((n_runs, len(HYPERPARAMETERS)))
    if h is not None:
        offset = list(OFFSETS.values())[kind]
        placed[:, offset : offset + h.shape[1]] = h
    h = placed.astype(z.dtype)
    columns = z, np.full_like(z, 9), delta * np.ones_like(z), h
    blocks = [pack(values, width_of(machine, z.dtype), z.dtype) for values in columns]
    last = n_units if last is None else last
    on(machine, loop)(kind, *blocks, first, last, of_layer or last - first)
    return unpack(blocks[1], n_runs), unpack(blocks[2], n_runs)


def kind_of(name):
    return list(ACTIVATIONS).index(name)


def inputs(name, dtype):
    """Give units (40, 5) and for each run own hyperparameters, the defaults first."""
    random = np.random.default_rng(5)
    z = np.concatenate([random.normal(0, 1, 100), random.normal(0, 20, 80), random.uniform(-0.01, 0.01, 20)])
    z = random.permutation(z).astype(dtype).reshape(40, 5)
    return z, own(name, 40).astype(dtype)


def own(name, n_runs):
    defaults = list(ACTIVATIONS[name].defaults.values()) or [np.nan]
    changes = np.random.default_rng(6).uniform(0.2, 2.0, (n_runs, 1))
    changes[0] = 1.0
    return np.array(defaults) * changes


@cache
def exact(name, dtype):
    z, h = inputs(name, dtype)
    formula, values, slopes, step = FORMULAS[name], [], [], mpmath.mpf("1e-15")
    with mpmath.workdps(60):
        for run in range(len(z)):
            numbers = [mpmath.mpf(float(number)) for number in h[run] if not np.isnan(number)]
            for x in map(mpmath.mpf, z[run].tolist()):
                values.append(float(formula(x, numbers)))
                # Central differences, at a distance that steps over no kink.
                slopes.append(float((formula(x + step, numbers) - formula(x - step, numbers)) / (2 * step)))
    return np.reshape(values, z.shape), np.reshape(slopes, z.shape)


@dtypes
@machines
@pytest.mark.parametrize("name", HIDDEN)
def test_value_and_slope(name, machine, dtype):
    z, h = inputs(name, dtype)
    a, delta = apply(machine, kind_of(name), z, h)
    values, slopes = exact(name, dtype)
    assert a.dtype == delta.dtype == dtype
    assert np.abs(z).min() > 1e-12
    np.testing.assert_allclose(a, values, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    np.testing.assert_allclose(delta / 3, slopes, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@dtypes
@machines
@pytest.mark.parametrize("name", HIDDEN)
def test_limits(name, machine, dtype):
    h = own(name, 1).astype(dtype)
    symbols = {"h": float(h[0, 0]), "-h": -float(h[0, 0])}
    values, slopes = ([symbols.get(x, x) for x in limits] for limits in LIMITS[name])
    for far in (np.finfo(dtype).max, np.inf):
        a, delta = apply(machine, kind_of(name), np.array([[-far, far]], dtype), h, delta=1.0)
        if np.isfinite(far) and (name == "sin" or np.isinf(values).any()):
            assert not np.isnan(a).any()
        else:
            np.testing.assert_allclose(a[0], values, rtol=3e-7 if dtype == np.float32 else 5e-16)
        if name != "sin" or far == np.inf:
            np.testing.assert_allclose(delta[0], slopes, atol=3e-7 if dtype == np.float32 else 5e-16)


@dtypes
@machines
@pytest.mark.parametrize("name", HIDDEN)
def test_at_a_thousand(name, machine, dtype):
    # Where exp over- and underflows, nothing is lost or turns into infinity times zero.
    z, h = np.array([[1000.0, -1000.0, 90.0, -90.0, 710.0, -746.0]], dtype), own(name, 1).astype(dtype)
    a, delta = apply(machine, kind_of(name), z, h)
    with mpmath.workdps(500):
        numbers = [mpmath.mpf(float(number)) for number in h[0]]
        values = [float(FORMULAS[name](mpmath.mpf(float(number)), numbers)) for number in z[0]]
    np.testing.assert_allclose(a[0], values, rtol=TOLERANCE[dtype], atol=1e-36)
    assert np.isfinite(delta).all()


@dtypes
@machines
@pytest.mark.parametrize("name", HIDDEN)
def test_at_zero_and_not_a_number(name, machine, dtype):
    h = own(name, 1).astype(dtype)
    a, delta = apply(machine, kind_of(name), np.array([[0.0, np.nan]], dtype), h, delta=1.0)
    with mpmath.workdps(30):
        numbers = [mpmath.mpf(float(number)) for number in h[0]]
        expected = float(FORMULAS[name](mpmath.mpf(0), numbers))
    assert a[0, 0] == pytest.approx(expected, rel=3e-7 if dtype == np.float32 else 5e-16, abs=1e-29)
    assert np.isnan(a[0, 1])
    if name in AT_THE_KINK:
        expected = float(h[0, 0]) if AT_THE_KINK[name] == "h" else AT_THE_KINK[name]
        assert delta[0, 0] == pytest.approx(expected, rel=3e-7 if dtype == np.float32 else 5e-16)


# Softmax, of a whole layer


@dtypes
@machines
@pytest.mark.parametrize("n_units", [1, 2, 7])
@pytest.mark.parametrize("size", [1.0, 30.0, 1000.0])
def test_softmax(size, n_units, machine, dtype):
    random = np.random.default_rng(n_units)
    z = random.normal(0, size, (40, n_units)).astype(dtype)
    below = random.normal(size=z.shape).astype(dtype)
    a, delta = apply(machine, kind_of("softmax"), z, delta=below)
    with mpmath.workdps(50):
        for run in range(len(z)):
            units = [mpmath.mpf(float(number)) for number in z[run]]
            exponentials = [mpmath.exp(unit - max(units)) for unit in units]
            values = np.array([float(e / sum(exponentials)) for e in exponentials])
            jacobian = np.diag(values) - np.outer(values, values)
            np.testing.assert_allclose(a[run], values, rtol=50 * TOLERANCE[dtype], atol=1e-36)
            np.testing.assert_allclose(delta[run], jacobian @ below[run], atol=10 * TOLERANCE[dtype])
    np.testing.assert_allclose(a.sum(axis=1), 1, rtol=TOLERANCE[dtype])


@dtypes
@machines
def test_softmax_does_not_change_with_a_shift(machine, dtype):
    # Sixteenths that are exact with all shifts.
    z = np.random.default_rng(3).integers(-64, 64, (20, 5)).astype(dtype) / 16
    a, _ = apply(machine, kind_of("softmax"), z)
    for shift in (-1000.0, -1.0, 512.0):
        np.testing.assert_array_equal(apply(machine, kind_of("softmax"), z + dtype(shift))[0], a)


@dtypes
@machines
def test_softmax_at_the_limits(machine, dtype):
    largest = np.finfo(dtype).max
    z = [[largest, 0, -largest], [-np.inf, 0, 0], [largest, largest, 0], [np.nan, 0, 0], [np.inf, 0, 0]]
    a, _ = apply(machine, kind_of("softmax"), np.array(z, dtype))
    np.testing.assert_array_equal(a[:3], [[1, 0, 0], [0, 0.5, 0.5], [0.5, 0.5, 0]])
    assert np.isnan(a[3]).all()
    assert np.isnan(a[4, 0])


# The table


@dtypes
@machines
@pytest.mark.parametrize("kind", OUTSIDE)
def test_a_kind_outside_the_table_gives_nan(kind, machine, dtype):
    a, delta = apply(machine, kind, inputs("tanh", dtype)[0])
    assert np.isnan(a).all()
    assert np.isnan(delta).all()


@machines
@pytest.mark.parametrize("kind", range(-1, len(ACTIVATIONS) + 1))
def test_other_units_are_left_alone(kind, machine):
    a, delta = apply(machine, kind, np.full((20, 4), 0.7), delta=2.0, first=1, last=3)
    assert (a[:, [0, 3]] == 9).all()
    assert (delta[:, [0, 3]] == 2).all()
    assert (a[:, 1:3] != 9).all()


def test_every_entry_says_its_formula():
    assert set(FORMULAS) == set(LIMITS) == set(HIDDEN)
    assert {name for name, activation in ACTIVATIONS.items() if activation.over_layer} == {"softmax"}
    assert all(activation.formula for activation in ACTIVATIONS.values())
    assert {name for name, activation in ACTIVATIONS.items() if activation.kinked} == set(AT_THE_KINK)


@machines
@dtypes
def test_a_layer_of_several_samples_is_each_sample_by_itself(machine, dtype):
    z = np.random.default_rng(5).normal(size=(40, 6)).astype(dtype)
    for kind in range(len(ACTIVATIONS)):
        a, delta = apply(machine, kind, z, of_layer=2)
        for first in range(0, 6, 2):
            own_a, own_delta = apply(machine, kind, np.ascontiguousarray(z[:, first : first + 2]))
            np.testing.assert_array_equal(a[:, first : first + 2], own_a)
            np.testing.assert_array_equal(delta[:, first : first + 2], own_delta)
