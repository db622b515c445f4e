import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import JIT, examples

from fastbp.kernels import cpu
from fastbp.kernels.batch import pack
from fastbp.kernels.lanes import rows
from fastbp.kernels.random import box_muller, uniforms

# As floats some of these are NaNs, infinities, subnormals: their bits must pass untouched.
SPECIAL = [0, 1, 2**32, 2**52, 2**63, 2**64 - 1, 0x7FF0000000000000, 0x7FF0000000000001, 0xFFF8000000000000]
BLOCKS = 5


def fill(keys, first, out):
    for block in range(len(out)):
        key, w = rows(keys, block)[0], rows(out, block)
        for n in range(BLOCKS):
            w[4 * n], w[4 * n + 1], w[4 * n + 2], w[4 * n + 3] = uniforms(first + n, key)


def pairs(numbers, out):
    for block in range(len(out)):
        u, w = rows(numbers, block), rows(out, block)
        w[0], w[1] = box_muller(u[0], u[1])


COMPILED = {fill: numba.njit(fill), pairs: numba.njit(pairs)}


def run(function, machine, columns, n_rows, *arguments):
    """Run a driver over (n_runs, rows); give (n_runs, `n_rows`)."""
    width = 1 if machine == "interpreter" else cpu.width(np.float64)
    packed = pack(columns, width, np.float64)
    out = np.zeros((len(packed), n_rows, width))
    (function if machine == "interpreter" else COMPILED[function])(packed, *arguments, out)
    return out.transpose(0, 2, 1).reshape(-1, n_rows)[: len(columns)]


def numbers_of(seeds, machine, first=0):
    keys = np.array(seeds, np.uint64)[:, None].view(np.float64)
    return run(fill, machine, keys, 4 * BLOCKS, first)


def stream(seed, n, skipped=0):
    return np.random.Generator(np.random.Philox(key=int(seed))).random(skipped + n)[skipped:]


@pytest.mark.parametrize("machine", ["interpreter", "lanes"])
def test_uniforms_are_those_of_numpy_to_the_bit(machine):
    seeds = SPECIAL + [int(seed) for seed in np.random.default_rng(1).integers(0, 2**64, 40, np.uint64)]
    expected = np.array([stream(seed, 4 * BLOCKS) for seed in seeds])
    np.testing.assert_array_equal(numbers_of(seeds, machine), expected)


@pytest.mark.parametrize("machine", ["interpreter", "lanes"])
def test_uniforms_far_down_the_stream(machine):
    first = 2**32 - 2
    bits = np.random.Philox(key=7)
    bits.advance(first)
    expected = np.random.Generator(bits).random(4 * BLOCKS)
    for got in numbers_of([7, 7], machine, first):
        np.testing.assert_array_equal(got, expected)


@examples(50)
@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20), st.integers(0, 50))
def test_any_seed_in_any_lane(seeds, first):
    expected = [stream(seed, 4 * BLOCKS, 4 * first) for seed in seeds]
    np.testing.assert_array_equal(numbers_of(seeds, "lanes", first), expected)


@pytest.mark.parametrize("machine", ["interpreter", "lanes"])
def test_normals_follow_the_formula_of_box_and_muller(machine):
    u = np.random.default_rng(3).random((2000, 2))
    edges = [0.0, 2.0**-53, 0.25, 0.5, 0.75, 1 - 2.0**-53]
    u = np.concatenate([u, [(a, b) for a in edges for b in edges]])
    r, angle = np.sqrt(-2 * np.log1p(-u[:, 0])), 2 * np.pi * u[:, 1]
    expected = np.stack([r * np.cos(angle), r * np.sin(angle)], axis=1)
    got = run(pairs, machine, u, 2)
    np.testing.assert_allclose(got, expected, rtol=2e-15, atol=1e-30)
    assert np.abs(got).max() < np.sqrt(2 * 53 * np.log(2)) + 1e-9


def test_normals_of_many_seeds_have_the_moments_of_the_normal_distribution():
    n = 40_000 if JIT else 2_000
    u = numbers_of(np.arange(n) * 977, "lanes")
    z = run(pairs, "lanes", u[:, 4:6], 2)
    for power, expected in ((1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0)):
        spread = np.sqrt([0, 1, 2, 15, 96][power] / n)
        np.testing.assert_allclose((z**power).mean(axis=0), expected, atol=5 * spread)
    # Independent of each other, and of those of the next seed.
    assert abs(np.corrcoef(z.T)[0, 1]) < 5 / np.sqrt(n)
    assert abs(np.corrcoef(z[1:, 0], z[:-1, 0])[0, 1]) < 5 / np.sqrt(n)


@pytest.mark.skipif(not JIT, reason="there are no lanes without the compiler")
def test_a_key_is_a_lane_of_float64():
    width = cpu.width(np.float32)
    with pytest.raises(numba.TypingError):
        COMPILED[fill](np.zeros((1, 1, width), np.float32), 0, np.zeros((1, 20, width), np.float32))
