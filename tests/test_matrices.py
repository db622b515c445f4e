import numpy as np
import pytest
from runs import DTYPES, JIT, MACHINES, on, unpack, width_of

from fastbp.kernels.batch import pack
from fastbp.kernels.lanes import borrowed, rows
from fastbp.kernels.matrices import Matrix, multiply

machines = pytest.mark.parametrize("machine", MACHINES)
dtypes = pytest.mark.parametrize("dtype", DTYPES)
TOLERANCE = {np.float64: 1e-14, np.float32: 5e-6}
SIZES = (1, 2, 3, 4, 5, 7, 8, 9)


def products(A, B, C, D, scale, sizes, adds, first):
    """Multiply for each block; `B` is of lanes or plain; all matrices lie by rows but for what `first` skips."""
    _, n_rows, n_columns = sizes
    for block in range(len(A)):
        multiply(
            rows(scale, block)[0],
            Matrix(rows(A, block), first, n_rows, 1),
            borrowed(Matrix(rows(B, block), first, n_columns, 1)),
            sizes,
            Matrix(rows(C, block), first, n_columns, 1),
            Matrix(rows(D, block), 0, 1, 0),
            adds,
        )


def multiply_runs(machine, A, B, D, scale, first=0):
    """Give C: A is (n_runs, n, n_rows), B (n_runs, n, n_columns) or (n, n_columns), D (n_runs, n_rows)."""
    n_runs, n, n_rows = A.shape
    n_columns = B.shape[-1]
    dtype, width = A.dtype, width_of(machine, A.dtype)

    def packed(values):
        values = values.reshape(n_runs, -1)
        return pack(np.hstack([np.full((n_runs, first), np.nan, dtype), values]), width, dtype)

    shared = np.concatenate([np.full(first, np.nan, dtype), B.reshape(-1)]) if B.ndim == 2 else packed(B)
    C = packed(np.full((n_runs, n_rows * n_columns), np.nan, dtype))
    D_ = pack(np.zeros((n_runs, n_rows), dtype) if D is None else D, width, dtype)
    arguments = packed(A), shared, C, D_, pack(scale[:, None], width, dtype), (n, n_rows, n_columns)
    on(machine, products)(*arguments, D is not None, first)
    return unpack(C, n_runs)[:, first:].reshape(n_runs, n_rows, n_columns)


def draw(dtype, n_runs, n, n_rows, n_columns, shared):
    random = np.random.default_rng(n_rows * 100 + n_columns)
    shapes = [
        (n_runs, n, n_rows),
        (n, n_columns) if shared else (n_runs, n, n_columns),
        (n_runs, n_rows),
        n_runs,
    ]
    return [random.normal(size=shape).astype(dtype) for shape in shapes]


@machines
@dtypes
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("adds", [True, False])
def test_product(machine, dtype, shared, adds):
    for n_rows in SIZES:
        for n_columns in SIZES if JIT else (1, 2, 5):
            A, B, D, scale = draw(dtype, 5, 6, n_rows, n_columns, shared)
            exact = np.einsum("krc,krd->kcd" if not shared else "krc,rd->kcd", *map(np.float64, (A, B)))
            exact = scale[:, None, None] * exact + (D[:, :, None] if adds else 0)
            got = multiply_runs(machine, A, B, D if adds else None, scale, first=3)
            assert got.dtype == dtype
            np.testing.assert_allclose(got, exact, rtol=0, atol=TOLERANCE[dtype] * 10)


@machines
@dtypes
@pytest.mark.parametrize("shared", [True, False])
def test_an_element_has_the_same_bits_at_an_edge_as_within(machine, dtype, shared):
    A, B, D, scale = draw(dtype, 3, 5, 9, 9, shared)
    whole = multiply_runs(machine, A, B, D, scale)
    for n_rows in range(1, 9):
        for n_columns in range(1, 9) if JIT else (1, 4, 7):
            part = multiply_runs(
                machine,
                np.ascontiguousarray(A[..., :n_rows]),
                np.ascontiguousarray(B[..., :n_columns]),
                np.ascontiguousarray(D[:, :n_rows]),
                scale,
            )
            np.testing.assert_array_equal(part, whole[:, :n_rows, :n_columns])
