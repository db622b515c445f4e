"""The data that each run is trained on and validated with, as arrays.

A file is read once a sweep; a built-in set is made when a run first asks for it. The order of what is done:
classes to columns, the split, standardising by the training part, the choice of `samples` or of one `sample`. May
import ``sweep``, ``datafiles``, ``datasets`` and NumPy.
"""

import hashlib
import importlib.util
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastbp.datafiles import Table, read_file
from fastbp.datasets import DATASETS, SET_PARAMETERS, shuffled
from fastbp.kernels.losses import LOSSES
from fastbp.sweep import DATA_PARAMETERS, Extent, Shape, Sweep, SweepError
from fastbp.sweep.extent import (
    Labels,
    data_shape,
    inline_extent,
    is_one_hot,
    labels_of,
    n_outputs,
    n_validation,
    set_extent,
)
from fastbp.sweep.values import RefusedError

CACHE_BYTES = 2**28
_CHOICES = ("samples", "sample")


class RunData(NamedTuple):
    """The data of a run, float64: x (n_samples, n_inputs), y (n_samples, n_outputs), the same for validation.

    `samples`, int64 (n_samples,), are the rows of the data that x and y come from, counting from 0.
    """

    x: np.ndarray
    y: np.ndarray
    x_validation: np.ndarray
    y_validation: np.ndarray
    samples: np.ndarray


