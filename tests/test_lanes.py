import itertools
import math
from fractions import Fraction
from typing import NamedTuple

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from runs import DTYPES, JIT, MAPS, examples, lanewise

from fastbp.kernels import cpu, lanes
from fastbp.kernels.batch import pack
from fastbp.kernels.bits import LEAST_MANTISSA, exponent, mantissa
from fastbp.kernels.lanes import (
    any_of,
    borrowed,
    both,
    copysign,
    fma,
    isfinite,
    libm_cos,
    libm_sin,
    nearest,
    negated,
    power_of_two,
    rows,
    rows_from,
    sqrt,
    times_power_of_two,
    where,
)

compiled_only = pytest.mark.skipif(not JIT, reason="there are no lanes without the compiler")


def special(dtype):
    info = np.finfo(dtype)
    positive = [0.0, 0.5, 1.0, 1.5, 2.5, 0.1, 3.0, 1e10, info.tiny, info.max, info.smallest_subnormal, np.inf]
    return np.array([*positive, *(-np.array(positive, dtype)), np.nan], dtype)


def pairs(dtype):
    """Give all pairs of special values and some random ones, as two columns."""
    random = np.random.default_rng(3)
    both_ = np.array(list(itertools.product(special(dtype), repeat=2)), dtype)
    return np.concatenate([both_, random.normal(0, 10, (500, 2)).astype(dtype)]).T


def assert_same(got, expected):
    """Hold to the same numbers, signs of zero included."""
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)
    number = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(got[number]), np.signbit(expected[number]))


def expected_of(oracle, *columns):
    with np.errstate(all="ignore"):
        return oracle(*columns).astype(columns[0].dtype)


