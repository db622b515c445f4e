import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from runs import DTYPES, JIT, MAPS, lanewise, runwise

from fastbp.kernels import errorfunction, mathematics, trigonometry
from fastbp.kernels.bits import LEAST_MANTISSA
from fastbp.kernels.errorfunction import erf
from fastbp.kernels.mathematics import exp, expm1, log, log1p, tanh
from fastbp.kernels.trigonometry import cos, sin

LN2 = math.log(2)
BITS = {np.float64: np.uint64, np.float32: np.uint32}
OVERFLOW = {np.float64: 709.782712893384, np.float32: 88.72283905206835}
UNDERFLOW = {np.float64: -745.1332191019411, np.float32: -103.97207708399179}
# Quarters of pi up to where the C library takes over.
LARGEST_PERIOD = {np.float64: 127_000, np.float32: 127}
SUBNORMAL = {np.float64: -708.3964185322641, np.float32: -87.33654475055310}
EXACT = {
    exp: mpmath.exp,
    expm1: mpmath.expm1,
    tanh: mpmath.tanh,
    log: mpmath.log,
    log1p: mpmath.log1p,
    erf: mpmath.erf,
    sin: mpmath.sin,
    cos: mpmath.cos,
}
# float64 tells all about float32.
WIDER = {function: getattr(np, function.__name__) for function in EXACT if function is not erf}
WIDER[erf] = np.vectorize(math.erf, [float])
LEAST = {log: 0.0, log1p: -1.0}  # where a logarithm begins
ODD = [expm1, tanh, log1p, erf, sin]  # or nearly so: they keep the sign of zero
PERIODIC = [sin, cos]
functions = pytest.mark.parametrize("function", EXACT, ids=lambda function: function.__name__)


def neighbours(centres, dtype, n):
    """Give the `n` floats on each side of each centre."""
    found = []
    for centre in np.atleast_1d(centres).astype(dtype):
        below, above = [centre], [centre]
        for _ in range(n):
            below.append(np.nextafter(below[-1], dtype(-np.inf)))
            above.append(np.nextafter(above[-1], dtype(np.inf)))
        found += below + above
    return np.array(found, dtype)


