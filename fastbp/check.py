"""The analytic gradients of a sweep's own runs against finite differences. May import ``batches`` and below."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from fastbp.batches import prepare
from fastbp.data import DataSource
from fastbp.kernels import cpu
from fastbp.kernels.activations import ACTIVATIONS
from fastbp.kernels.batch import Batch
from fastbp.kernels.losses import LOSSES
from fastbp.kernels.structure import Structure
from fastbp.plan import Group, Plan, Runs, Shard
from fastbp.sweep import Sweep, weight_shapes

BOUND = {"float64": 1e-6, "float32": 1e-3}
RUNS_A_GROUP = 16
PLACES_A_MATRIX = 64
NUMBERS = 2**24  # weights of all moved networks at once: fewer places, then fewer runs, of a large network

# Fourth-order central difference: (L(-2h) - 8 L(-h) + 8 L(h) - L(2h)) / 12h. At this h the truncation, about
# h^4, and the rounding, about 1e-16 / h, are both far below the bound; where the loss bends sharply, see ROUGH.
STEP = 1e-4
OFFSETS = np.array([-2.0, -1.0, 1.0, 2.0])
COEFFICIENTS = np.array([1.0, -8.0, 8.0, -1.0]) / 12
KINK = 1e-2  # the slopes left and right of a place differ by more: a kink such as relu's lies there
ROUGH = 1e-6  # differences of second and fourth order disagree by more: the loss is not smooth there
FLOOR = 1e-5  # times the loss: below this a gradient drowns in the rounding of the loss itself


class Comparison(NamedTuple):
    """The gradients of one W or b of one dtype: the largest relative error, and how many were compared.

    `n_left_out` counts places where the loss is not finite, or not smooth: at a kink, or where differences of
    second and of fourth order disagree.
    """

    parameter: str
    dtype: str
    error: float
    n_compared: int
    n_left_out: int

    @property
    def passed(self) -> bool:
        """Whether the error is within the bound of the dtype."""
        return self.error <= BOUND[self.dtype]


def check(sweep: Sweep) -> list[Comparison]:
    """Compare gradients at the initial weights of runs of each group, spread evenly over its runs.

    At most `RUNS_A_GROUP` runs of a group and `PLACES_A_MATRIX` places of a W or b are taken. The relative error
    is ``|g - d| / max(|g|, |d|, FLOOR * loss)``. The differences are of the loss in float64, whatever the dtype of
    the runs.

    Returns
    -------
    list of Comparison
        One a parameter (W1, b1, …) and dtype, the worst over all runs.
    """
    plan = Plan(sweep)
    worst: dict[tuple[str, str], Comparison] = {}
    with ThreadPoolExecutor(cpu.n_threads()) as pool:
        for group in plan.groups:
            for found in _check_group(plan, group, plan.data, pool):
                before = worst.get(found[:2], found._replace(error=0.0, n_compared=0, n_left_out=0))
                worst[found[:2]] = Comparison(
                    *found[:2],
                    max(before.error, found.error),
                    before.n_compared + found.n_compared,
                    before.n_left_out + found.n_left_out,
                )
    return list(worst.values())


def _check_group(
    plan: Plan, group: Group, data: DataSource, pool: ThreadPoolExecutor
) -> Iterator[Comparison]:
    structure = group.structure._replace(
        steps=1, batch_size=0, stops_at_target=False, stops_on_divergence=False, patient=False
    )
    networks = NUMBERS // (structure.n_parameters * (len(OFFSETS) + 1))
    runs = _spread(plan, group, max(1, min(RUNS_A_GROUP, networks)))
    n_places = max(1, min(PLACES_A_MATRIX, networks // len(runs.ids)))
    batch = prepare(plan, structure, runs, data, pool, cpu.n_threads(), trace=True)
    weights = batch.runs(batch.w).astype(np.float64)
    cpu.train_batch(batch, pool, cpu.n_threads())
    analytic = batch.runs(batch.trace["g"]).astype(np.float64)
    first = 0
    for name, shape in weight_shapes(structure.layers, structure.bias).items():
        size = int(np.prod(shape))
        places = first + np.unique(np.linspace(0, size - 1, min(size, n_places)).astype(np.int64))
        losses = _losses_around(plan, structure, runs, data, weights, places, pool)
        yield _compare(name, structure, analytic[:, places], losses)
        first += size


def _spread(plan: Plan, group: Group, n_runs: int) -> Runs:
    positions = np.unique(np.linspace(0, group.n_runs - 1, min(group.n_runs, n_runs)).astype(np.int64))
    parts = [plan.runs(Shard(0, group, int(k), int(k) + 1)) for k in positions]
    return Runs(
        np.concatenate([part.ids for part in parts]),
        {name: np.concatenate([part.codes[name] for part in parts]) for name in plan.domains},
    )


def _losses_around(plan, structure: Structure, runs: Runs, data, weights, places, pool) -> np.ndarray:
    """Give the float64 loss with each place moved by each of `OFFSETS` and by 0: (n_runs, n_places, 5)."""
    offsets = STEP * np.append(OFFSETS, 0.0)
    n_runs, n_places = len(weights), len(places)
    moved = np.repeat(weights[:, None, None], n_places, axis=1).repeat(len(offsets), axis=2)
    moved[:, np.arange(n_places), :, places] += offsets
    each = n_places * len(offsets)
    many = Runs(
        np.repeat(runs.ids, each), {name: np.repeat(codes, each) for name, codes in runs.codes.items()}
    )
    still = structure._replace(steps=0, dtype="float64")
    batch: Batch = prepare(
        plan, still, many, data, pool, cpu.n_threads(), trace=False, weights=moved.reshape(len(many.ids), -1)
    )
    cpu.train_batch(batch, pool, cpu.n_threads())
    return batch.measure("loss_first").reshape(n_runs, n_places, len(offsets))


def _compare(name: str, structure: Structure, analytic: np.ndarray, losses: np.ndarray) -> Comparison:
    around, here = losses[..., :-1], losses[..., -1]
    kinked = LOSSES[structure.loss].kinked or any(ACTIVATIONS[name].kinked for name in structure.activations)
    with np.errstate(invalid="ignore", over="ignore"):
        difference = around @ COEFFICIENTS / STEP
        left, right = (here - around[..., 1]) / STEP, (around[..., 2] - here) / STEP
        scale = np.maximum(np.maximum(np.abs(analytic), np.abs(difference)), FLOOR * np.abs(here))
        error = np.abs(analytic - difference) / np.where(scale > 0, scale, 1.0)
        kink = kinked & (np.abs(left - right) > KINK * scale)
        coarse = (around[..., 2] - around[..., 1]) / (2 * STEP)
        rough = kink | (np.abs(difference - coarse) > ROUGH * scale)
        error = np.where(np.isfinite(analytic), error, np.inf)
    usable = np.isfinite(losses).all(axis=-1) & ~rough
    return Comparison(
        name,
        structure.dtype,
        float(error[usable].max(initial=0.0)),
        int(usable.sum()),
        int((~usable).sum()),
    )
