"""Structure: by names, what the runs of a block share; as numbers, the ``Network`` that the kernels read.

May import the tables of names and ``network`` alone, and NumPy.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from fastbp.kernels import losses, optimizers
from fastbp.kernels.activations import ACTIVATIONS, HYPERPARAMETERS
from fastbp.kernels.losses import LOSSES
from fastbp.kernels.metrics import SCORES
from fastbp.kernels.network import Network
from fastbp.kernels.optimizers import OPTIMIZERS
from fastbp.kernels.orders import ORDERS, epoch_size
from fastbp.kernels.schedules import SCHEDULES

# How many numbers z, a and delta of a chunk of samples may be: in the first-level cache beside a layer's weights,
# or, where that were only a few samples, in the second-level cache beside all weights and their gradient.
FIRST_LEVEL, SECOND_LEVEL = 384, 8192
FEW = 16  # samples


class Structure(NamedTuple):
    """All that decides the control flow of a run.

    Attributes
    ----------
    layers : tuple of int
        Units of the input, then of each layer.
    bias : bool
    activations : tuple of str
        Of each layer with weights.
    loss, optimizer : str
    steps : int
    dtype : str
    n_samples, n_validation : int
        Samples to train on, and of the validation part behind them.
    schedule : str
    warms_up, clips, decays : bool
        Whether there is a warm-up, a limit of the gradient's norm, a decay of the weights.
    frozen : tuple of str
        Parameters that keep their values: ``W1``, ``b1`` …
    batch_size : int
        Samples of a step; 0 for all.
    batch_order : str
        Key of ``ORDERS``.
    batch_seed : int
    stops_at_target, stops_on_divergence, patient : bool
        What ends a run before its last step.
    validate_every : int
        Steps between looks at the validation part; 0 for an epoch.
    """

    layers: tuple[int, ...]
    bias: bool
    activations: tuple[str, ...]
    loss: str
    optimizer: str
    steps: int
    dtype: str
    n_samples: int
    n_validation: int = 0
    schedule: str = "constant"
    warms_up: bool = False
    clips: bool = False
    decays: bool = False
    frozen: tuple[str, ...] = ()
    batch_size: int = 0
    batch_order: str = "shuffled"
    batch_seed: int = 0
    stops_at_target: bool = False
    stops_on_divergence: bool = False
    patient: bool = False
    validate_every: int = 0

    @property
    def n_parameters(self) -> int:
        """Number of weights and biases."""
        return sum((n_in + self.bias) * n_out for n_in, n_out in itertools.pairwise(self.layers))

    @property
    def n_units(self) -> int:
        """Number of units of all layers with weights."""
        return sum(self.layers[1:])

    @property
    def score(self) -> str | None:
        """Key of ``SCORES``, or None where a single sample leaves nothing to explain."""
        score = LOSSES[self.loss].score
        return None if score == "r2" and self.n_samples < 2 else score

    @property
    def score_name(self) -> str | None:
        """What the score is called in tables: ``r2`` or ``accuracy``; None where there is none."""
        return "accuracy" if self.score and self.score != "r2" else self.score

    @property
    def samples_a_step(self) -> int:
        """Samples of a step, the last one of an epoch apart."""
        return min(self.batch_size or self.n_samples, self.n_samples)

    @property
    def chunk(self) -> int:
        """Samples that go through the network together: an even number, so that tiles of two fit.

        As many as the caches hold, a step's samples in chunks of about the same size.
        """
        of_a_sample = 3 * self.n_units
        most = max(2, FIRST_LEVEL // of_a_sample, min(FEW, SECOND_LEVEL // of_a_sample))
        samples = max(self.samples_a_step, min(most, self.n_samples))
        chunk = -(-samples // -(-samples // most))
        return chunk + chunk % 2

    @property
    def full(self) -> bool:
        """Whether each step takes all samples; as many, drawn with replacement, are not all."""
        return self.samples_a_step == self.n_samples and not (
            self.batch_size and ORDERS[self.batch_order].replaces
        )

    @property
    def n_batches(self) -> int:
        """Steps of an epoch."""
        return -(-self.n_samples // self.samples_a_step)

    def hyperparameters(self) -> Iterator[tuple[str, int | None, float | None]]:
        """Give name, layer and default of each row of a run's hyperparameters, in order.

        The layer counts from 0, and is None where the row is not of one layer; the default is None where the sweep
        has to say.
        """
        n_layers = len(self.activations)
        yield "target_loss", None, -np.inf
        yield from (("learning_rate", layer, None) for layer in range(n_layers))
        yield from (("scale", layer, 1.0) for layer in range(n_layers))
        for part in self._parts().values():
            yield from ((name, None, default) for name, default in part.items())

    def _parts(self) -> dict[str, Mapping[str, float | None]]:
        """Give the hyperparameters that each part has of its own, in the order of their rows."""
        own = dict(OPTIMIZERS[self.optimizer].defaults)
        decay = {"weight_decay": own.pop("weight_decay", 0.0)}
        scheduled = self.schedule != "constant" or self.warms_up
        return {
            "loss": LOSSES[self.loss].defaults,
            "optimizer": own,
            "schedule": {"warmup_steps": 0.0, **SCHEDULES[self.schedule].defaults} if scheduled else {},
            "clip": {"clip_norm": np.inf} if self.clips else {},
            "decay": decay if self.decays else {},
            "patience": {"patience": None, "min_delta": 0.0} if self.patient else {},
            "activation": HYPERPARAMETERS if any(ACTIVATIONS[a].defaults for a in self.activations) else {},
        }

    def tensors(self) -> Iterator[tuple[str, int]]:
        """Give ``W`` or ``b`` and the number of parameters of each, in their order."""
        for n_in, n_out in itertools.pairwise(self.layers):
            yield "W", n_in * n_out
            if self.bias:
                yield "b", n_out

    def ranges(self) -> list[tuple[int, int, int]]:
        """Give layer, begin and end of each stretch of parameters that are trained."""
        found: list[tuple[int, int, int]] = []
        start = 0
        for layer, (n_in, n_out) in enumerate(itertools.pairwise(self.layers)):
            for name, size in ((f"W{layer + 1}", n_in * n_out), (f"b{layer + 1}", n_out * self.bias)):
                if size and name not in self.frozen:
                    if found and found[-1][0] == layer and found[-1][2] == start:
                        found[-1] = (layer, found[-1][1], start + size)
                    else:
                        found.append((layer, start, start + size))
                start += size
        return found


def network_of(structure: Structure) -> Network:
    """Translate names into the numbers that kernels know."""
    parts = structure._parts()
    firsts = itertools.accumulate(map(len, parts.values()), initial=1 + 2 * len(structure.activations))
    rows = dict(zip(parts, firsts, strict=False))
    loss, ranges = LOSSES[structure.loss], structure.ranges()
    kinds = [list(ACTIVATIONS).index(name) for name in structure.activations]
    slopes = [*kinds[:-1], list(ACTIVATIONS).index("identity") if loss.output else kinds[-1]]
    return Network(
        layers=np.array(structure.layers, np.int64),
        activations=np.array(kinds, np.int64),
        slopes=np.array(slopes, np.int64),
        activation_row=rows["activation"],
        bias=structure.bias,
        range_layers=np.array([layer for layer, _, _ in ranges], np.int64),
        range_first=np.array([first for _, first, _ in ranges], np.int64),
        range_last=np.array([last for _, _, last in ranges], np.int64),
        loss=list(LOSSES).index(structure.loss),
        loss_row=rows["loss"],
        optimizer=list(OPTIMIZERS).index(structure.optimizer),
        optimizer_row=rows["optimizer"],
        schedule=list(SCHEDULES).index(structure.schedule),
        schedule_row=rows["schedule"],
        weight=losses.weight(structure.loss, structure.layers[-1]),
        scheduled=bool(parts["schedule"]),
        clips=structure.clips,
        decays=structure.decays,
        decoupled=OPTIMIZERS[structure.optimizer].decoupled,
        clip_row=rows["clip"],
        decay_row=rows["decay"],
        patience_row=rows["patience"],
        n_samples=structure.n_samples,
        n_validation=structure.n_validation,
        batch_size=structure.samples_a_step,
        n_batches=structure.n_batches,
        epoch_size=epoch_size(ORDERS[structure.batch_order], structure.n_samples, structure.samples_a_step),
        chunk=structure.chunk,
        full=structure.full,
        n_state=optimizers.n_state_rows(structure.optimizer, structure.n_parameters),
        stops_at_target=structure.stops_at_target,
        stops_on_divergence=structure.stops_on_divergence,
        patient=structure.patient,
        validate_every=structure.validate_every or structure.n_batches,
        score=-1 if structure.score is None else list(SCORES).index(structure.score),
    )
