"""From the values of a run's parameters to its `Structure`, what speaks against it, and the steps that are kept.

May import ``data``, ``sweep``, ``kernels`` and NumPy.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from fastbp.data import DataSource
from fastbp.kernels.optimizers import OPTIMIZERS
from fastbp.kernels.structure import Structure
from fastbp.sweep import DATA_PARAMETERS
from fastbp.sweep.needs import activations
from fastbp.sweep.sections import MAXIMUM_STEPS, Record


class Refusal(NamedTuple):
    """Why there can be no such run: the parameter whose value is wrong, and what to do about it."""

    parameter: str
    message: str


def structure_of(values: Mapping[str, Any], data: DataSource) -> Structure | Refusal:
    """Give what a run shares with the others of its block.

    Parameters
    ----------
    values : mapping
        The value of every parameter; None for those that the run does not have.
    data : DataSource
    """
    shape = data.shape(_of_data(values))
    decay = values["weight_decay"]
    structure = Structure(
        layers=values["layers"],
        bias=values["bias"],
        activations=activations(values),
        loss=values["loss"],
        optimizer=values["optimizer"],
        steps=values["steps"] or 0,
        dtype=values["dtype"],
        n_samples=shape.n_samples,
        n_validation=shape.n_validation,
        schedule=values["schedule"],
        warms_up=values["warmup_steps"] is not None,
        clips=values["clip_norm"] is not None,
        decays=decay is not None or "weight_decay" in OPTIMIZERS[values["optimizer"]].defaults,
        frozen=_frozen(values["freeze"], len(values["layers"]) - 1),
        batch_size=values["batch_size"] or 0,
        batch_order=values["batch_order"],
        batch_seed=values["batch_seed"] or 0,
        stops_at_target=values["stop_at_target"],
        stops_on_divergence=values["stop_on_divergence"],
        patient=values["patience"] is not None and shape.n_validation > 0,
        validate_every=values["validate_every"] or 0,
    )
    if structure.batch_size > (most := structure.n_samples):
        message = f"a batch of {structure.batch_size} samples is larger than the {most} to train on"
        return Refusal("batch_size", f"{message}; take at most {most}")
    if values["epochs"] is not None:
        structure = structure._replace(steps=values["epochs"] * structure.n_batches)
    if structure.steps > MAXIMUM_STEPS:
        advice = f"take at most {MAXIMUM_STEPS // structure.n_batches} epochs"
        return Refusal("epochs", f"make {structure.steps} steps; a run may have {MAXIMUM_STEPS}, so {advice}")
    if refusal := data.refusal(structure.loss, _of_data(values)):
        return Refusal("loss", refusal)
    return structure


def _of_data(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in DATA_PARAMETERS}


def _frozen(freeze: tuple[str, ...], n_layers: int) -> tuple[str, ...]:
    """Give the names W1, b1 … that `freeze` means; ``W`` and ``b`` stand for those of all layers."""
    names = (f"{name}{layer + 1}" for layer in range(n_layers) for name in ("W", "b"))
    return tuple(name for name in names if name in freeze or name[0] in freeze)


def steps_kept(record: Record, steps: int) -> np.ndarray:
    """Give the steps of a run whose measures the history keeps, int64, in order; the last is `steps`."""
    if not n_steps_kept(record, steps):
        return np.zeros(0, np.int64)
    if record.history_log and record.history_log <= steps:
        kept = np.geomspace(1, steps, record.history_log).round().astype(np.int64)
        return np.unique(np.concatenate([[0], kept, [steps]]))
    return np.append(np.arange(0, steps, record.history_every or 1), steps)


def n_steps_kept(record: Record, steps: int) -> int:
    """Give how many steps the history keeps at the most; by logarithm some may fall together."""
    if record.history_log:
        return min(record.history_log + 2, steps + 1)
    return -(-steps // (record.history_every or 1)) + 1 if record.history or record.history_every else 0
