"""Compiling ahead: which variants of the kernels there are, which a sweep needs, and having them in the cache.

A variant is what the compiler sees of a batch: its dtype, and whether all runs share the data. May import ``plan``
and ``kernels``.
"""

import time
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from fastbp.kernels import cache, cpu
from fastbp.kernels.batch import make_batch
from fastbp.kernels.draw import draw_weights
from fastbp.kernels.initializers import INITIALIZERS
from fastbp.kernels.structure import Structure, network_of
from fastbp.plan import Group, Plan
from fastbp.sweep import DATA_PARAMETERS

DTYPES = ("float64", "float32")
SHARED, OWN = "shared", "own"
DATA = {SHARED: "data that all runs share", OWN: "data of each run"}


class Variant(NamedTuple):
    """Kernels that are compiled together: to train in a dtype on a kind of data, or to draw weights.

    Attributes
    ----------
    dtype : str or None
        Of the runs that are trained; None for drawing, which is done in float64 for all.
    data : str or None
        Key of ``DATA``.
    """

    dtype: str | None = None
    data: str | None = None

    def __str__(self) -> str:
        return (
            "drawing weights" if self.dtype is None else f"training in {self.dtype}, {DATA[str(self.data)]}"
        )


DRAWING = Variant()


class Outcome(NamedTuple):
    """A variant that is in the cache now.

    Attributes
    ----------
    variant : Variant
    compiled : bool
        Whether it was not there before.
    seconds : float
        That compiling or loading it took.
    """

    variant: Variant
    compiled: bool
    seconds: float


def all_variants() -> list[Variant]:
    """Give the variants that any sweep may need."""
    return [*(Variant(dtype, data) for dtype in DTYPES for data in DATA), DRAWING]


def variants_of(plan: Plan) -> list[Variant]:
    """Give the variants that a sweep needs."""
    needed = {
        Variant(group.structure.dtype, data) for group in plan.groups for data in _kinds_of_data(plan, group)
    }
    if any(init in INITIALIZERS for init in plan.domains.get("init", (plan.base["init"],))):
        needed.add(DRAWING)
    return [variant for variant in all_variants() if variant in needed]


def restricted(variants: Iterable[Variant], dtypes: Collection[str], kinds: Collection[str]) -> list[Variant]:
    """Give the variants of these dtypes and kinds of data, where any are named; drawing is for all."""
    return [
        variant
        for variant in variants
        if variant == DRAWING
        or ((not dtypes or variant.dtype in dtypes) and (not kinds or variant.data in kinds))
    ]


def _kinds_of_data(plan: Plan, group: Group) -> set[str]:
    """Give the kinds of data that the shards of a group have: where all of a shard agree they share them."""
    swept = [name for name in DATA_PARAMETERS if name in plan.domains]
    if not swept:
        return {SHARED}
    kinds = set()
    for shard in (shard for shard in plan.shards() if shard.group is group):
        codes = plan.runs(shard).codes
        kinds.add(SHARED if all((codes[name] == codes[name][0]).all() for name in swept) else OWN)
        if len(kinds) == len(DATA):
            break
    return kinds


def warm_up(variants: Iterable[Variant]) -> Iterator[Outcome]:
    """Compile one variant after the other, as far as it is not in the cache; tell of each when it is ready."""
    with ThreadPoolExecutor(1) as pool:
        for variant in variants:
            before, began = cache.n_compiled(), time.perf_counter()
            _use(variant, pool)
            yield Outcome(variant, cache.n_compiled() > before, time.perf_counter() - began)


def _use(variant: Variant, pool: ThreadPoolExecutor) -> None:
    """Train, or draw, the smallest network that there is."""
    if variant.dtype is None:
        one, seeds, layers = np.ones(1), np.ones(1, np.uint64), np.array([1, 1])
        draw_weights(layers, True, "normal", "zeros", seeds, one, one, one, np.float64, pool, 1)
        return
    structure = Structure((1, 1), True, ("identity",), "mse", "sgd", 0, variant.dtype, n_samples=1)
    x = np.zeros((1, 1) if variant.data == SHARED else (1, 1, 1))
    hyper = np.zeros((1, len(list(structure.hyperparameters()))))
    weights = np.zeros((1, structure.n_parameters), variant.dtype)
    batch = make_batch(network_of(structure), 0, x, x, weights, hyper, cpu.width(variant.dtype))
    cpu.train_batch(batch, pool, 1)
