import mpmath
import numba
import numpy as np
import pytest
from runs import DTYPES, MACHINES

from fastbp.kernels import cpu
from fastbp.kernels.activations import ACTIVATIONS, activate, multiply_slope
from fastbp.kernels.batch import pack
from fastbp.kernels.lanes import rows

# The same functions by other formulas, in arbitrary precision.
FORMULAS = {
    "identity": lambda z: z,
    "sigmoid": lambda z: (1 + mpmath.tanh(z / 2)) / 2,
    "tanh": lambda z: 1 - 2 / (mpmath.exp(2 * z) + 1),
    "relu": lambda z: (z + abs(z)) / 2,
}
KINKS = {"relu": 0.0}
OUTSIDE = [-1, -(2**40), len(ACTIVATIONS), len(ACTIVATIONS) + 100, 2**40]
TOLERANCE = {np.float64: 1e-15, np.float32: 5e-7}


@numba.njit
def values_in_lanes(kind, z, a):
    for block in range(len(z)):
        activate(kind, (rows(z, block), rows(a, block), 0, z.shape[1]))


@numba.njit
def slopes_in_lanes(kind, z, a, delta):
    for block in range(len(z)):
        multiply_slope(kind, (rows(z, block), rows(a, block), rows(delta, block), 0, z.shape[1]))


def apply(machine, kind, z):
    """Give a and, from a delta of 3, the new delta of some runs with units z: arrays (n_runs, n_units)."""
    if machine == "interpreter":
        a, delta = np.zeros_like(z), np.full_like(z, 3)
        with np.errstate(all="ignore"):
            for run in range(len(z)):
                activate(kind, (z[run], a[run], 0, z.shape[1]))
                multiply_slope(kind, (z[run], a[run], delta[run], 0, z.shape[1]))
        return a, delta
    width = cpu.width(z.dtype)
    blocks = [pack(values, width, z.dtype) for values in (z, np.zeros_like(z), np.full_like(z, 3))]
    with np.errstate(all="ignore"):
        values_in_lanes(kind, *blocks[:2])
        slopes_in_lanes(kind, *blocks)
    return tuple(block.transpose(0, 2, 1).reshape(-1, z.shape[1])[: len(z)] for block in blocks[1:])


def inputs(dtype):
    random = np.random.default_rng(5)
    z = np.concatenate([random.normal(0, 1, 100), random.normal(0, 20, 80), random.uniform(-0.01, 0.01, 20)])
    return z.astype(dtype).reshape(40, 5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_value_and_slope(name, machine, dtype):
    formula, z = FORMULAS[name], inputs(dtype)
    a, delta = apply(machine, list(ACTIVATIONS).index(name), z)
    with mpmath.workdps(60):
        numbers = [mpmath.mpf(float(number)) for number in z.flat]
        values = [float(formula(number)) for number in numbers]
        # Central differences, at a distance that steps over no kink.
        slopes = [float((formula(x + 1e-15) - formula(x - 1e-15)) / mpmath.mpf(2e-15)) for x in numbers]
    assert a.dtype == delta.dtype == dtype
    assert all(abs(float(number)) > 1e-12 for number in z.flat)
    np.testing.assert_allclose(a.ravel(), values, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    np.testing.assert_allclose(delta.ravel() / 3, slopes, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_limits(name, machine, dtype):
    z = np.array([[1000.0, -1000.0, np.inf, -np.inf, np.nan, 0.0]], dtype)
    a, delta = apply(machine, list(ACTIVATIONS).index(name), z)
    with mpmath.workdps(500):
        finite = [float(FORMULAS[name](mpmath.mpf(float(number)))) for number in z[0, [0, 1, 5]]]
    np.testing.assert_array_equal(a[0, [0, 1, 5]], np.array(finite, dtype))
    # Infinity is where the values at 1000 tend to.
    bounded = np.abs(finite[0]) <= 1, np.abs(finite[1]) <= 1
    for i, is_bounded in zip((0, 1), bounded, strict=True):
        assert a[0, i + 2] == (a[0, i] if is_bounded else z[0, i + 2])
    assert np.isnan(a[0, 4])
    assert np.isfinite(delta[0, [0, 1, 2, 3, 5]]).all()
    if name in KINKS:
        assert delta[0, 5] == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("kind", OUTSIDE)
def test_a_kind_outside_the_table_gives_nan(kind, machine, dtype):
    a, delta = apply(machine, kind, inputs(dtype))
    assert np.isnan(a).all()
    assert np.isnan(delta).all()


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("kind", range(-1, len(ACTIVATIONS) + 1))
def test_other_units_are_left_alone(kind, machine):
    def shifted(z, a, delta):
        activate(kind, (z, a, 1, 3))
        multiply_slope(kind, (z, a, delta, 1, 3))

    @numba.njit
    def in_lanes(z, a, delta):
        values, outputs, deltas = rows(z, 0), rows(a, 0), rows(delta, 0)
        activate(kind, (values, outputs, 1, 3))
        multiply_slope(kind, (values, outputs, deltas, 1, 3))

    width = cpu.width("float64")
    z, a, delta = (pack(np.full((width, 4), value), width, np.float64) for value in (0.7, 9.0, 2.0))
    if machine == "interpreter":
        shifted(z[0, :, 0], a[0, :, 0], delta[0, :, 0])
    else:
        in_lanes(z, a, delta)
    assert (a[0, [0, 3]] == 9).all()
    assert (delta[0, [0, 3]] == 2).all()
    assert (a[0, 1:3, 0] != 9).all()


def test_every_entry_says_its_formula():
    assert set(FORMULAS) == set(ACTIVATIONS)
    for activation in ACTIVATIONS.values():
        assert activation.formula
    assert {name for name, activation in ACTIVATIONS.items() if activation.kinked} == set(KINKS)
