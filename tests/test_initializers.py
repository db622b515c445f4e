from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import DTYPES, JIT, examples, n_parameters

from fastbp.kernels import cpu, draw
from fastbp.kernels.batch import pack
from fastbp.kernels.distributions import DISTRIBUTIONS
from fastbp.kernels.initializers import INITIALIZERS

POOL = ThreadPoolExecutor(3)
BIASES = [name for name, initializer in INITIALIZERS.items() if initializer.for_biases]
every = pytest.mark.parametrize("name", INITIALIZERS)


def uniforms(seed, n):
    return np.random.Generator(np.random.Philox(key=int(seed))).random(n)


def normals(seed, n):
    u = uniforms(seed, n + n % 2)
    r, angle = np.sqrt(-2 * np.log1p(-u[0::2])), 2 * np.pi * u[1::2]
    return np.stack([r * np.cos(angle), r * np.sin(angle)], axis=1).ravel()[:n]


def orthogonal(z):
    tall = z if z.shape[0] >= z.shape[1] else z.T
    q, r = np.linalg.qr(tall)
    q = q * np.sign(np.diag(r))
    return q if tall is z else q.T


# Of uniforms in [0, 1) and normals of the shape of a matrix, and of both fans.
ORACLE = {
    "zeros": lambda u, z, fan_in, fan_out: np.zeros_like(u),
    "constant": lambda u, z, fan_in, fan_out: np.ones_like(u),
    "uniform": lambda u, z, fan_in, fan_out: 2 * u - 1,
    "normal": lambda u, z, fan_in, fan_out: z,
    "glorot_uniform": lambda u, z, fan_in, fan_out: np.sqrt(6 / (fan_in + fan_out)) * (2 * u - 1),
    "glorot_normal": lambda u, z, fan_in, fan_out: np.sqrt(2 / (fan_in + fan_out)) * z,
    "he_uniform": lambda u, z, fan_in, fan_out: np.sqrt(6 / fan_in) * (2 * u - 1),
    "he_normal": lambda u, z, fan_in, fan_out: np.sqrt(2 / fan_in) * z,
    "lecun_uniform": lambda u, z, fan_in, fan_out: np.sqrt(3 / fan_in) * (2 * u - 1),
    "lecun_normal": lambda u, z, fan_in, fan_out: np.sqrt(1 / fan_in) * z,
    "fan_in_uniform": lambda u, z, fan_in, fan_out: (2 * u - 1) / np.sqrt(fan_in),
    "orthogonal": lambda u, z, fan_in, fan_out: orthogonal(z),
}


def expected_of(layers, bias, init, bias_init, seed, init_scale=1.0, init_offset=0.0, bias_scale=1.0):
    n = n_parameters(layers, bias)
    u, z, w, p = uniforms(seed, n), normals(seed, n), [], 0
    for n_in, n_out in pairwise(layers):
        end = p + n_in * n_out
        matrices = (numbers[p:end].reshape(n_in, n_out) for numbers in (u, z))
        w.append(init_offset + init_scale * ORACLE[init](*matrices, n_in, n_out).ravel())
        p = end + n_out * bias
        if bias:
            w.append(bias_scale * ORACLE[bias_init](u[end:p], z[end:p], n_in, n_out))
    return np.concatenate(w)


