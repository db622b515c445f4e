"""The product of two matrices in tiles that stay in registers: here are all multiply-adds of the layers.

May import ``lanes`` alone.
"""

from typing import NamedTuple

import numpy as np

from fastbp.kernels.lanes import fma, kernel


class Matrix(NamedTuple):
    """A matrix in a flat array: element (r, c) is ``values[first + r * row + c * column]``."""

    values: np.ndarray
    first: int
    row: int
    column: int


@kernel
def multiply(scale, A, B, sizes, C, D, adds):
    """``C_rc = scale sum_k A_kr B_kc``, and ``+ D_rc`` where it `adds`; `sizes` are those of k, r and c.

    Tiles of 4 x 2: eight sums, each in two registers, hide the latency of a multiply-add, and six numbers loaded
    serve eight of them. Each sum runs over k in order, so that an element has the same bits at an edge as within.
    `D` may be `C` itself.
    """
    n, n_rows, n_columns = sizes
    tiled = n_rows - n_rows % 4
    for r in range(0, tiled, 4):
        for c in range(0, n_columns - 1, 2):
            tile_4x2(scale, A, B, n, r, c, C, D, adds)
        if n_columns % 2 == 1:
            tile_4x1(scale, A, B, n, r, n_columns - 1, C, D, adds)
    for r in range(tiled, n_rows):
        tiled_columns = n_columns - n_columns % 4
        for c in range(0, tiled_columns, 4):
            tile_1x4(scale, A, B, n, r, c, C, D, adds)
        for c in range(tiled_columns, n_columns):
            tile_1x1(scale, A, B, n, r, c, C, D, adds)


@kernel
def tile_4x2(scale, A, B, n, r, c, C, D, adds):
    """Rows `r` to `r` + 3 of columns `c` and `c` + 1."""
    a, b = A.first + r * A.column, B.first + c * B.column
    s0, s1, s2, s3, t0, t1, t2, t3 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for _ in range(n):
        b0, b1 = B.values[b], B.values[b + B.column]
        a0, a1 = A.values[a], A.values[a + A.column]
        a2, a3 = A.values[a + 2 * A.column], A.values[a + 3 * A.column]
        s0, t0 = fma(a0, b0, s0), fma(a0, b1, t0)
        s1, t1 = fma(a1, b0, s1), fma(a1, b1, t1)
        s2, t2 = fma(a2, b0, s2), fma(a2, b1, t2)
        s3, t3 = fma(a3, b0, s3), fma(a3, b1, t3)
        a, b = a + A.row, b + B.row
    finish(scale, s0, r, c, C, D, adds)
    finish(scale, s1, r + 1, c, C, D, adds)
    finish(scale, s2, r + 2, c, C, D, adds)
    finish(scale, s3, r + 3, c, C, D, adds)
    finish(scale, t0, r, c + 1, C, D, adds)
    finish(scale, t1, r + 1, c + 1, C, D, adds)
    finish(scale, t2, r + 2, c + 1, C, D, adds)
    finish(scale, t3, r + 3, c + 1, C, D, adds)


@kernel
def tile_4x1(scale, A, B, n, r, c, C, D, adds):
    """Rows `r` to `r` + 3 of column `c`."""
    s0, s1, s2, s3 = four_sums(A, r, B, c, n)
    finish(scale, s0, r, c, C, D, adds)
    finish(scale, s1, r + 1, c, C, D, adds)
    finish(scale, s2, r + 2, c, C, D, adds)
    finish(scale, s3, r + 3, c, C, D, adds)


@kernel
def tile_1x4(scale, A, B, n, r, c, C, D, adds):
    """Row `r` of columns `c` to `c` + 3."""
    s0, s1, s2, s3 = four_sums(B, c, A, r, n)
    finish(scale, s0, r, c, C, D, adds)
    finish(scale, s1, r, c + 1, C, D, adds)
    finish(scale, s2, r, c + 2, C, D, adds)
    finish(scale, s3, r, c + 3, C, D, adds)


@kernel
def four_sums(A, r, B, c, n):
    """``sum_k A_kq B_kc`` for q from `r` to `r` + 3."""
    a, b = A.first + r * A.column, B.first + c * B.column
    s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
    for _ in range(n):
        b0 = B.values[b]
        s0 = fma(A.values[a], b0, s0)
        s1 = fma(A.values[a + A.column], b0, s1)
        s2 = fma(A.values[a + 2 * A.column], b0, s2)
        s3 = fma(A.values[a + 3 * A.column], b0, s3)
        a, b = a + A.row, b + B.row
    return s0, s1, s2, s3


@kernel
def tile_1x1(scale, A, B, n, r, c, C, D, adds):
    """Row `r` of column `c`."""
    a, b = A.first + r * A.column, B.first + c * B.column
    s = 0.0
    for _ in range(n):
        s = fma(A.values[a], B.values[b], s)
        a, b = a + A.row, b + B.row
    finish(scale, s, r, c, C, D, adds)


@kernel
def finish(scale, sum_, r, c, C, D, adds):
    """``C_rc = scale sum``, and ``+ D_rc`` where it `adds`."""
    at = C.first + r * C.row + c * C.column
    if adds:
        C.values[at] = fma(scale, sum_, D.values[D.first + r * D.row + c * D.column])
    else:
        C.values[at] = scale * sum_