ARITHMETIC = {
    "a + b": (lambda a, b: a + b, np.add),
    "a - b": (lambda a, b: a - b, np.subtract),
    "a * b": (lambda a, b: a * b, np.multiply),
    "a / b": (lambda a, b: a / b, np.divide),
    "a < b": (lambda a, b: where(a < b, 1.0, 0.0), np.less),
    "a <= b": (lambda a, b: where(a <= b, 1.0, 0.0), np.less_equal),
    "a > b": (lambda a, b: where(a > b, 1.0, 0.0), np.greater),
    "a >= b": (lambda a, b: where(a >= b, 1.0, 0.0), np.greater_equal),
    "a == b": (lambda a, b: where(a == b, 1.0, 0.0), np.equal),
    "where": (lambda a, b: where(a < b, a, b), lambda a, b: np.where(a < b, a, b)),
    "where number": (lambda a, b: where(a < b, a, 0.1), lambda a, b: np.where(a < b, a, a.dtype.type(0.1))),
    "where integer": (lambda a, b: where(a < b, 7, b), lambda a, b: np.where(a < b, a.dtype.type(7), b)),
    "both": (lambda a, b: where(both(a > 0.0, b > 0.0), 1.0, 0.0), lambda a, b: (a > 0) & (b > 0)),
    "negated": (lambda a, b: where(negated(a < b), 1.0, 0.0), lambda a, b: ~(a < b)),
    "copysign": (copysign, np.copysign),
}
UNARY = {
    "-a": (lambda a: -a, np.negative),
    "abs": (abs, np.abs),
    "sqrt": (sqrt, np.sqrt),
    "isfinite": (lambda a: where(isfinite(a), 1.0, 0.0), np.isfinite),
    # A number on either side takes the dtype of the lane.
    "a + 0.1": (lambda a: a + 0.1, lambda a: a + a.dtype.type(0.1)),
    "0.1 + a": (lambda a: 0.1 + a, lambda a: a.dtype.type(0.1) + a),
    "a - 0.1": (lambda a: a - 0.1, lambda a: a - a.dtype.type(0.1)),
    "0.1 - a": (lambda a: 0.1 - a, lambda a: a.dtype.type(0.1) - a),
    "a * 0.1": (lambda a: a * 0.1, lambda a: a * a.dtype.type(0.1)),
    "0.1 * a": (lambda a: 0.1 * a, lambda a: a.dtype.type(0.1) * a),
    "a / 0.1": (lambda a: a / 0.1, lambda a: a / a.dtype.type(0.1)),
    "0.1 / a": (lambda a: 0.1 / a, lambda a: a.dtype.type(0.1) / a),
    "a < 0.1": (lambda a: where(a < 0.1, 1.0, 0.0), lambda a: a < a.dtype.type(0.1)),
    "0.1 <= a": (lambda a: where(0.1 <= a, 1.0, 0.0), lambda a: a.dtype.type(0.1) <= a),
    "0.1 > a": (lambda a: where(0.1 > a, 1.0, 0.0), lambda a: a.dtype.type(0.1) > a),
    "a >= 0.1": (lambda a: where(a >= 0.1, 1.0, 0.0), lambda a: a >= a.dtype.type(0.1)),
    "a == 0.1": (lambda a: where(a == 0.1, 1.0, 0.0), lambda a: a == a.dtype.type(0.1)),
    "3 * a + 2": (lambda a: 3 * a + 2, lambda a: a.dtype.type(3) * a + a.dtype.type(2)),
    "1 - a / 3": (lambda a: 1 - a / 3, lambda a: a.dtype.type(1) - a / a.dtype.type(3)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("machine", MAPS)
@pytest.mark.parametrize("name", ARITHMETIC)
def test_operations_of_two(name, machine, dtype):
    function, oracle = ARITHMETIC[name]
    a, b = pairs(dtype)
    assert_same(MAPS[machine](function, a, b), expected_of(oracle, a, b))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("machine", MAPS)
@pytest.mark.parametrize("name", UNARY)
def test_operations_of_one(name, machine, dtype):
    function, oracle = UNARY[name]
    a = pairs(dtype)[0]
    assert_same(MAPS[machine](function, a), expected_of(oracle, a))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("machine", MAPS)
def test_nearest_rounds_ties_to_even(machine, dtype):
    a = np.concatenate([pairs(dtype)[0], np.arange(-6, 6.5, 0.5, dtype=dtype)])
    np.testing.assert_array_equal(MAPS[machine](nearest, a), np.rint(a))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("machine", MAPS)
def test_power_of_two_of_every_normal_exponent(machine, dtype):
    info = np.finfo(dtype)
    k = np.arange(info.minexp, info.maxexp)
    assert_same(MAPS[machine](power_of_two, k.astype(dtype)), np.array([2.0 ** int(n) for n in k], dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("machine", MAPS)
def test_times_power_of_two_rounds_once(machine, dtype):
    random, info = np.random.default_rng(3), np.finfo(dtype)
    k = np.arange(2 * info.minexp, 2 * info.maxexp, 3 if dtype == np.float64 else 1)
    k = np.concatenate([np.tile(k, 4), np.arange(info.minexp - info.nmant - 3, info.minexp + 3).repeat(20)])
    x = (random.choice([-1.0, 1.0], len(k)) * random.uniform(0.5, 2, len(k))).astype(dtype)
    expected = []
    for number, power in zip(x.tolist(), k.tolist(), strict=True):
        exact = Fraction(number) * Fraction(2) ** power
        # In units of the least subnormal, to the nearest even, or in 53 bits by Python's own division.
        unit = Fraction(2) ** (info.minexp - info.nmant)
        if abs(exact) < Fraction(2) ** info.minexp:
            expected.append(math.copysign(float(round(exact / unit) * unit), number))
        else:
            expected.append(float(exact) if abs(exact) <= info.max else math.copysign(math.inf, number))
    assert_same(MAPS[machine](times_power_of_two, x, k.astype(dtype)), np.array(expected, dtype))
    nan = np.full(1, np.nan, dtype)
    assert np.isnan(MAPS[machine](times_power_of_two, nan, np.ones(1, dtype))).all()
    assert np.isnan(MAPS[machine](times_power_of_two, np.ones(1, dtype), nan)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("machine", MAPS)
def test_exponent_and_mantissa_take_a_number_apart(machine, dtype):
    info = np.finfo(dtype)
    random = np.random.default_rng(5)
    with np.errstate(over="ignore"):
        x = (random.choice([-1.0, 1.0], 500) * 2.0 ** random.uniform(info.minexp, info.maxexp, 500)).astype(
            dtype
        )
    edges = dtype(LEAST_MANTISSA) * dtype(2) ** np.arange(-9, 10, dtype=dtype)
    edges = np.concatenate([edges, np.nextafter(edges, dtype(0)), np.nextafter(edges, dtype(9e9))])
    x = np.concatenate([x[np.isfinite(x)], edges, [1, -1, 2, 0.5, info.tiny, info.max]]).astype(dtype)
    k, m = MAPS[machine](exponent, x), MAPS[machine](mantissa, x)
    assert k.dtype == m.dtype == dtype
    np.testing.assert_array_equal(np.ldexp(m, k.astype(int)), np.abs(x))
    assert m.min() == LEAST_MANTISSA
    assert m.max() == np.nextafter(dtype(2 * LEAST_MANTISSA), dtype(0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("machine", MAPS)
@pytest.mark.parametrize(("function", "oracle"), [(libm_sin, np.sin), (libm_cos, np.cos)])
def test_the_c_library(function, oracle, machine, dtype):
    x = special(dtype)
    x = x[~(np.abs(x) < np.finfo(dtype).tiny) | (x == 0)]
    with np.errstate(invalid="ignore"):
        exact = oracle(x.astype(np.float64))
    np.testing.assert_allclose(MAPS[machine](function, x), exact, rtol=2 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("machine", MAPS)
def test_any_of(machine, dtype):
    def has_negative(a):
        # A branch for the whole block, not for each run.
        if any_of(a < 0.0):
            return a * 0.0 + 1.0
        return a * 0.0

    width = cpu.width(dtype) if machine == "lanes" else 1
    a = np.ones(4 * width, dtype)
    a[[width, 4 * width - 1]] = -1
    expected = np.repeat([0.0, 1.0, 0.0, 1.0], width).astype(dtype)
    np.testing.assert_array_equal(MAPS[machine](has_negative, a), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_number_becomes_a_lane_in_a_loop(dtype):
    width = cpu.width(dtype)
    values = np.random.default_rng(0).normal(size=(2 * width, 5)).astype(dtype)

    @numba.njit(error_model="numpy")
    def driver(arguments, result, n):
        for block in range(len(arguments)):
            w, out = rows(arguments, block), rows(result, block)
            total, product, count = 0.0, 1, 0
            for i in range(n):
                total = total + w[i]
                product = product * w[i]
                count += 1
            out[0] = total
            out[1] = product
            out[2] = count
            out[3] = 0.1

    for n in (0, 1, 5):
        result = pack(np.full((2 * width, 4), np.nan), width, dtype)
        driver(pack(values, width, dtype), result, n)
        got = result.transpose(0, 2, 1).reshape(-1, 4)
        total, product = np.zeros(2 * width, dtype), np.ones(2 * width, dtype)
        for i in range(n):
            total, product = total + values[:, i], product * values[:, i]
        assert_same(got[:, 0], total)
        assert_same(got[:, 1], product)
        assert (got[:, 2] == n).all()
        assert (got[:, 3] == dtype(0.1)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_are_those_of_the_block(dtype):
    width = cpu.width(dtype)
    values = np.arange(3 * 4 * width, dtype=dtype).reshape(3, 4, width)

    @numba.njit
    def driver(arguments, shared, result):
        for block in range(len(arguments)):
            w, same, out = rows(arguments, block), rows(shared, block), rows(result, block)
            for i in range(4):
                out[3 - i] = w[i] + same[i]

    shared, result = np.arange(4, dtype=dtype) * 1000, np.zeros_like(values)
    driver(values, shared, result)
    np.testing.assert_array_equal(result, (values + shared[:, None])[:, ::-1])


def product_and_sum(a, b, c):
    return a * b + c


def difference_of_products(a, b, c):
    return a * a - b * c


def is_correctly_rounded(value, exact):
    """Whether no float of the dtype of `value` is nearer to the fraction `exact`; of two, the even one."""
    dtype = type(value)
    distance = abs(Fraction(float(value)) - exact)
    for direction in (-np.inf, np.inf):
        neighbour = np.nextafter(value, dtype(direction))
        if np.isinf(neighbour):
            continue
        other = abs(Fraction(float(neighbour)) - exact)
        even = int(value.view(f"u{value.itemsize}")) % 2 == 0
        if other < distance or (other == distance and not even):
            return False
    return True


def factors(dtype):
    """Numbers whose product is inexact and, half the time, nearly cancels against the third."""
    random = np.random.default_rng(11)
    a, b = random.normal(size=(2, 2000)).astype(dtype)
    c = np.where(random.random(2000) < 0.5, -a * b, random.normal(size=2000)).astype(dtype)
    return a, b, c


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("machine", MAPS)
def test_products_are_not_fused_unasked(machine, dtype):
    a, b, c = factors(dtype)
    assert_same(MAPS[machine](product_and_sum, a, b, c), (a * b).astype(dtype) + c)
    assert_same(MAPS[machine](difference_of_products, a, b, c), (a * a).astype(dtype) - (b * c).astype(dtype))


@compiled_only
@pytest.mark.parametrize("dtype", DTYPES)
def test_fma_rounds_once(dtype):
    a, b, c = factors(dtype)
    got = lanewise(fma, a, b, c)
    for x, y, z, value in zip(a, b, c, got, strict=True):
        exact = Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))
        assert is_correctly_rounded(value, exact)
    # The oracle can tell: rounded twice, many are wrong.
    twice = a * b + c
    assert (got != twice).mean() > 0.3


def test_fma_of_plain_numbers():
    assert fma(2.0, 3.0, 4.0) == 10.0
    assert type(fma(np.float32(0.1), 0.1, 1.0)) is np.float32


@compiled_only
@pytest.mark.parametrize("dtype", DTYPES)
def test_fma_with_numbers_in_any_place(dtype):
    a, b, _ = factors(dtype)
    tenth = np.full_like(a, 0.1)
    assert_same(lanewise(lambda a, b: fma(0.1, a, b), a, b), lanewise(fma, tenth, a, b))
    assert_same(lanewise(lambda a, b: fma(a, 0.1, b), a, b), lanewise(fma, a, tenth, b))
    assert_same(lanewise(lambda a, b: fma(a, b, 0.1), a, b), lanewise(fma, a, b, tenth))
    assert_same(lanewise(lambda a: fma(0.1, 3, a), a), lanewise(fma, tenth, np.full_like(a, 3), a))


@compiled_only
@pytest.mark.parametrize("dtype", DTYPES)
def test_types_do_not_promote(dtype):
    lane = lanes.LaneType(numba.from_dtype(np.dtype(dtype)))

    @numba.njit
    def driver(arguments, n):
        w = rows(arguments, 0)
        a = 0.1 * w[0] + n * w[1] / 3 - 0.5 + np.float64(0.1) * w[0]
        w[0] = where(w[0] < 0.1, a, 2.0)

    driver(np.zeros((1, 2, cpu.width(dtype)), dtype), 3)
    (signature,) = driver.nopython_signatures
    overload = driver.overloads[signature.args]
    assert {ty for ty in overload.type_annotation.typemap.values() if isinstance(ty, lanes.LaneType)} == {
        lane
    }


@compiled_only
def test_lanes_of_different_dtypes_do_not_mix():
    @numba.njit
    def driver(a, b):
        rows(a, 0)[0] = rows(a, 0)[0] + rows(b, 0)[0]

    with pytest.raises(numba.TypingError):
        driver(np.zeros((1, 1, cpu.width("float64"))), np.zeros((1, 1, cpu.width("float32")), np.float32))


@compiled_only
@pytest.mark.parametrize("dtype", DTYPES)
@examples(100)
@given(st.data())
def test_a_formula_of_everything_matches_numpy_in_every_lane(dtype, data):
    width = 16 if dtype == np.float64 else 32
    bits = 8 * np.dtype(dtype).itemsize
    numbers = st.floats(width=bits)
    a, b = (
        data.draw(arrays(dtype, data.draw(st.integers(1, 2 * width)), elements=numbers)) for _ in range(2)
    )
    n = min(len(a), len(b))
    a, b = a[:n], b[:n]
    got = lanewise(_formula, a, b)
    with np.errstate(all="ignore"):
        s = np.sqrt(np.abs(a)) * dtype(0.1) - b / dtype(3)
        expected = np.where(np.isfinite(s) & ~(a < b), np.copysign(s, b), dtype(2) - a)
    assert_same(got, expected.astype(dtype))


def _formula(a, b):
    s = sqrt(abs(a)) * 0.1 - b / 3
    return where(both(isfinite(s), negated(a < b)), copysign(s, b), 2 - a)


def test_width_is_that_of_the_dtype():
    for dtype in DTYPES:
        assert cpu.width(dtype) == (lanes.WIDTH[np.dtype(dtype).name] if JIT else 1)
    assert math.log2(lanes.WIDTH["float64"]).is_integer()


class Shared(NamedTuple):
    numbers: np.ndarray
    places: np.ndarray
    count: int
    blocks: np.ndarray


@numba.njit
def through_a_tuple(shared):
    lent = borrowed(shared)
    total = 0.0
    for k in range(len(lent.places)):
        total += lent.numbers[lent.places[k]]
    return total, len(lent.numbers), lent.count, lent.blocks.shape[0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_borrowed_arrays_are_read_where_they_lie(dtype):
    numbers = np.arange(10, dtype=dtype)[3:]  # not where their memory begins
    shared = Shared(numbers, np.array([0, 6, 2]), 5, np.zeros((2, 3, 4)))
    assert through_a_tuple(shared) == (3 + 9 + 5, 7, 5, 2)
    nothing = Shared(numbers[:0], np.array([], np.int64), 5, np.zeros((2, 3, 4)))
    assert through_a_tuple(nothing) == (0, 0, 5, 2)
    assert borrowed(shared) is shared


@numba.njit
def later_rows(w, out, first):
    for block in range(len(w)):
        later, result = rows_from(rows(w, block), first), rows(out, block)
        result[0] = later[1]
        later[0] = 7.0


@pytest.mark.parametrize("dtype", DTYPES)
def test_later_rows_are_the_same_memory(dtype):
    width = cpu.width(dtype)
    values = np.random.default_rng(0).normal(size=(2 * width, 5)).astype(dtype)
    w, out = pack(values, width, dtype), pack(values[:, :1], width, dtype)
    later_rows(w, out, 3)
    np.testing.assert_array_equal(out[:, 0], pack(values, width, dtype)[:, 4])
    assert (w[:, 3] == 7).all()
    assert np.shares_memory(rows_from(values[0], 2), values)


@numba.njit
def between_numbers(a, b):
    return where(a < b, a, b), where(a == 0.0, -1.0, a)


def test_a_choice_between_plain_numbers_in_compiled_code():
    assert between_numbers(2.5, 3.0) == (2.5, 2.5)
    assert between_numbers(0.0, -3.0) == (-3.0, -1.0)


@numba.njit
def write_shared(shared, place, value):
    borrowed(shared).numbers[place] = value


@pytest.mark.parametrize("dtype", DTYPES)
def test_borrowed_arrays_are_written_where_they_lie(dtype):
    numbers = np.zeros(4, dtype)
    shared = Shared(numbers, np.zeros(1, np.int64), 0, np.zeros((1, 1, 1)))
    write_shared(shared, 2, 1 / 3)
    np.testing.assert_array_equal(numbers, np.array([0, 0, 1 / 3, 0], dtype))
