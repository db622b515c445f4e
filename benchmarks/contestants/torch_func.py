"""PyTorch: a step of ``vmap(grad)``, compiled by ``torch.compile``; or the same by hand with ``torch.baddbmm``."""

from collections.abc import Callable, Iterable
from functools import lru_cache

import torch
from torch.func import grad, vmap

from benchmarks.contestants import Setting, Trainer
from benchmarks.workloads import Workload

ACTIVATIONS: dict[str, Callable] = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "identity": lambda z: z}
STEPS_A_CALL = 5  # of a compiled program: more take minutes to compile


def version() -> str:
    """Name the library and its version."""
    return f"PyTorch {torch.__version__}"


def obstacle(workload: Workload) -> str:
    """Say why it cannot express a workload."""
    return "keeps no numbers of each step here" if workload.records else ""


def settings(workload: Workload) -> Iterable[Setting]:
    """Give chunks of runs."""
    for form in GRADIENTS:
        yield from (Setting(chunk, form) for chunk in (256, 4096, 65536) if chunk <= workload.n_runs)