def drawn(layers, bias, init, bias_init, seeds, dtype=np.float64, threads=2, **hyper):
    """Draw in lanes; give (n_runs, n_parameters)."""
    n = len(seeds)
    values = {"init_scale": np.ones(n), "init_offset": np.zeros(n), "bias_scale": np.ones(n), **hyper}
    seeds = np.array(seeds, np.uint64)
    w = draw.draw_weights(
        np.array(layers), bias, init, bias_init, seeds, **values, dtype=dtype, pool=POOL, threads=threads
    )
    width = cpu.width(dtype)
    assert w.shape == (-(-n // width), n_parameters(layers, bias), width)
    assert w.dtype == dtype
    assert w.ctypes.data % 64 == 0
    assert w.flags.c_contiguous
    runs = w.transpose(0, 2, 1).reshape(-1, w.shape[1])
    assert (runs[n:] == runs[n - 1]).all()
    return runs[:n]


def drawn_in_interpreter(layers, bias, init, bias_init, seeds):
    """Draw with `draw.draw_blocks` as plain Python, in blocks of one run."""
    n, rows = len(seeds), n_parameters(layers, bias)
    hyper = np.tile([1.0, 0.0, 1.0, 0.0], (n, 1))
    keys = np.array(seeds, np.uint64)[:, None].view(np.float64)
    scratch = [np.zeros((1, rows + 3, 1)) for _ in "uz"]
    w = np.zeros((n, rows, 1))
    settings = draw._settings(np.array(layers), bias, init, bias_init)
    draw.draw_blocks(*settings, pack(keys, 1, float), pack(hyper, 1, float), *scratch, w)
    return w[:, :, 0]


def test_every_initializer_has_an_oracle():
    assert list(ORACLE) == list(INITIALIZERS)
    assert {initializer.distribution for initializer in INITIALIZERS.values()} == set(DISTRIBUTIONS)


@pytest.mark.parametrize("layers", [(2, 8, 1), (3, 3), (1, 1, 1), (5, 2, 7, 3)])
@pytest.mark.parametrize("bias", [True, False])
@every
def test_weights_are_those_of_numpy(name, bias, layers):
    random = np.random.default_rng(5)
    n = 40 if JIT else 4
    seeds = random.integers(0, 2**64, n, np.uint64)
    hyper = {key: random.normal(size=n) for key in ("init_scale", "init_offset", "bias_scale")}
    for bias_init in BIASES if layers == (2, 8, 1) else ["zeros", "normal"]:
        got = drawn(layers, bias, name, bias_init, seeds, **hyper)
        for i, seed in enumerate(seeds):
            mine = {key: values[i] for key, values in hyper.items()}
            expected = expected_of(layers, bias, name, bias_init, seed, **mine)
            # A square matrix that is nearly singular leaves less of the last column.
            np.testing.assert_allclose(
                got[i], expected, rtol=1e-14, atol=1e-12 if name == "orthogonal" else 4e-15
            )


@pytest.mark.parametrize("name", [name for name in INITIALIZERS if name.endswith("uniform")])
def test_uniform_weights_are_those_of_numpy_to_the_bit(name):
    n = 40 if JIT else 4
    hyper = {"init_scale": np.linspace(0.1, 3, n), "init_offset": np.linspace(-1, 1, n)}
    got = drawn((3, 4, 2), False, name, "zeros", np.arange(n), **hyper)
    scales = np.repeat([INITIALIZERS[name].scale(3, 4), INITIALIZERS[name].scale(4, 2)], [12, 8])
    u = np.array([uniforms(seed, 20) for seed in range(n)])
    expected = hyper["init_offset"][:, None] + hyper["init_scale"][:, None] * (scales * (2 * u - 1))
    np.testing.assert_array_equal(got, expected)


@pytest.mark.skipif(not JIT, reason="the interpreter is all there is")
@every
def test_interpreter_and_lanes_agree(name):
    seeds = [0, 1, 2**64 - 1, 0x7FF0000000000001, 12345]
    for bias_init in ("zeros", "uniform"):
        lanes = drawn((3, 4, 2), True, name, bias_init, seeds)
        interpreter = drawn_in_interpreter((3, 4, 2), True, name, bias_init, seeds)
        np.testing.assert_allclose(
            lanes, interpreter, rtol=4e-15, atol=1e-13 if name == "orthogonal" else 4e-15
        )


@pytest.mark.parametrize("dtype", DTYPES)
@every
def test_a_draw_depends_on_its_seed_alone(name, dtype):
    random = np.random.default_rng(8)
    n = 70 if JIT else 6
    seeds = random.integers(0, 2**64, n, np.uint64)
    bias_init = name if name in BIASES else "normal"
    together = drawn((2, 5, 3), True, name, bias_init, seeds, dtype)
    order = random.permutation(n)
    np.testing.assert_array_equal(
        drawn((2, 5, 3), True, name, bias_init, seeds[order], dtype), together[order]
    )
    for i in (0, n // 2, n - 1):
        np.testing.assert_array_equal(
            drawn((2, 5, 3), True, name, bias_init, seeds[i : i + 1], dtype)[0], together[i]
        )
    # float32 is float64 rounded.
    np.testing.assert_array_equal(together, drawn((2, 5, 3), True, name, bias_init, seeds).astype(dtype))
    assert INITIALIZERS[name].random == (len(np.unique(together, axis=0)) > 1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_pieces_and_threads_change_nothing(monkeypatch, dtype):
    seeds = np.arange(300 if JIT else 20)
    whole = drawn((2, 4, 1), True, "he_normal", "uniform", seeds, dtype, threads=1)
    monkeypatch.setattr(draw, "NUMBERS_A_CALL", 1000 if JIT else 20)
    np.testing.assert_array_equal(
        drawn((2, 4, 1), True, "he_normal", "uniform", seeds, dtype, threads=3), whole
    )


def test_numbers_of_parameters_that_are_not_drawn_are_skipped():
    seeds = [3, 4]
    all_drawn = drawn((2, 3, 2), True, "uniform", "uniform", seeds)
    weights_only = drawn((2, 3, 2), True, "uniform", "zeros", seeds)
    biases_only = drawn((2, 3, 2), True, "zeros", "uniform", seeds)
    np.testing.assert_array_equal(weights_only + biases_only, all_drawn)


@pytest.mark.parametrize("name", [name for name in INITIALIZERS if INITIALIZERS[name].random])
def test_variance_and_bounds(name):
    layers = (6, 4)
    n = 5_000 if JIT else 300
    w = drawn(layers, False, name, "zeros", np.arange(n) + 10**6)
    variances = {
        "uniform": 1 / 3,
        "normal": 1.0,
        "glorot_uniform": 2 / 10,
        "glorot_normal": 2 / 10,
        "he_uniform": 2 / 6,
        "he_normal": 2 / 6,
        "lecun_uniform": 1 / 6,
        "lecun_normal": 1 / 6,
        "fan_in_uniform": 1 / 18,
        "orthogonal": 1 / 6,
    }
    variance = variances[name]
    assert abs(w.mean()) < 5 * np.sqrt(variance / w.size)
    assert abs(w.var() / variance - 1) < 5 * np.sqrt(2 / w.size)
    if "uniform" in name:
        bound = np.sqrt(3 * variance)
        assert bound * 0.99 < np.abs(w).max() <= bound


@pytest.mark.parametrize("shape", [(4, 4), (7, 3), (3, 7), (1, 5), (5, 1), (1, 1), (12, 12)])
def test_orthogonal_matrices_are_orthonormal(shape):
    n = 200 if JIT else 10
    matrices = drawn(shape, False, "orthogonal", "zeros", np.arange(n)).reshape(n, *shape)
    tall = matrices if shape[0] >= shape[1] else matrices.transpose(0, 2, 1)
    products = tall.transpose(0, 2, 1) @ tall
    np.testing.assert_allclose(products, np.broadcast_to(np.eye(min(shape)), products.shape), atol=2e-14)


def test_orthogonal_matrices_of_two_by_two_are_spread_evenly():
    n = 4_000 if JIT else 400
    q = drawn((2, 2), False, "orthogonal", "zeros", np.arange(n)).reshape(n, 2, 2)
    # Haar: the first column has any angle, half are reflections.
    turns = np.arctan2(q[:, 1, 0], q[:, 0, 0]) / (2 * np.pi) % 1
    assert np.abs(np.sort(turns) - (np.arange(n) + 0.5) / n).max() < 2 / np.sqrt(n)
    assert abs(np.linalg.det(q).mean()) < 5 / np.sqrt(n)


@examples(20)
@given(st.data())
def test_any_structure(data):
    layers = tuple(data.draw(st.lists(st.integers(1, 5), min_size=2, max_size=4)))
    init, bias_init = data.draw(st.sampled_from(list(INITIALIZERS))), data.draw(st.sampled_from(BIASES))
    bias = data.draw(st.booleans())
    seeds = data.draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20))
    for seed, w in zip(seeds, drawn(layers, bias, init, bias_init, seeds), strict=True):
        expected = expected_of(layers, bias, init, bias_init, seed)
        np.testing.assert_allclose(w, expected, rtol=1e-9 if init == "orthogonal" else 1e-14, atol=1e-9)


def test_orthogonal_is_for_weights_alone():
    with pytest.raises(ValueError, match="orthogonal is for weights alone"):
        drawn((2, 2), True, "normal", "orthogonal", [1])


def test_an_unknown_distribution_gives_nan():
    matrices = np.array([draw.Matrix(len(DISTRIBUTIONS), 0, 1, 2, 0), draw.Matrix(-1, 2, 1, 2, 0)])
    zeros, w = np.zeros((2, 1, 4, cpu.width(np.float64)))
    draw.compiled(matrices, np.ones(2), 0, 0, zeros, zeros + 1, zeros, zeros, w)
    assert np.isnan(w).all()


def test_an_error_in_a_thread_is_raised(monkeypatch):
    def fail(*arguments):
        raise RuntimeError("no more")

    monkeypatch.setattr(draw.cache, "compile_for", lambda *arguments: None)
    monkeypatch.setattr(draw, "compiled", fail)
    with pytest.raises(RuntimeError, match="no more"):
        drawn((2, 2), True, "normal", "zeros", np.arange(100))
