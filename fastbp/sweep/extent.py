"""How many samples and columns the data of a run have, without the data.

The checks of the sweep file and `fastbp.data` both count by these rules. Imports the standard library, NumPy,
`fastbp.sweep.sections`, `fastbp.sweep.values` and the tables of `fastbp.datasets` and of losses.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from fastbp.datasets import DATASETS
from fastbp.kernels.losses import LOSSES
from fastbp.sweep.sections import Data
from fastbp.sweep.values import RefusedError

MAXIMUM_CLASSES = 10_000
INPUTS, TARGETS = "inputs", "targets"


class Labels(NamedTuple):
    """What a single column of targets is as classes.

    Attributes
    ----------
    n_classes : int
        0 where they are no classes.
    texts : bool
        Whether each is a text.
    whole : bool
        Whether all are whole numbers.
    last : int
        The first row that holds the last class.
    problem : str
        Why they are no classes.
    """

    n_classes: int
    texts: bool = False
    whole: bool = True
    last: int = 0
    problem: str = ""


class Extent(NamedTuple):
    """Samples and columns of data before any encoding, split or choice; 0 where unknown.

    `labels` is None where there are several columns of targets. `source` names the data in messages.
    """

    n_samples: int
    n_inputs: int
    n_targets: int
    labels: Labels | None
    source: str = "data"


class Shape(NamedTuple):
    """What a run's data are: samples that it is trained on and validated with, columns of x and y."""

    n_samples: int
    n_validation: int
    n_inputs: int
    n_outputs: int


def labels_of(values: np.ndarray) -> Labels:
    """Say what a column of numbers, float64 (n_samples,), is as classes."""
    whole = bool((values == np.floor(values)).all())
    odd = ~(values >= 0) | (values != np.floor(values)) | (values >= MAXIMUM_CLASSES)
    if not odd.any():
        last = int(np.argmax(values))
        return Labels(int(values[last]) + 1, last=last)
    row = int(np.argmax(odd))
    value = values[row]
    reason = "below 0" if value < 0 else f"above {MAXIMUM_CLASSES - 1}" if value > 0 else ""
    if value != np.floor(value):
        reason = "no whole number"
    return Labels(0, whole=whole, problem=f"class {value:.17g} in row {row} (counting from 0) is {reason}")


def inline_extent(data: Data) -> Extent:
    """Count what stands in the sweep file itself."""
    labels = None
    if data.y and len(data.y[0]) == 1:
        labels = labels_of(np.array(data.y, np.float64)[:, 0])
    return Extent(
        max(len(data.x), len(data.y)),
        len(data.x[0]) if data.x else 0,
        len(data.y[0]) if data.y else 0,
        labels,
    )


def set_extent(values: Mapping[str, Any]) -> Extent:
    """Count what a built-in data set has with these values of its parameters."""
    name = values["dataset"]
    entry = DATASETS[name]
    n_samples, n_inputs = entry.extent(entry.values(values))
    numbers = Labels(0, whole=False, problem=f"the targets of {name} are numbers, not classes")
    labels = Labels(entry.n_classes, last=-1) if entry.n_classes else numbers
    return Extent(n_samples, n_inputs, 1, labels, name)


def is_one_hot(extent: Extent, values: Mapping[str, Any], losses: Collection[str]) -> bool:
    """Whether the targets become one column a class.

    Unless `one_hot` decides: texts do, what `classes` counts does, and a column of whole numbers does where some
    run of the sweep has a loss that takes one column a class.
    """
    if values["one_hot"] is not None:
        return bool(values["one_hot"])
    labels = extent.labels
    if labels is None:
        return False
    takes_classes = any(LOSSES[loss].targets == "class" for loss in losses)
    return labels.texts or values["classes"] is not None or (labels.whole and takes_classes)


def n_outputs(extent: Extent, values: Mapping[str, Any], losses: Collection[str]) -> int:
    """Count the columns of y.

    Raises
    ------
    RefusedError
        If the targets must be classes and are not; its path is the parameter that asks for it, if there is one.
    """
    key = next((name for name in ("classes", "one_hot") if values[name] not in (None, False)), None)
    path = () if key is None else (key,)
    encoded = is_one_hot(extent, values, losses)
    if not extent.n_targets or not (encoded or values["classes"]):
        return extent.n_targets
    labels, classes = extent.labels, values["classes"]
    if labels is None:
        raise RefusedError(f"classes need one column of targets, but there are {extent.n_targets}", *path)
    if labels.problem:
        advice = "classes are 0, 1, 2 ...; for targets as they are set one_hot = false"
        raise RefusedError(f"{labels.problem}; {advice}", *path)
    if classes is not None and labels.n_classes > classes:
        raise RefusedError(_out_of_range(labels, classes), *path)
    if encoded and TARGETS in values["standardise"]:
        raise RefusedError(
            "one-hot targets are not standardised; name only the inputs, or set one_hot = false",
            "standardise",
        )
    return (classes or labels.n_classes) if encoded else 1


def _out_of_range(labels: Labels, classes: int) -> str:
    if labels.texts or labels.last < 0:
        return f"there are {labels.n_classes} classes, more than classes = {classes}"
    where = f"class {labels.n_classes - 1} in row {labels.last} (counting from 0) is out of range"
    return f"{where}; classes = {classes} are 0 to {classes - 1}"


def n_validation(n_samples: int, validation: float | None) -> int:
    """Count the samples that are kept for validation.

    Raises
    ------
    RefusedError
        If the split leaves nothing on one side.
    """
    if not validation:
        return 0
    count = validation if isinstance(validation, int) else round(validation * n_samples)
    if not 0 < count < n_samples:
        side = "to validate with" if count == 0 else "to train on"
        advice = f"; take a number from 1 to {n_samples - 1}" if n_samples > 1 else ""
        raise RefusedError(f"{validation} of {n_samples} samples leaves nothing {side}{advice}")
    return count


def data_shape(extent: Extent, values: Mapping[str, Any], losses: Collection[str]) -> Shape:
    """Count what a run with these values of all parameters of [data] is trained on and validated with."""
    kept = n_validation(extent.n_samples, values["validation"])
    n_training = values["samples"] or extent.n_samples - kept
    if values["sample"] is not None:
        n_training = 1
    return Shape(n_training, kept, extent.n_inputs, n_outputs(extent, values, losses))
