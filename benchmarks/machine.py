"""The machine and the versions, in lines for people."""

import datetime
import os
import platform
from importlib import metadata

import llvmlite.binding as llvm

from benchmarks.measuring import processor

LIBRARIES = ("fastbp", "numba", "llvmlite", "numpy", "jax", "torch", "scikit-learn", "joblib", "keras")
# The widest of the processor's features names its vectors.
VECTORS = {"avx512f": "AVX-512", "avx2": "AVX2", "avx": "AVX", "sse2": "SSE2", "sve": "SVE", "neon": "NEON"}


def described() -> dict[str, str]:
    """Give what the machine has, by name."""
    return {
        "processor": processor(),
        "vectors": vectors(),
        "memory": memory(),
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "versions": ", ".join([f"Python {platform.python_version()}", *versions()]),
        "date": datetime.date.today().isoformat(),
    }


def vectors() -> str:
    """Name the widest vectors, and what LLVM calls the processor."""
    features = llvm.get_host_cpu_features()
    widest = next((name for feature, name in VECTORS.items() if features.get(feature)), "none known")
    return f"{widest} ({llvm.get_host_cpu_name()})"


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
