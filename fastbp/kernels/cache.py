"""Compiling, and keeping what was compiled between processes.

Numba's own cache sees neither changes in other files than the function's own, nor other processes that compile at
the same moment (which then may load each other's code). So the folder is named after everything that decides the
machine code, and compiling and loading happen under a file lock. May import NumPy, Numba, filelock, platformdirs
and the standard library alone.
"""

import hashlib
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path

import filelock
import llvmlite
import numba
import platformdirs
from numba import _dynfunc
from numba.core import codegen, config, cpu

OPTIONS = {"nogil": True, "error_model": "numpy", "boundscheck": False}


@cache
def folder() -> Path | None:
    """Give the folder for the machine code of these sources; None where none can be written.

    ``NUMBA_CACHE_DIR`` wins over the user's cache folder, a private temporary folder is the last resort.
    """
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    for version in (numba.__version__, llvmlite.__version__, sys.version):
        digest.update(version.encode())
    user = os.getuid() if hasattr(os, "getuid") else "user"
    for parent in (
        config.CACHE_DIR,
        platformdirs.user_cache_path("fastbp"),
        Path(tempfile.gettempdir()) / f"fastbp-{user}",
    ):
        if parent and _is_ours(path := Path(parent) / digest.hexdigest()[:16]):
            return path
    return None


def _is_ours(path: Path) -> bool:
    """Whether `path` exists, made if need be, and nobody else could have put code there."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        private = not hasattr(os, "getuid") or path.stat().st_uid == os.getuid()
    except OSError:
        return False
    return private and os.access(path, os.W_OK | os.X_OK)


def cached_njit(function: Callable):
    """Compile `function` when it is first called, or load it from the cache."""
    dispatcher = numba.njit(**OPTIONS)(function)
    if folder() is None or config.DISABLE_JIT:
        return dispatcher
    with _cache_dir(str(folder())):
        dispatcher.enable_caching()
    return dispatcher


@contextmanager
def _cache_dir(path: str) -> Iterator[None]:
    before, config.CACHE_DIR = config.CACHE_DIR, path
    try:
        yield
    finally:
        config.CACHE_DIR = before


def compile_for(dispatcher, arguments: tuple) -> None:
    """Have `dispatcher` ready for `arguments`, compiled by one process at a time."""
    if config.DISABLE_JIT:
        return
    signature = tuple(numba.typeof(argument) for argument in arguments)
    if signature in dispatcher.overloads:
        return
    path = folder()
    with filelock.FileLock(path / "lock") if path else nullcontext(), _parts_unfinished(dispatcher):
        dispatcher.compile(signature)


@contextmanager
def _parts_unfinished(dispatcher) -> Iterator[None]:
    """Leave what `dispatcher` calls as LLVM's plain code until all is linked into the one function.

    Numba optimises each of some two hundred kernels, and again all that it calls, and makes machine code of it,
    which nobody ever runs: all are inlined into one. Without that, compiling takes half as long. Three methods of
    Numba are replaced meanwhile, in this thread; where a version of it has them no more, it goes its usual way.
    """
    library, context, ours = codegen.CPUCodeLibrary, cpu.CPUContext, threading.get_ident()
    names = (
        (library, "_optimize_final_module"),
        (library, "_finalize_final_module"),
        (context, "get_executable"),
    )
    if not all(hasattr(owner, name) for owner, name in names):
        yield
        return
    optimize, finalize, executable = (getattr(owner, name) for owner, name in names)

    def is_part(library):
        return threading.get_ident() == ours and dispatcher.py_func.__qualname__ not in library.name

    def optimize_whole(self):
        if not is_part(self):
            optimize(self)

    def finalize_whole(self):
        if is_part(self):
            self._finalized = True
        else:
            finalize(self)

    def executable_whole(self, library, description, environment):
        if not is_part(library):
            return executable(self, library, description, environment)
        # Numba knows a part by this object, and never calls it.
        name = description.qualname.rpartition(".")[-1]
        return _dynfunc.make_function(description.lookup_module(), name, "", 0, environment, (library,))

    try:
        for (owner, name), replacement in zip(
            names, (optimize_whole, finalize_whole, executable_whole), strict=True
        ):
            setattr(owner, name, replacement)
        yield
    finally:
        for (owner, name), original in zip(names, (optimize, finalize, executable), strict=True):
            setattr(owner, name, original)
