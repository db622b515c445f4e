"""Parametrisations: the multipliers on ``x @ W`` that have a name, one entry of ``PARAMETRISATIONS`` each.

May import the standard library alone.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Parametrisation(NamedTuple):
    """The multiplier of a layer of `n_in` inputs, ``hidden(n_in)`` or, of the last one, ``output(n_in)``."""

    hidden: Callable[[int], float]
    output: Callable[[int], float]
    formula: str


PARAMETRISATIONS = {
    "standard": Parametrisation(
        hidden=lambda n_in: 1.0,
        output=lambda n_in: 1.0,
        formula="1",
    ),
    "ntk": Parametrisation(
        # Jacot, Gabriel and Hongler, Neural tangent kernel, NeurIPS 2018, section 3.
        hidden=lambda n_in: 1.0 / math.sqrt(n_in),
        output=lambda n_in: 1.0 / math.sqrt(n_in),
        formula="1 / sqrt(n_in) in every layer",
    ),
    "mean_field": Parametrisation(
        # Mei, Montanari and Nguyen, A mean field view of the landscape of two-layer networks, PNAS 2018: the
        # output is the mean over the hidden units. The trainability fractal (arXiv 2402.06184) is of this kind.
        hidden=lambda n_in: 1.0 / math.sqrt(n_in),
        output=lambda n_in: 1.0 / n_in,
        formula="1 / sqrt(n_in), in the last layer 1 / n_in",
    ),
}


def multipliers(name: str, layers: Sequence[int]) -> tuple[float, ...]:
    """Give the multiplier of each layer.

    Parameters
    ----------
    name : str
        Key of ``PARAMETRISATIONS``.
    layers : sequence of int
        Units of each layer, the inputs first.
    """
    chosen, last = PARAMETRISATIONS[name], len(layers) - 2
    return tuple(
        (chosen.output if layer == last else chosen.hidden)(n_in)
        for layer, (n_in, _) in enumerate(itertools.pairwise(layers))
    )
