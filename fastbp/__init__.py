"""fastbp: a batch experiment engine for small neural networks. The public names, and nothing else."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastbp.engine import run
    from fastbp.results import Results, open_results
    from fastbp.store import StoreError
    from fastbp.sweep import Sweep, SweepError
    from fastbp.sweep import load as load_sweep

__all__ = ["Results", "StoreError", "Sweep", "SweepError", "load_sweep", "open_results", "run"]

_HOMES = {
    "Results": ("results", "Results"),
    "StoreError": ("store", "StoreError"),
    "Sweep": ("sweep", "Sweep"),
    "SweepError": ("sweep", "SweepError"),
    "load_sweep": ("sweep", "load"),
    "open_results": ("results", "open_results"),
    "run": ("engine", "run"),
}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    # Imported when first used: `fastbp --help` must not wait for Numba.
    if name not in _HOMES:
        raise AttributeError(f"module 'fastbp' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(f"fastbp.{module}"), attribute)
