"""Distributions of initial weights: how a matrix is made of random numbers, one entry each.

`u` and `z` are the uniforms and the normals of a run, one for each of its parameters. May import ``lanes`` and
``switch`` alone.
"""

from collections.abc import Callable
from typing import NamedTuple

from fastbp.kernels.lanes import fma, kernel, sqrt
from fastbp.kernels.switch import switch


class Distribution(NamedTuple):
    """Set ``w[p : p + n_in n_out]``, a matrix by rows, to draws times `scale`; which numbers it needs."""

    draw: Callable
    needs_uniforms: bool = False
    needs_normals: bool = False


@kernel
def _constant(w, u, z, p, n_in, n_out, scale):
    """``1``."""
    for i in range(p, p + n_in * n_out):
        w[i] = scale


@kernel
def _uniform(w, u, z, p, n_in, n_out, scale):
    """``U(-1, 1)``."""
    for i in range(p, p + n_in * n_out):
        w[i] = scale * (2.0 * u[i] - 1.0)


@kernel
def _normal(w, u, z, p, n_in, n_out, scale):
    """``N(0, 1)``."""
    for i in range(p, p + n_in * n_out):
        w[i] = scale * z[i]


@kernel
def _unknown(w, u, z, p, n_in, n_out, scale):
    """NaN, so that a mistake shows."""
    for i in range(p, p + n_in * n_out):
        w[i] = float("nan")


@kernel
def _orthonormal(w, u, z, p, n_in, n_out, scale):
    """``Q`` of the QR factorisation of a matrix of normals, the diagonal of R positive, or of its transpose.

    The columns are orthonormal, or the rows where there are fewer of these. Modified Gram-Schmidt, each projection
    taken away twice: twice is enough (Giraud, Langou and Rozložník, The loss of orthogonality in the Gram-Schmidt
    orthogonalization process, 2005).
    """
    for i in range(p, p + n_in * n_out):
        w[i] = z[i]
    # Vector j begins at p + j step and has `size` elements, `stride` apart.
    count, size, step, stride = n_out, n_in, 1, n_out
    if n_in < n_out:
        count, size, step, stride = n_in, n_out, n_out, 1
    for j in range(count):
        v = p + j * step
        for _ in range(2):
            for i in range(j):
                q = p + i * step
                r = w[q] * w[v]
                for k in range(stride, size * stride, stride):
                    r = fma(w[q + k], w[v + k], r)
                for k in range(0, size * stride, stride):
                    w[v + k] = fma(-r, w[q + k], w[v + k])
        square = w[v] * w[v]
        for k in range(stride, size * stride, stride):
            square = fma(w[v + k], w[v + k], square)
        for k in range(0, size * stride, stride):
            w[v + k] = w[v + k] / sqrt(square)
    for i in range(p, p + n_in * n_out):
        w[i] = scale * w[i]


DISTRIBUTIONS = {
    "constant": Distribution(_constant),
    "uniform": Distribution(_uniform, needs_uniforms=True),
    "normal": Distribution(_normal, needs_normals=True),
    "orthogonal": Distribution(_orthonormal, needs_normals=True),
}

# draw_matrix(kind, (w, u, z, p, n_in, n_out, scale))
draw_matrix = switch([distribution.draw for distribution in DISTRIBUTIONS.values()], _unknown)
