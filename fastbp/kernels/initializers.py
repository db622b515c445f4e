"""Initial weights. May import NumPy alone."""

from collections.abc import Mapping, Sequence

import numpy as np


def given(weights: Mapping[str, Sequence], n_layers: int, bias: bool) -> np.ndarray:
    """Lay given weights out as a run's parameters.

    Parameters
    ----------
    weights : mapping
        ``W1`` (n_in, n_out), ``b1`` (n_out,), ``W2`` …
    n_layers : int
    bias : bool
        Whether the network has the vectors b.

    Returns
    -------
    float64 array, (n_parameters,)
        In the order of `network`: W of each layer by rows, then its b.
    """
    names = [name for layer in range(1, n_layers + 1) for name in ([f"W{layer}"] + [f"b{layer}"] * bias)]
    return np.concatenate([np.ravel(np.asarray(weights[name], np.float64)) for name in names])
