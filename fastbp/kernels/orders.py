"""In which order the steps of a run take the samples, one entry of ``ORDERS`` a variant.

All random numbers come from ``np.random.Philox(key=[batch_seed, 1])``, of which NumPy guarantees that the raw
stream stays what it is: the r-th epoch, of n places, uses the raw numbers ``r n'`` to ``r n' + n``, where n' is n
rounded up to a multiple of 4. May import NumPy alone.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

STREAM = 1  # the second word of the key; initial weights have 0 there, so that equal seeds share no number
PLACES = 2**20  # of a chunk of epochs: some megabytes, and some hundredths of a second to draw


class BatchOrder(NamedTuple):
    """The samples of some epochs, ``samples(raw, n_samples)``, from raw numbers (n_epochs, places); `formula`."""

    samples: Callable[[np.ndarray, int], np.ndarray] | None
    replaces: bool
    formula: str


ORDERS = {
    "in_order": BatchOrder(None, False, "the samples as they stand, epoch after epoch"),
    "shuffled": BatchOrder(
        lambda raw, n_samples: raw.argsort(axis=1, kind="stable"),
        False,
        "each epoch takes all samples, by the order of their random numbers",
    ),
    "with_replacement": BatchOrder(
        lambda raw, n_samples: ((raw >> np.uint64(11)) * (n_samples * 2.0**-53)).astype(np.int64),
        True,
        "each place takes any sample, all alike likely",
    ),
}


def epoch_size(order: BatchOrder, n_samples: int, batch_size: int) -> int:
    """Give the samples of an epoch; with replacement all batches are full."""
    return -(-n_samples // batch_size) * batch_size if order.replaces else n_samples


class Orders:
    """The order of all steps of a run, drawn chunk by chunk as it is asked for.

    Parameters
    ----------
    name : str
        Key of ``ORDERS``.
    seed, n_samples, batch_size, steps : int
    """

    def __init__(self, name: str, seed: int, n_samples: int, batch_size: int, steps: int):
        self.name, self.seed, self.n_samples = name, seed, n_samples
        self.stride = epoch_size(ORDERS[name], n_samples, batch_size)
        self.n_batches = -(-self.stride // batch_size)
        # A sweep of few epochs draws these alone.
        self.epochs = max(1, min(PLACES // self.stride, -(-steps // self.n_batches)))

    def at(self, step: int) -> tuple[np.ndarray, int, int, int | None]:
        """Give the samples of some epochs, the first of these, the places of one, and the step after the last.

        The last is None where the samples serve all steps.
        """
        if ORDERS[self.name].samples is None:
            return np.arange(self.n_samples), 0, 0, None
        number = step // self.n_batches // self.epochs
        samples = _chunk(self.name, self.seed, self.n_samples, self.stride, number, self.epochs)
        first = number * self.epochs
        return samples, first, self.stride, (first + self.epochs) * self.n_batches


@lru_cache(maxsize=16)
def _chunk(name: str, seed: int, n_samples: int, size: int, number: int, epochs: int) -> np.ndarray:
    """Give the samples of the epochs ``number * epochs`` and following, int64 (epochs * size,)."""
    draw = ORDERS[name].samples
    assert draw is not None
    padded = -(-size // 4) * 4
    generator = np.random.Philox(key=np.array([seed, STREAM], np.uint64))
    generator.advance(number * epochs * padded // 4)  # a step of its counter is four numbers
    raw = generator.random_raw(epochs * padded).reshape(epochs, padded)[:, :size]
    return draw(raw, n_samples).ravel()
