"""Drawing initial weights on the CPU: what ``cpu`` is to training.

Compiled by itself and when first called, so that sweeps with given weights never wait for it. May import all of
``kernels``.
"""

import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from fastbp.kernels import cache, cpu
from fastbp.kernels.batch import aligned, pack
from fastbp.kernels.distributions import DISTRIBUTIONS, draw_matrix
from fastbp.kernels.initializers import INITIALIZERS
from fastbp.kernels.lanes import rows
from fastbp.kernels.network import layer_size
from fastbp.kernels.random import box_muller, uniforms

# Numbers of one call into compiled code: some hundredths of a second.
NUMBERS_A_CALL = 2**22

# Rows of a run's hyperparameters; a matrix has a row that multiplies its draws and, in the next, what is added.
INIT_SCALE, INIT_OFFSET, BIAS_SCALE, BIAS_OFFSET = 0, 1, 2, 3


class Matrix(NamedTuple):
    """One W or b: index into ``DISTRIBUTIONS``, first parameter, shape, row of its multiplier."""

    kind: int
    p: int
    n_in: int
    n_out: int
    row: int


def draw_blocks(matrices, scales, n_uniforms, n_normals, keys, hyper, u, z, w):
    """Draw the parameters of all blocks of `w`.

    Parameters
    ----------
    matrices : int64 array, (n_matrices, 5)
        Rows are each a `Matrix`.
    scales : float64 array, (n_matrices,)
        What their draws are multiplied by in every run.
    n_uniforms, n_normals : int
        How many to draw of each run, 0 where there is no need.
    keys, hyper : float64 arrays, (blocks, 1, width), (blocks, 4, width)
        The bits of the seeds; `INIT_SCALE`, `INIT_OFFSET`, `BIAS_SCALE`, `BIAS_OFFSET`.
    u, z : float64 arrays, (1, a multiple of 4, width)
        Scratch.
    w : float64 array, (blocks, n_parameters, width)
    """
    u, z = rows(u, 0), rows(z, 0)
    for block in range(len(w)):
        w_, h = rows(w, block), rows(hyper, block)
        key = rows(keys, block)[0]
        for n in range((n_uniforms + 3) // 4):
            u[4 * n], u[4 * n + 1], u[4 * n + 2], u[4 * n + 3] = uniforms(n, key)
        for n in range(0, n_normals, 2):
            z[n], z[n + 1] = box_muller(u[n], u[n + 1])
        for m in range(len(matrices)):
            matrix = matrices[m]
            kind, p, n_in, n_out, row = matrix[0], matrix[1], matrix[2], matrix[3], matrix[4]
            draw_matrix(kind, (w_, u, z, p, n_in, n_out, scales[m]))
            for i in range(p, p + n_in * n_out):
                w_[i] = h[row + 1] + h[row] * w_[i]


compiled = cache.cached_njit(draw_blocks)


def draw_weights(
    layers: np.ndarray,
    bias: bool,
    init: str,
    bias_init: str,
    seeds: np.ndarray,
    init_scale: np.ndarray,
    init_offset: np.ndarray,
    bias_scale: np.ndarray,
    dtype,
    pool: ThreadPoolExecutor,
    threads: int,
) -> np.ndarray:
    """Draw ``W = init_offset + init_scale * draw`` and ``b = bias_scale * draw`` of each run.

    A run's draws depend on its seed, `layers`, `bias`, `init` and `bias_init` alone. In NumPy, parameter p of a
    run, in the order of `network`, is made of ``u[p]`` or ``z[p]``::

        u = np.random.Generator(np.random.Philox(key=seed)).random(n)
        r, angle = np.sqrt(-2 * np.log1p(-u[0::2])), 2 * np.pi * u[1::2]
        z[0::2], z[1::2] = r * np.cos(angle), r * np.sin(angle)

    uniform: ``scale * (2 * u - 1)``; normal: ``scale * z``; orthogonal: the Q of ``np.linalg.qr`` of the matrix of
    z, or of its transpose where it has fewer rows than columns, with the signs that make the diagonal of R
    positive. The numbers of parameters that are not random are skipped.

    Parameters
    ----------
    layers : int64 array, (n_layers + 1,)
        Units of the input, then of each layer.
    bias : bool
        Whether each layer has a vector b.
    init, bias_init : str
        Keys of ``INITIALIZERS``, for W and b.
    seeds : uint64 array, (n_runs,)
    init_scale, init_offset, bias_scale : float64 arrays, (n_runs,)
    dtype
        float64 or float32, to which the result is rounded.
    pool, threads
        Where `threads` tasks are submitted.

    Returns
    -------
    array of `dtype`, (blocks, n_parameters, width)
        As `batch.pack` lays it out.
    """
    layers = np.asarray(layers, np.int64)
    width, lanes = cpu.width(dtype), cpu.width(np.float64)
    n_blocks, ratio = -(-len(seeds) // width), width // lanes
    settings = _settings(layers, bias, init, bias_init)
    n_parameters = sum(layer_size(bias, n_in, n_out) for n_in, n_out in pairwise(layers.tolist()))
    w = aligned((n_blocks, n_parameters, width), dtype)
    # Blocks of float64 draw for every dtype; `ratio` of them fill one of w.
    runs = np.minimum(np.arange(n_blocks * width), len(seeds) - 1)
    keys = pack(np.asarray(seeds, np.uint64)[runs, None].view(np.float64), lanes, np.float64)
    hyper = np.stack([init_scale, init_offset, bias_scale, np.zeros(len(seeds))], axis=1)
    hyper = pack(hyper[runs], lanes, np.float64)

    def draw(first, last):
        """Draw the blocks `first` to `last` of `w`."""
        n, inner = last - first, slice(first * ratio, last * ratio)
        u, z = (aligned((1, n_parameters + -n_parameters % 4, lanes), np.float64) for _ in "uz")
        direct = w.dtype == np.float64
        drawn = w[first:last] if direct else aligned((n * ratio, n_parameters, lanes), np.float64)
        compiled(*settings, keys[inner], hyper[inner], u, z, drawn)
        if not direct:
            pieces = drawn.reshape(n, ratio, n_parameters, lanes).transpose(0, 2, 1, 3)
            with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and the run diverges
                w[first:last].reshape(n, n_parameters, ratio, lanes)[:] = pieces

    cache.compile_for(compiled, (*settings, keys, hyper, keys, keys, keys))
    size = max(1, NUMBERS_A_CALL // (n_parameters * width))
    pieces = [(first, min(first + size, n_blocks)) for first in range(0, n_blocks, size)]
    _share_out(pieces, draw, pool, threads)
    return w


def _settings(layers, bias, init, bias_init) -> tuple:
    """Give the first arguments of `draw_blocks`."""
    weights, biases = INITIALIZERS[init], INITIALIZERS[bias_init]
    if not biases.for_biases:
        raise ValueError(f"{bias_init} is for weights alone")
    matrices, scales, needed, p = [], [], [], 0
    for n_in, n_out in pairwise(layers.tolist()):
        parts = [(weights, n_in, INIT_SCALE), (biases, 1, BIAS_SCALE)]
        for initializer, n_rows, row in parts[: 1 + bool(bias)]:
            kind = list(DISTRIBUTIONS).index(initializer.distribution)
            matrices.append(Matrix(kind, p, n_rows, n_out, row))
            scales.append(initializer.scale(n_in, n_out))
            needed.append(DISTRIBUTIONS[initializer.distribution])
            p += n_rows * n_out
    n_normals = p * any(d.needs_normals for d in needed)
    n_uniforms = n_normals or p * any(d.needs_uniforms for d in needed)
    return np.array(matrices, np.int64), np.array(scales), n_uniforms, n_normals


def _share_out(pieces, work, pool, threads) -> None:
    """Call ``work(*piece)`` for each piece in `threads` tasks; when one fails the others stop."""
    left, lock, failed = iter(pieces), threading.Lock(), threading.Event()

    def task():
        while not failed.is_set():
            with lock:
                piece = next(left, None)
            if piece is None:
                return
            work(*piece)

    tasks: list[Future[None]] = []
    try:
        for _ in range(min(threads, len(pieces))):
            tasks.append(pool.submit(task))
        for submitted in tasks:
            submitted.result()
    finally:
        # Nobody may write into the weights once the caller has them or an error.
        failed.set()
        wait(tasks)