class DataSource:
    """Where the runs of a sweep get their data from; `load_data` makes it.

    Parameters
    ----------
    sweep : Sweep
    table : Table, optional
        The data of the sweep file or of a file of data; None where they are a built-in set.
    extent : Extent, optional
        That of `table`.
    """

    def __init__(self, sweep: Sweep, table: Table | None = None, extent: Extent | None = None):
        self.sweep, self.table, self.extent = sweep, table, extent
        self._losses = sweep.losses()
        self._cache = _Cache(CACHE_BYTES)

    def shape(self, values: Mapping[str, Any]) -> Shape:
        """Count the samples and the columns of a run; no data are made for it.

        Parameters
        ----------
        values : mapping
            The value of every parameter of [data].
        """
        return data_shape(self._extent(values), values, self._losses)

    def arrays(self, values: Mapping[str, Any]) -> RunData:
        """Give the data of a run.

        Parameters
        ----------
        values : mapping
            The value of every parameter of [data]. Equal values give the same numbers to the bit.
        """
        whole = self._prepared(values)
        if values["sample"] is not None:
            chosen = slice(values["sample"], values["sample"] + 1)
        else:
            chosen = slice(values["samples"])
        return whole._replace(x=whole.x[chosen], y=whole.y[chosen], samples=whole.samples[chosen])

    def refusal(self, loss: str, values: Mapping[str, Any]) -> str:
        """Say why the targets of a run are not what its loss takes; an empty text where they are.

        Parameters
        ----------
        loss : str
            Key of ``LOSSES``.
        values : mapping
            The value of every parameter of [data].
        """
        kind = LOSSES[loss].targets
        if kind == "number":
            return ""
        data = self._prepared(values)
        y = np.concatenate([data.y, data.y_validation])
        if kind == "class":
            fit = y.shape[1] > 1 and (y >= 0).all() and np.allclose(y.sum(axis=1), 1, atol=1e-6)
            wanted = (
                "targets that are classes, or the probabilities of at least two classes, which add up to 1"
            )
            return (
                "" if fit else f"{loss} takes {wanted}; set one_hot = true in [data], or choose another loss"
            )
        if kind == "probability":
            odd, wanted = (y < 0) | (y > 1), "targets from 0 to 1"
        else:
            wanted, foreign = "targets -1 and 1, or 0 and 1", ~np.isin(y, [-1, 0, 1])
            # Among -1 and 1 it is the 0 that is wrong.
            odd = foreign if foreign.any() else (y == 0) & (y == -1).any()
        if not odd.any():
            return ""
        return (
            f"{loss} takes {wanted}, but one is {y[odd][0]:.8g}; change the targets, or choose another loss"
        )

    def variants(
        self, base: Mapping[str, Any], domains: Mapping[str, tuple[Any, ...]], codes: Mapping[str, np.ndarray]
    ) -> tuple[list[RunData], np.ndarray]:
        """Give the distinct data of many runs, and which of them each run has.

        Parameters
        ----------
        base : mapping
            The value of each parameter that `domains` does not hold.
        domains : mapping of tuples
            All values of each swept parameter.
        codes : mapping of int arrays, (n_runs,)
            For each swept parameter the place of each run's value in its domain.

        Returns
        -------
        data : list of RunData
        which : int64 (n_runs,), or (1,) where no axis concerns the data
        """
        swept = [name for name in DATA_PARAMETERS if name in domains]
        which = np.zeros(len(codes[swept[0]]) if swept else 1, np.int64)
        for name in swept:
            # Numbered anew after each parameter, or the product of many domains would not fit an int64.
            _, which = np.unique(which * len(domains[name]) + codes[name], return_inverse=True)
        _, first = np.unique(which, return_index=True)
        fixed = {name: base[name] for name in DATA_PARAMETERS}
        chosen = [fixed | {name: domains[name][codes[name][run]] for name in swept} for run in first]
        return [self.arrays(values) for values in chosen], which

    def digest(self) -> str | None:
        """Give the SHA-256 of what a file of data holds; None where the sweep file alone decides the data."""
        if self.table is None or self.sweep.data.file is None:
            return None
        found = hashlib.sha256(repr(self.table.classes).encode())
        for part in (self.table.x, self.table.y):
            found.update(repr(part.shape).encode())
            found.update(np.ascontiguousarray(part, "<f8").tobytes())
        return found.hexdigest()

    def _extent(self, values: Mapping[str, Any]) -> Extent:
        return set_extent(values) if self.extent is None else self.extent

    def _table(self, values: Mapping[str, Any]) -> Table:
        if self.table is not None:
            return self.table
        given = self._set_values(values)
        key = ("set", values["dataset"], *given.values())

        def make() -> Table:
            x, y = DATASETS[values["dataset"]].arrays(given)
            return Table(x, y[:, None])

        return self._cache.get(key, make)

    def _set_values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Give the parameters of a built-in set; some are no axes, these stand in the section."""
        return {
            name: values[name] if name in values else getattr(self.sweep.data, name)
            for name in SET_PARAMETERS
        }

    def _prepared(self, values: Mapping[str, Any]) -> RunData:
        """Give the data as all choices of samples share them."""
        key = tuple(values[name] for name in DATA_PARAMETERS if name not in _CHOICES)
        return self._cache.get(("prepared", *key), lambda: self._prepare(values))

    def _prepare(self, values: Mapping[str, Any]) -> RunData:
        table, extent = self._table(values), self._extent(values)
        x, y = table.x, table.y
        if is_one_hot(extent, values, self._losses):
            n_classes = n_outputs(extent, values, self._losses)
            y = (y == np.arange(n_classes)).astype(np.float64)
        training, kept = split(len(x), values["validation"], values["split_seed"])
        if "inputs" in values["standardise"]:
            x = self._standardised(x, training)
        if "targets" in values["standardise"]:
            y = self._standardised(y, training)
        return RunData(x[training], y[training], x[kept], y[kept], training)

    def _standardised(self, columns: np.ndarray, training: np.ndarray) -> np.ndarray:
        scaled = standardised(columns, columns[training])
        if not np.isfinite(scaled).all():
            message = "the data hold numbers too large to be standardised; scale them down"
            raise SweepError([self.sweep.problem(("data", "standardise"), message)])
        return scaled


class _Cache:
    """Arrays by what they were made from; the ones not asked for longest go when they are too many."""

    def __init__(self, most_bytes: int):
        self.most_bytes, self.held = most_bytes, 0
        self.entries: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        self.lock = threading.Lock()  # shards are prepared in several threads

    def __reduce__(self) -> tuple[Any, ...]:
        return _Cache, (self.most_bytes,)  # in another process it begins empty

    def get(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        with self.lock:
            if key in self.entries:
                self.entries.move_to_end(key)
                return self.entries[key]
        made = make()  # outside the lock: two threads may make the same, none waits for another's
        with self.lock:
            if key not in self.entries:
                self.entries[key] = made
                self.held += _size(made)
            while self.held > self.most_bytes and len(self.entries) > 1:
                self.held -= _size(self.entries.popitem(last=False)[1])
        return made


def _size(made: tuple[Any, ...]) -> int:
    return sum(part.nbytes for part in made if isinstance(part, np.ndarray))


def split(n_samples: int, validation: float | None, seed: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Give the samples to train on and those kept for validation, int64 each, disjoint and complete.

    Parameters
    ----------
    n_samples : int
    validation : float, int or None
        The fraction or the number that is kept.
    seed : int or None
        Decides which, and the order of the others; 0 where None is given. Without both, nothing is kept and the
        order is that of the data.
    """
    if not validation and seed is None:
        return np.arange(n_samples), np.arange(0)
    order, count = shuffled(n_samples, seed or 0), n_validation(n_samples, validation)
    return order[count:], np.sort(order[:count])


