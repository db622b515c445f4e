import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from runs import DTYPES, JIT, MAPS, lanewise, runwise

from fastbp.kernels import mathematics
from fastbp.kernels.mathematics import exp, tanh

LN2 = math.log(2)
BITS = {np.float64: np.uint64, np.float32: np.uint32}
OVERFLOW = {np.float64: 709.782712893384, np.float32: 88.72283905206835}
UNDERFLOW = {np.float64: -745.1332191019411, np.float32: -103.97207708399179}
SUBNORMAL = {np.float64: -708.3964185322641, np.float32: -87.33654475055310}
EXACT = {exp: mpmath.exp, tanh: mpmath.tanh}
WIDER = {exp: np.exp, tanh: np.tanh}  # float64 tells all about float32


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


def arguments(dtype, n):
    """Give arguments of all magnitudes, denser where something may go wrong."""
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
            # The worst known arguments of tanh.
            [0.12502742318661325, 0.22351181065404285, 0.031129953, 0.12565063, 0.20554036],
            [info.max, -info.max, info.tiny, -info.tiny, info.smallest_subnormal, -info.smallest_subnormal],
        ]
        return np.concatenate([np.asarray(part).astype(dtype) for part in parts])


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
            # mpmath's exponents have no end, and beyond 2000 nothing changes.
            exact = min(EXACT[function](mpmath.mpf(min(max(argument, -2000.0), 2000.0))), ceiling)
            value = mpmath.mpf(value) if math.isfinite(value) else mpmath.sign(value) * ceiling
            exponent = mpmath.frexp(exact)[1] - 1 if exact else info.minexp
            unit = mpmath.ldexp(1, max(int(exponent), info.minexp) - info.nmant)
            off.append(float(abs(value - exact) / unit))
    return np.array(off)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", [exp, tanh])
def test_lanes_are_off_by_two_units_at_most(function, dtype):
    n = 400 if not JIT else 3_000 if dtype == np.float64 else 300_000
    x = arguments(dtype, n)
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
@pytest.mark.parametrize("function", [exp, tanh])
def test_interpreter_is_off_by_four_units_at_most(function, kind):
    dtype = np.float64 if kind is float else kind
    x = arguments(dtype, 400)
    with np.errstate(all="ignore"):
        results = [function(kind(argument)) for argument in x]
    assert {type(result) for result in results} == {kind}
    assert units_off(function, x, np.array(results, dtype)).max() <= 4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("machine", MAPS)
def test_limits(machine, dtype):
    x = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, 1e30, -1e30], dtype)
    e, t = MAPS[machine](exp, x), MAPS[machine](tanh, x)
    np.testing.assert_array_equal(e, np.array([np.inf, 0, np.nan, 1, 1, np.inf, 0], dtype))
    np.testing.assert_array_equal(t, np.array([1, -1, np.nan, 0, 0, 1, -1], dtype))
    assert not np.signbit(e[[1, 3, 4, 6]]).any()
    assert np.signbit(t[[1, 4, 6]]).all()
    assert not np.signbit(t[[0, 3, 5]]).any()


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
@pytest.mark.parametrize("function", [exp, tanh])
def test_a_special_value_disturbs_no_other_lane(function, dtype):
    x = np.linspace(-3, 3, 64).astype(dtype)
    alone = lanewise(function, x)
    for special in (np.nan, np.inf, -np.inf, np.finfo(dtype).max):
        mixed = x.copy()
        mixed[::5] = special
        got = lanewise(function, mixed)
        others = np.arange(64) % 5 != 0
        assert (got[others] == alone[others]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_interpreter_and_lanes_agree_closely(dtype):
    x = np.random.default_rng(1).normal(0, 5, 500).astype(dtype)
    for function in (exp, tanh):
        left, right = lanewise(function, x), runwise(function, x)
        assert np.abs(left - right).max() <= 4 * np.spacing(np.maximum(np.abs(left), np.abs(right))).max()
        np.testing.assert_allclose(left, right, rtol=4 * np.finfo(dtype).eps)


def quotient(r):
    """Give ``(e^r - 1 - r) / r^2`` by its power series, which does not cancel near 0."""
    return sum(r**n / mpmath.factorial(n + 2) for n in range(40))


def interpolant(n, end):
    """Give the polynomial that meets `quotient` at the `n` Chebyshev nodes of [-end, end], lowest power first."""
    nodes = [end * mpmath.cos(mpmath.pi * (i + mpmath.mpf(0.5)) / n) for i in range(n)]
    powers = mpmath.matrix([[node**power for power in range(n)] for node in nodes])
    return list(mpmath.lu_solve(powers, mpmath.matrix([quotient(node) for node in nodes])))


@pytest.mark.parametrize(
    ("function", "n", "relative"),
    [(mathematics._expm1_64, 10, 2.0**-54), (mathematics._expm1_32, 5, 2.0**-26)],
)
def test_coefficients_are_the_chebyshev_interpolant(function, n, relative):
    # The numbers of the Horner scheme, lowest power first.
    in_source = [number for number in function.__code__.co_consts if isinstance(number, float)][::-1]
    assert len(in_source) == n
    with mpmath.workprec(200):
        end = mpmath.log(2) / 2 * mpmath.mpf("1.0001")
        for power, (number, fitted) in enumerate(zip(in_source, interpolant(n, end), strict=True)):
            # Coefficient c of r^power counts as c r^(power + 1) in (e^r - 1) / r.
            assert abs(number - fitted) * end ** (power + 1) < relative, power
            assert power == 0 or number == float(fitted)
        # And the polynomial with these numbers, in exact arithmetic, is e^r - 1 but for the last bit.
        for i in [*range(-200, 0), *range(1, 201)]:
            r = end * i / 200
            p = r + sum(mpmath.mpf(number) * r ** (power + 2) for power, number in enumerate(in_source))
            assert abs(p / mpmath.expm1(r) - 1) < 2 * relative


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