def arguments(function, dtype, n):
    """Give arguments of all magnitudes, denser where something may go wrong with one of the functions."""
    random = np.random.default_rng(7)
    info = np.finfo(dtype)
    bits = random.integers(0, np.iinfo(BITS[dtype]).max, n, BITS[dtype], endpoint=True).view(dtype)
    signs = random.choice([-1.0, 1.0], n)
    k = np.arange(math.floor(UNDERFLOW[dtype] / LN2), math.ceil(OVERFLOW[dtype] / LN2) + 1)
    some = random.choice(k, min(len(k), n // 8), replace=False)
    with np.errstate(over="ignore", under="ignore"):
        parts = [
            bits[np.isfinite(bits)],
            signs * 2.0 ** random.uniform(-60, 11, n),  # exponents evenly
            random.uniform(UNDERFLOW[dtype] - 2, OVERFLOW[dtype] + 2, n),
            random.uniform(-2, 2, n),
            random.uniform(UNDERFLOW[dtype] - 1, SUBNORMAL[dtype] + 1, n // 4),
            random.normal(OVERFLOW[dtype], 0.01, n // 4),
            signs * random.uniform(0, 1, n) * float(info.tiny),  # subnormal arguments
            neighbours((some + 0.5) * LN2, dtype, 3),  # where k changes
            neighbours(some * LN2, dtype, 2),
            neighbours([OVERFLOW[dtype], UNDERFLOW[dtype], SUBNORMAL[dtype], 0, 1, -1], dtype, 20),
            neighbours([LN2 / 2, -LN2 / 2, LN2 / 4, -LN2 / 4, 10, 20, -20, 9, 19.06], dtype, 20),
            random.uniform(0.2, 0.8, n),  # where expm1 and erf are worst
            2.0 ** random.uniform(-2, 2, n),
            neighbours(
                LEAST_MANTISSA * 2.0 ** random.integers(-40, 40, 20), dtype, 3
            ),  # where k of log changes
            neighbours(LEAST_MANTISSA * 2.0 ** np.arange(-2.0, 12.0) - 1, dtype, 3),
            neighbours([6, -4, 5.86, 3.92, 3.83], dtype, 5),
            neighbours(random.choice(LARGEST_PERIOD[dtype], n // 20) * math.pi / 4, dtype, 1),
            random.uniform(-1.01, 1.01, n) * LARGEST_PERIOD[dtype] * math.pi / 4,
            # The worst known arguments of tanh.
            [0.12502742318661325, 0.22351181065404285, 0.031129953, 0.12565063, 0.20554036],
            [info.max, -info.max, info.tiny, -info.tiny, info.smallest_subnormal, -info.smallest_subnormal],
        ]
        found = np.concatenate([np.asarray(part).astype(dtype) for part in parts])
    return found[found > LEAST[function]] if function in LEAST else found


def units_off(function, x, got):
    """Give the distance of `got` from the exact value, in units in the last place of the exact value."""
    dtype = x.dtype.type
    info = np.finfo(dtype)
    # What rounds to infinity is held as the float that would follow the largest one.
    ceiling = 2.0**128 if dtype == np.float32 else mpmath.mpf(2) ** 1024
    if dtype == np.float32:
        with np.errstate(over="ignore", under="ignore"):
            exact = np.minimum(WIDER[function](x.astype(np.float64)), ceiling)
        value = np.clip(got.astype(np.float64), -ceiling, ceiling)
        exponent = np.frexp(exact)[1] - 1
        unit = np.ldexp(1.0, np.maximum(exponent, info.minexp) - info.nmant)
        return np.abs(value - exact) / unit
    off = []
    with mpmath.workprec(90):
        for argument, value in zip(x.tolist(), got.tolist(), strict=True):
            if function in (exp, expm1, tanh, erf):
                # mpmath's exponents have no end, and beyond 2000 nothing changes.
                argument = min(max(argument, -2000.0), 2000.0)
            exact = min(EXACT[function](mpmath.mpf(argument)), ceiling)
            value = mpmath.mpf(value) if math.isfinite(value) else mpmath.sign(value) * ceiling
            exponent = mpmath.frexp(exact)[1] - 1 if exact else info.minexp
            unit = mpmath.ldexp(1, max(int(exponent), info.minexp) - info.nmant)
            off.append(float(abs(value - exact) / unit))
    return np.array(off)


@pytest.mark.parametrize("dtype", DTYPES)
@functions
def test_lanes_are_off_by_two_units_at_most(function, dtype):
    n = 400 if not JIT else 3_000 if dtype == np.float64 else 300_000
    x = arguments(function, dtype, n)
    got = lanewise(function, x)
    assert got.dtype == dtype
    off = units_off(function, x, got)
    assert np.isfinite(off).all()
    worst = np.argmax(off)
    assert off[worst] <= (2 if JIT else 4), f"{x[worst]!r} gives {got[worst]!r}, {off[worst]:.2f} units off"
    if function is exp:
        subnormal = (x < SUBNORMAL[dtype]) & (x > UNDERFLOW[dtype] - 1)
        assert subnormal.sum() > n // 8
        assert off[subnormal].max() <= 1


@pytest.mark.parametrize("kind", [np.float64, np.float32, float])
@functions
def test_interpreter_is_off_by_four_units_at_most(function, kind):
    dtype = np.float64 if kind is float else kind
    x = arguments(function, dtype, 400)
    with np.errstate(all="ignore"):
        results = [function(kind(argument)) for argument in x]
    assert {type(result) for result in results} == {kind}
    assert units_off(function, x, np.array(results, dtype)).max() <= 4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("machine", MAPS)
def test_limits_of_exp_and_tanh(machine, dtype):
    x = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, 1e30, -1e30], dtype)
    e, t = MAPS[machine](exp, x), MAPS[machine](tanh, x)
    np.testing.assert_array_equal(e, np.array([np.inf, 0, np.nan, 1, 1, np.inf, 0], dtype))
    np.testing.assert_array_equal(t, np.array([1, -1, np.nan, 0, 0, 1, -1], dtype))
    assert not np.signbit(e[[1, 3, 4, 6]]).any()
    assert np.signbit(t[[1, 4, 6]]).all()
    assert not np.signbit(t[[0, 3, 5]]).any()


# What each makes of inf, -inf, NaN, 1, 0 and -1 is exact.
LIMITS = {
    exp: [np.inf, 0, np.nan, None, 1, None],
    expm1: [np.inf, -1, np.nan, None, 0, None],
    tanh: [1, -1, np.nan, None, 0, None],
    log: [np.inf, np.nan, np.nan, 0, -np.inf, np.nan],
    log1p: [np.inf, np.nan, np.nan, None, 0, -np.inf],
    erf: [1, -1, np.nan, None, 0, None],
    sin: [np.nan, np.nan, np.nan, None, 0, None],
    cos: [np.nan, np.nan, np.nan, None, 1, None],
}


@pytest.mark.parametrize("kind", ["float64", "float32", "float"])
@pytest.mark.parametrize("machine", MAPS)
@functions
def test_limits(function, machine, kind):
    x = np.array([np.inf, -np.inf, np.nan, 1, 0, -1], "float64" if kind == "float" else kind)
    # Python's own floats raise where NumPy's give inf or NaN; these functions must not.
    got = np.array([function(z) for z in x.tolist()]) if kind == "float" else MAPS[machine](function, x)
    known = np.array([limit is not None for limit in LIMITS[function]])
    np.testing.assert_array_equal(got[known], np.array(LIMITS[function])[known].astype(x.dtype))
    assert np.isfinite(got[~known]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("machine", MAPS)
@pytest.mark.parametrize("function", ODD)
def test_near_zero_and_with_its_sign(function, machine, dtype):
    info = np.finfo(dtype)
    x = np.array([0, info.smallest_subnormal, info.tiny / 3, info.tiny, info.tiny * 7], dtype)
    x = np.concatenate([x, -x])
    got = MAPS[machine](function, x)
    np.testing.assert_array_equal(np.signbit(got), np.signbit(x))
    if function is erf:
        assert units_off(erf, x[x != 0], got[x != 0]).max() <= 1
    else:
        np.testing.assert_array_equal(got, x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("machine", MAPS)
def test_below_its_domain_a_logarithm_is_nan(machine, dtype):
    info = np.finfo(dtype)
    x = -np.array([info.smallest_subnormal, info.tiny, 0.5, 2, 3, 4, 1e30, info.max], dtype)
    assert np.isnan(MAPS[machine](log, x)).all()
    assert np.isnan(MAPS[machine](log1p, x[3:])).all()
    assert np.isneginf(MAPS[machine](log, np.array([-0.0], dtype))).all()
    assert all(math.isnan(function(float(number))) for number in x[3:] for function in (log, log1p))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("machine", MAPS)
def test_no_sine_is_larger_than_one(machine, dtype):
    quarters = np.arange(LARGEST_PERIOD[np.float32]) * math.pi / 4
    x = np.concatenate(
        [neighbours(quarters, dtype, 2), np.random.default_rng(2).uniform(-99, 99, 500).astype(dtype)]
    )
    for function in PERIODIC:
        assert np.abs(MAPS[machine](function, x)).max() <= 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("machine", MAPS)
def test_saturation(machine, dtype):
    function, info = MAPS[machine], np.finfo(dtype)
    over = dtype(OVERFLOW[dtype])
    x = np.array([over * dtype(1.001), over * dtype(0.999), UNDERFLOW[dtype] * 1.001], dtype)
    e = function(exp, x)
    assert np.isposinf(e[0])
    assert np.isfinite(e[1])
    assert e[2] == 0
    # The result nearest to half the smallest subnormal or above it is that subnormal.
    assert function(exp, np.array([UNDERFLOW[dtype] * 0.9999], dtype))[0] == info.smallest_subnormal
    t = function(tanh, np.array([20, 700, 1e4, info.max, -20, -info.max], dtype))
    assert (np.abs(t) == 1).all()
    tiny = np.array([info.smallest_subnormal, info.tiny, -info.tiny / 3, info.tiny * 7], dtype)
    assert (function(tanh, tiny) == tiny).all()
    assert (function(exp, tiny) == 1).all()


@pytest.mark.skipif(not JIT, reason="there are no lanes without the compiler")
@pytest.mark.parametrize("dtype", DTYPES)
@functions
def test_a_special_value_disturbs_no_other_lane(function, dtype):
    x = np.linspace(-3, 3, 64).astype(dtype)
    alone = lanewise(function, x)
    for special in (
        np.nan,
        np.inf,
        -np.inf,
        np.finfo(dtype).max,
        np.finfo(dtype).smallest_subnormal,
        -7.0,
        1e6,
    ):
        mixed = x.copy()
        mixed[::5] = special
        got = lanewise(function, mixed)
        others = np.arange(64) % 5 != 0
        np.testing.assert_array_equal(got[others], alone[others])


@pytest.mark.parametrize("dtype", DTYPES)
def test_interpreter_and_lanes_agree_closely(dtype):
    for function in EXACT:
        x = np.random.default_rng(1).normal(0, 5, 500).astype(dtype)
        x = np.abs(x) if function in LEAST else x
        left, right = lanewise(function, x), runwise(function, x)
        assert np.abs(left - right).max() <= 4 * np.spacing(np.maximum(np.abs(left), np.abs(right))).max()
        np.testing.assert_allclose(left, right, rtol=4 * np.finfo(dtype).eps)


def power_series(term):
    """Give the sum of ``term(n)(z)`` over n, for quotients that would cancel near 0."""
    return lambda z: sum(z**n * term(n) for n in range(60))


EXPONENTIAL = power_series(lambda n: 1 / mpmath.factorial(n + 2))  # (e^r - 1 - r) / r^2
LOGARITHM = power_series(lambda n: mpmath.mpf(2) / (2 * n + 3))  # 2 (atanh(s) / s - 1) / z, z = s^2
SINE = power_series(lambda n: (-1) ** (n + 1) / mpmath.factorial(2 * n + 3))  # (sin(r) / r - 1) / z, z = r^2
COSINE = power_series(lambda n: (-1) ** n / mpmath.factorial(2 * n + 4))  # (cos r - 1 + z/2) / z^2


def interpolant(f, n, first, last):
    """Give the polynomial that meets `f` at the `n` Chebyshev nodes of an interval, lowest power first."""
    return fitted(f, lambda x: 1, n, n, first, last)


def fitted(f, weight, n, n_nodes, first, last):
    """Give the polynomial of least squares of `f` at Chebyshev nodes, lowest power first."""
    middle, half = (first + last) / 2, (last - first) / 2
    nodes = [middle + half * mpmath.cos(mpmath.pi * (i + mpmath.mpf(0.5)) / n_nodes) for i in range(n_nodes)]
    powers = mpmath.matrix([[weight(x) * x**power for power in range(n)] for x in nodes])
    return list(mpmath.lu_solve(powers, mpmath.matrix([weight(x) * f(x) for x in nodes])))


def in_source(function, n):
    """Give the `n` numbers of a Horner scheme, lowest power first."""
    return [number for number in function.__code__.co_consts if isinstance(number, float)][:n][::-1]


# Of each polynomial: its quotient, its interval, and what an error of it counts relative to the result.
QUARTER = "(pi / 4)**2 * mpf('1.001')"
SQUARE = "((1 - mpf(181) / 256) / (1 + mpf(181) / 256))**2"
HALF_LN2 = "log(2) / 2 * mpf('1.0001')"
POLYNOMIALS = {
    mathematics._quotient_64: (
        10,
        EXPONENTIAL,
        f"-{HALF_LN2}",
        HALF_LN2,
        lambda r: r**2 / mpmath.expm1(r),
        -53,
    ),
    mathematics._quotient_32: (
        5,
        EXPONENTIAL,
        f"-{HALF_LN2}",
        HALF_LN2,
        lambda r: r**2 / mpmath.expm1(r),
        -25,
    ),
    mathematics._log_quotient_64: (7, LOGARITHM, "mpf(0)", SQUARE, lambda z: z / 2, -57),
    mathematics._log_quotient_32: (3, LOGARITHM, "mpf(0)", SQUARE, lambda z: z / 2, -28),
    trigonometry._sine_64: (6, SINE, "mpf(0)", QUARTER, lambda z: z, -55),
    trigonometry._sine_32: (3, SINE, "mpf(0)", QUARTER, lambda z: z, -26),
    trigonometry._cosine_64: (6, COSINE, "mpf(0)", QUARTER, lambda z: z**2, -55),
    trigonometry._cosine_32: (3, COSINE, "mpf(0)", QUARTER, lambda z: z**2, -29),
}


@pytest.mark.parametrize("function", POLYNOMIALS, ids=lambda function: function.__name__)
def test_coefficients_are_the_chebyshev_interpolant(function):
    n, quotient, first, last, weight, precision = POLYNOMIALS[function]
    numbers = in_source(function, n)
    if quotient is EXPONENTIAL:  # from power to power they fall; Estrin's scheme has them in pairs
        numbers = sorted(numbers, reverse=True)
    with mpmath.workprec(200):
        first, last = (eval(text, vars(mpmath)) for text in (first, last))
        for power, (number, exact) in enumerate(
            zip(numbers, interpolant(quotient, n, first, last), strict=True)
        ):
            # 1/2 itself stands for the first one of the exponential.
            assert number == float(exact) or (
                number == 0.5 and power == 0 and abs(number - exact) < 2.0**precision
            )
        # And the polynomial with these numbers, in exact arithmetic, is the quotient but for the last bit.
        for i in range(201):
            x = first + (last - first) * i / 200
            if x:
                off = sum(number * x**power for power, number in enumerate(numbers)) - quotient(x)
                assert abs(weight(x) * off) < 2.0**precision


@pytest.mark.parametrize(
    ("function", "n", "end", "precision"),
    [
        (errorfunction._erf_quotient_64, 25, errorfunction.END_64, -55),
        (errorfunction._erf_quotient_32, 10, errorfunction.END_32, -30),
    ],
)
def test_coefficients_of_erf_are_those_of_least_squares(function, n, end, precision):
    def quotient(x):
        return -mpmath.log(mpmath.erfc(x)) / x - 1

    def weight(x):
        return x * mpmath.erfc(x) / mpmath.erf(x)

    numbers = in_source(function, n)
    with mpmath.workprec(200):
        end = mpmath.mpf(end)
        assert numbers == [float(exact) for exact in fitted(quotient, weight, n, 4 * n, mpmath.mpf(0), end)]
        for i in range(1, 101):
            x = end * i / 100
            off = sum(number * x**power for power, number in enumerate(numbers)) - quotient(x)
            assert abs(weight(x) * off) < 2.0**precision
        assert mpmath.erfc(end) < 2.0 ** (-54 if n == 25 else -25)  # erf rounds to 1 from there on


@pytest.mark.parametrize(
    ("high", "low", "dtype"),
    [
        (mathematics.LN2_HIGH_64, mathematics.LN2_LOW_64, np.float64),
        (mathematics.LN2_HIGH_32, mathematics.LN2_LOW_32, np.float32),
    ],
)
def test_ln2_in_two_parts(high, low, dtype):
    with mpmath.workprec(200):
        precision = 2.0 ** -(33 + 53) if dtype == np.float64 else 2.0 ** -(19 + 20)
        assert abs(mpmath.mpf(high) + mpmath.mpf(low) - mpmath.log(2)) < precision
    assert float(dtype(high)) == high
    for k in range(math.floor(UNDERFLOW[dtype] / LN2) - 2, math.ceil(OVERFLOW[dtype] / LN2) + 2):
        assert Fraction(float(dtype(k) * dtype(high))) == k * Fraction(high)