def standardised(columns: np.ndarray, training: np.ndarray) -> np.ndarray:
    """``(x - mean) / standard deviation`` by the statistics of `training`; a constant column is only centred."""
    # The mean of equal numbers may be off by a rounding, and their deviation more than 0.
    constant = training.min(axis=0) == training.max(axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.where(constant, training[0], training.mean(axis=0))
        deviation = np.where(constant, 1.0, training.std(axis=0))
        scaled = (columns - mean) / deviation
    return np.where(np.isfinite(deviation), scaled, np.nan)


def load_data(sweep: Sweep) -> DataSource:
    """Read the data of a sweep and hold the rest of the sweep against them.

    Raises
    ------
    SweepError
        If a file of data cannot be read or lacks something, if what it holds does not fit the sweep, or if a
        package that a data set needs is not installed; with file, line and key.
    """
    _refuse_missing_packages(sweep)
    data = sweep.data
    if data.x:
        table = Table(np.array(data.x, np.float64), np.array(data.y, np.float64))
        return DataSource(sweep, table, inline_extent(data))
    if data.file is None:
        return DataSource(sweep)
    try:
        table = read_file(Path(sweep.path).parent / data.file, data.inputs, data.targets)
    except RefusedError as refusal:
        raise SweepError([_problem(sweep, part) for part in refusal.all]) from None
    extent = _file_extent(table, data.file)
    sweep.check_data(extent)
    return DataSource(sweep, table, extent)


def _problem(sweep: Sweep, refusal: RefusedError) -> Any:
    """Give the problem at the key of [data] that is meant, at the file where the sweep has no such key."""
    key = refusal.path[0]
    if getattr(sweep.data, str(key)) is None:
        return sweep.problem(("data", "file"), str(refusal))
    return sweep.problem(("data", *refusal.path), str(refusal))


def _file_extent(table: Table, name: str) -> Extent:
    labels = None
    if table.classes:
        labels = Labels(len(table.classes), texts=True)
    elif table.y.shape[1] == 1:
        labels = labels_of(table.y[:, 0])
    return Extent(len(table.x), table.x.shape[1], table.y.shape[1], labels, name)


def _refuse_missing_packages(sweep: Sweep) -> None:
    """Say before the first run, not in the middle of the sweep, that a package is not installed."""
    for name, keys in sweep.datasets():
        extra = DATASETS[name].extra
        if extra and importlib.util.find_spec(extra) is None:
            message = f"dataset {name} is read from scikit-learn; install it: pip install 'fastbp[{extra}]'"
            raise SweepError([sweep.problem(keys, message)])
