"""Initial weights: given ones, and the rules that draw them, one entry of ``INITIALIZERS`` a variant.

To add one, write its entry; the tests walk this table and will ask for an independent formula. May import NumPy
and the standard library alone.

The meaning is that of ``torch.nn.init``. Normals are not truncated: Keras' ``glorot_normal``, ``he_normal`` and
``lecun_normal`` are, at two standard deviations, and widened to keep their variance.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np


class Initializer(NamedTuple):
    """Draws of `distribution`, a key of ``DISTRIBUTIONS``, times ``scale(fan_in, fan_out)``."""

    distribution: str
    scale: Callable[[int, int], float]
    formula: str
    for_biases: bool = True

    @property
    def random(self) -> bool:
        """Whether the seed matters."""
        return self.distribution != "constant"


INITIALIZERS = {
    "zeros": Initializer("constant", lambda fan_in, fan_out: 0.0, "0"),
    "constant": Initializer("constant", lambda fan_in, fan_out: 1.0, "1"),
    "uniform": Initializer("uniform", lambda fan_in, fan_out: 1.0, "U(-1, 1)"),
    "normal": Initializer("normal", lambda fan_in, fan_out: 1.0, "N(0, 1)"),
    # Glorot and Bengio, Understanding the difficulty of training deep feedforward neural networks, AISTATS 2010.
    "glorot_uniform": Initializer(
        "uniform",
        lambda fan_in, fan_out: math.sqrt(6 / (fan_in + fan_out)),
        "U(±sqrt(6 / (fan_in + fan_out)))",
    ),
    "glorot_normal": Initializer(
        "normal", lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out)), "N(0, 2 / (fan_in + fan_out))"
    ),
    # He, Zhang, Ren and Sun, Delving deep into rectifiers, ICCV 2015.
    "he_uniform": Initializer(
        "uniform", lambda fan_in, fan_out: math.sqrt(6 / fan_in), "U(±sqrt(6 / fan_in))"
    ),
    "he_normal": Initializer("normal", lambda fan_in, fan_out: math.sqrt(2 / fan_in), "N(0, 2 / fan_in)"),
    # LeCun, Bottou, Orr and Müller, Efficient BackProp, 1998.
    "lecun_uniform": Initializer(
        "uniform", lambda fan_in, fan_out: math.sqrt(3 / fan_in), "U(±sqrt(3 / fan_in))"
    ),
    "lecun_normal": Initializer("normal", lambda fan_in, fan_out: math.sqrt(1 / fan_in), "N(0, 1 / fan_in)"),
    # PyTorch's default for the weights and biases of a Linear.
    "fan_in_uniform": Initializer(
        "uniform", lambda fan_in, fan_out: 1 / math.sqrt(fan_in), "U(±1 / sqrt(fan_in))"
    ),
    # Saxe, McClelland and Ganguli, Exact solutions to the nonlinear dynamics of learning, ICLR 2014.
    "orthogonal": Initializer(
        "orthogonal", lambda fan_in, fan_out: 1.0, "orthonormal columns or rows", for_biases=False
    ),
}


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
