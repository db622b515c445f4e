"""The machine and the versions, in lines for people."""

import datetime
import os
import platform
from importlib import metadata
from pathlib import Path

import llvmlite.binding as llvm

from fastbp.kernels.cpu import n_threads

LIBRARIES = ("fastbp", "numba", "llvmlite", "numpy", "jax", "torch", "scikit-learn", "joblib", "keras")
# The widest of the processor's features names its vectors.
VECTORS = {"avx512f": "AVX-512", "avx2": "AVX2", "avx": "AVX", "sse2": "SSE2", "sve": "SVE", "neon": "NEON"}


def described() -> dict[str, str]:
    """Give what the machine has, by name."""
    return {
        "processor": processor(),
        "processors used": f"{n_threads()} of {os.cpu_count()}",
        "vectors": vectors(),
        "memory": memory(),
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "versions": ", ".join([f"Python {platform.python_version()}", *versions()]),
        "date": datetime.date.today().isoformat(),
    }


def processor() -> str:
    """Give the processor's model and LLVM's name of its kind."""
    name = ""
    if (information := Path("/proc/cpuinfo")).exists():
        fields = (line.partition(":") for line in information.read_text().splitlines())
        name = next((value.strip() for key, _, value in fields if key.strip() == "model name"), "")
    return f"{name or platform.processor() or platform.machine()} ({llvm.get_host_cpu_name()})"


def vectors() -> str:
    """Name the widest vectors."""
    features = llvm.get_host_cpu_features()
    return next((name for feature, name in VECTORS.items() if features.get(feature)), "none known")


def memory() -> str:
    """Give the size of the memory."""
    if not hasattr(os, "sysconf"):
        return "unknown"
    return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB"


def versions() -> list[str]:
    """Give the libraries that are installed, with their versions."""
    found = []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return found
