"""What several benchmarks need: a command's time and memory, a median with its spread, the processor's name."""

import os
import platform
import re
import statistics
import sysconfig
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fastbp.kernels import cpu

FASTBP = Path(sysconfig.get_path("scripts"), "fastbp")


class Finished(NamedTuple):
    """A process that has ended: wall `seconds`, and the most bytes of memory that it held at a time."""

    seconds: float
    peak_bytes: int


def fastbp(*arguments: str, environment: Mapping[str, str] = {}) -> Finished:
    """Run the command ``fastbp`` as a process of its own, what it prints thrown away; raise where it fails.

    Linux counts the memory of a process from where its parent was: the peak means something where it is larger
    than this process's own.
    """
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    began = time.perf_counter()
    process = os.posix_spawn(FASTBP, [str(FASTBP), *arguments], os.environ | environment, file_actions=quiet)
    _, status, used = os.wait4(process, 0)
    seconds = time.perf_counter() - began
    if status:
        raise RuntimeError(f"fastbp {' '.join(arguments)} ended with {os.waitstatus_to_exitcode(status)}")
    return Finished(seconds, used.ru_maxrss * 1024)


def spread(values: Sequence[float], form: str = ".3g") -> str:
    """Give the median, with least and most."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def processor() -> str:
    """Give the name of the processor, and how many of them this process may use."""
    known = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", known.read_text()) if known.exists() else []
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {cpu.n_threads()} of {os.cpu_count()} processors"
