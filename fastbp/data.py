"""Data sets as arrays. May import ``sweep`` and NumPy."""

from typing import NamedTuple

import numpy as np

from fastbp.sweep import Sweep


class DataSet(NamedTuple):
    """Inputs `x`, float64 (n_samples, n_inputs), and targets `y`, float64 (n_samples, n_outputs)."""

    x: np.ndarray
    y: np.ndarray


def load_data(sweep: Sweep) -> DataSet:
    """Give the data of a sweep."""
    return DataSet(np.array(sweep.data.x, np.float64), np.array(sweep.data.y, np.float64))
