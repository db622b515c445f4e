"""Who trains a workload: a module and an entry of ``CONTESTANTS`` each, imported when it is asked for.

A contestant's module has the functions of `Contestant`. How it trains a workload hangs on a `Setting`; the best of
those that it names is taken.
"""

import importlib
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol, cast

import numpy as np

from benchmarks.workloads import Workload

CONTESTANTS = {
    "fastbp": "lanes",
    "jax": "jax_scan",
    "torch": "torch_func",
    "numpy": "numpy_batched",
    "numba": "numba_prange",
    "sklearn": "sklearn_joblib",
    "keras": "keras_loop",
}


class Setting(NamedTuple):
    """The runs of a chunk, the chunks side by side on threads, and which of its programs a contestant uses."""

    chunk: int
    side_by_side: int = 1
    form: str = ""

    @property
    def runs(self) -> int:
        """The least runs that keep all threads busy."""
        return self.chunk * self.side_by_side

    def __str__(self) -> str:
        """Say both in words."""
        chunks = f"{self.side_by_side} x " if self.side_by_side > 1 else ""
        return f"{self.form}{', ' * bool(self.form)}{chunks}{self.chunk} runs"


class Trainer(NamedTuple):
    """One way to train some runs.

    `train` alone is timed: from weights in memory to the final weights and their losses in memory. `losses` gives
    the latter, (n_runs,); `reset` brings back the initial weights where `train` works in place.
    """

    train: Callable[[], object]
    losses: Callable[[], np.ndarray]
    reset: Callable[[], object] = lambda: None


class Contestant(Protocol):
    """The functions of a contestant's module."""

    def version(self) -> str:
        """Name the library and its version."""

    def obstacle(self, workload: Workload) -> str:
        """Say why it cannot express a workload; empty where it can."""

    def settings(self, workload: Workload) -> Iterable[Setting]:
        """Give the settings that are tried."""

    def trainer(self, workload: Workload, n_runs: int, setting: Setting) -> Trainer:
        """Have some runs ready to be trained; `n_runs` is a multiple of the setting's, or less."""


def contestant(name: str) -> Contestant:
    """Import a contestant; raises `ImportError` where its library is missing."""
    return cast(Contestant, importlib.import_module(f"benchmarks.contestants.{CONTESTANTS[name]}"))
