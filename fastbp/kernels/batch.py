"""The arrays of some blocks of runs: (blocks, rows, width), the run innermost, a block's runs side by side.

May import NumPy and the constants of the formulas.
"""

from dataclasses import dataclass

import numpy as np

from fastbp.kernels.metrics import METRICS, n_metrics
from fastbp.kernels.network import Network, sizes
from fastbp.kernels.orders import Orders


@dataclass(frozen=True)
class Batch:
    """Runs of one network to be trained together, and what becomes of them.

    Attributes
    ----------
    network : Network
    steps, n_runs, width : int
        The last block is filled up with copies of the last run.
    x, y : (n_samples * n_inputs,), (n_samples * n_outputs,), or (blocks, the same, width)
        Data that all runs share, or data of each run.
    w : (blocks, n_parameters, width)
        Weights, trained in place.
    hyper : (blocks, n_hyperparameters, width)
        As `structure.Structure.hyperparameters` numbers them.
    m : (blocks, metrics.n_metrics(network), width)
    state : (blocks, network.n_state, width)
        Of the optimizer.
    orders : Orders or None
        Of the samples, where a step takes some of them.
    steps_kept : int64 array, (n_kept,)
        The steps of which `measures` are kept.
    measures : tuple of str
        Keys of ``METRICS``.
    history : (blocks, n_kept * n_measures, width)
    trace : dict of (blocks, rows or 0, width)
        ``w``, ``g``, ``z``, ``a``, ``delta`` of each step as in `training.Record`.
    """

    network: Network
    steps: int
    n_runs: int
    width: int
    x: np.ndarray
    y: np.ndarray
    w: np.ndarray
    hyper: np.ndarray
    m: np.ndarray
    state: np.ndarray
    orders: Orders | None
    steps_kept: np.ndarray
    measures: tuple[str, ...]
    history: np.ndarray
    trace: dict[str, np.ndarray]

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return len(self.w)

    def measure(self, name: str) -> np.ndarray:
        """Give a measure of each run, (n_runs,)."""
        return self.runs(self.m[:, METRICS[name] : METRICS[name] + 1])[:, 0]

    def runs(self, array: np.ndarray) -> np.ndarray:
        """Give (blocks, rows, width) as (n_runs, rows)."""
        blocks, rows, width = array.shape
        return array.transpose(0, 2, 1).reshape(blocks * width, rows)[: self.n_runs]


def make_batch(
    network: Network,
    steps,
    x,
    y,
    w,
    hyper,
    width,
    *,
    orders=None,
    steps_kept=(),
    measures=("loss_last",),
    trace=False,
) -> Batch:
    """Lay runs out in blocks.

    Parameters
    ----------
    network : Network
    steps : int
    x, y : float arrays, (n_samples + n_validation, n_features) shared by all runs or (n_runs, …, n_features)
    w : float array, (n_runs, n_parameters), or (blocks, n_parameters, width) as `pack` makes it
        Its dtype, float32 or float64, is that of everything.
    hyper : float array, (n_runs, n_hyperparameters)
    width : int
        Runs a block.
    orders : Orders, optional
        Needed where a step takes some of the samples.
    steps_kept, measures : sequences of int and of str
        The steps of which measures are kept, and keys of ``METRICS``.
    trace : bool
        Whether to make room for everything of each step.
    """
    n_runs, dtype = len(hyper), w.dtype
    n_blocks = -(-n_runs // width)
    n_parameters, n_units = sizes(network)
    rows = steps * trace
    shapes = {
        "w": (rows + trace) * n_parameters,
        "g": rows * n_parameters,
        "z": (rows + trace) * network.n_samples * n_units,
        "a": (rows + trace) * network.n_samples * n_units,
        "delta": rows * network.n_samples * n_units,
    }
    return Batch(
        network=network,
        steps=steps,
        n_runs=n_runs,
        width=width,
        x=_data(x, width, dtype),
        y=_data(y, width, dtype),
        w=w if w.ndim == 3 else pack(w, width, dtype),
        hyper=pack(hyper, width, dtype),
        m=aligned(
            (n_blocks, n_metrics(network), width), dtype, zeros=False
        ),  # `metrics.begin` sets all of it
        state=aligned((n_blocks, network.n_state, width), dtype),
        orders=orders,
        steps_kept=np.asarray(steps_kept, np.int64),
        measures=tuple(measures),
        history=aligned((n_blocks, len(steps_kept) * len(measures), width), dtype),
        trace={name: aligned((n_blocks, n, width), dtype) for name, n in shapes.items()},
    )


def _data(values, width, dtype):
    if values.ndim == 2:
        return np.ascontiguousarray(values, dtype).reshape(-1)
    return pack(values.reshape(len(values), -1), width, dtype)


def pack(values: np.ndarray, width: int, dtype) -> np.ndarray:
    """Lay (n_runs, rows) out as (blocks, rows, width); the last run fills up the last block."""
    n_runs, n_rows = values.shape
    n_blocks = -(-n_runs // width)
    packed = aligned((n_blocks, n_rows, width), dtype, zeros=False)
    if n_runs and values.strides[0] == 0:  # all runs have the same, as by `broadcast_to`
        packed[:] = np.broadcast_to(values[0, :, None], packed.shape[1:]).astype(dtype)
        return packed
    whole = n_runs // width
    packed[:whole] = values[: whole * width].reshape(whole, width, n_rows).transpose(0, 2, 1)
    if whole < n_blocks:
        rest = values[whole * width :]
        packed[whole, :, : len(rest)] = rest.T
        packed[whole, :, len(rest) :] = rest[-1][:, None]
    return packed


def aligned(shape: tuple[int, ...], dtype, *, zeros: bool = True) -> np.ndarray:
    """Give zeros, or whatever is there, from a multiple of 64 bytes on: no register load crosses a cache line."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    memory = (np.zeros if zeros else np.empty)(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype).reshape(shape)
