"""Compiling, and keeping what was compiled between processes.

Numba's own cache sees neither changes in other files than the function's own, nor other processes that compile at
the same moment (which then may load each other's code). So the folder is named after everything that decides the
machine code, and compiling and loading happen under a file lock. May import ``pipeline``, NumPy, Numba, filelock,
platformdirs and the standard library alone.
"""

import gc
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Any

import filelock
import llvmlite
import numba
import platformdirs
from numba import _dynfunc
from numba.core import codegen, config, cpu, event

from fastbp.kernels.pipeline import KernelCompiler

OPTIONS = {"nogil": True, "error_model": "numpy", "boundscheck": False}
LOCK, SUMS = "lock", "sums.json"
IN_USE_SECONDS = 3600  # after which nobody waits for a lock any more

_one_at_a_time = threading.Lock()  # where there is no file to lock, the threads of this process
dispatchers: list[Any] = []  # all that `cached_njit` has made


@cache
def folder() -> Path | None:
    """Give the folder for the machine code of these sources; None where none can be written."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    for version in (numba.__version__, llvmlite.__version__, sys.version):
        digest.update(version.encode())
    return next((path for p in parents() if _is_ours(path := p / digest.hexdigest()[:16])), None)


def parents() -> list[Path]:
    """Give where the folder may be, the first that can be written.

    ``NUMBA_CACHE_DIR`` wins over the user's cache folder, a private temporary folder is the last resort.
    """
    user = os.getuid() if hasattr(os, "getuid") else "user"
    places = [platformdirs.user_cache_path("fastbp")]
    with suppress(FileNotFoundError):  # there is no temporary folder that could be written either
        places.append(Path(tempfile.gettempdir()) / f"fastbp-{user}")
    return [Path(config.CACHE_DIR), *places] if config.CACHE_DIR else places


def why_not_kept() -> str:
    """Say why nothing that is compiled is kept, and what to do about it; an empty text where it is."""
    if config.DISABLE_JIT:
        return "Numba's compiler is switched off, so there is nothing to keep; unset NUMBA_DISABLE_JIT"
    if folder() is None:
        tried = ", ".join(map(str, parents()))
        return f"compiled code cannot be kept, as none of {tried} can be written; set NUMBA_CACHE_DIR to a folder"
    return ""


def remove_stale() -> int:
    """Remove the folders of other versions beside this one's; give how many.

    Those alone that look as this module makes them, and that nobody has used for an hour or is about to.
    """
    mine, removed = folder(), 0
    for path in mine.parent.iterdir() if mine else ():
        made_here = re.fullmatch("[0-9a-f]{16}", path.name) and (path / LOCK).is_file()
        if path == mine or not made_here or not _is_ours(path):
            continue
        lock = filelock.FileLock(path / LOCK)
        with suppress(filelock.Timeout, OSError):
            unused = time.time() - path.stat().st_mtime > IN_USE_SECONDS
            lock.acquire(blocking=False)
            try:
                if unused:
                    shutil.rmtree(path)
                    removed += 1
            finally:
                lock.release()
    return removed


def n_compiled() -> int:
    """Give how many times this process has compiled what it did not find in the cache."""
    return sum(sum(dispatcher.stats.cache_misses.values()) for dispatcher in dispatchers)


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
    dispatcher = numba.njit(**OPTIONS, pipeline_class=KernelCompiler)(function)
    if folder() is None or config.DISABLE_JIT:
        return dispatcher
    with _cache_dir(str(folder())):
        dispatcher.enable_caching()
    dispatchers.append(dispatcher)
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
    with (
        _one_at_a_time,
        _kept(path) if path else nullcontext(),
        _not_collecting(),
        _without_events(),
        _parts_unfinished(dispatcher),
    ):
        try:
            dispatcher.compile(signature)
        except OSError:  # such as a full disk: what is compiled works all the same
            if signature not in dispatcher.overloads:
                raise


@contextmanager
def _kept(path: Path) -> Iterator[None]:
    """Hold the lock of the cache folder; what is in it then is whole, and what is added is to be found again."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)  # another version's `remove_stale` may have been here
    with filelock.FileLock(path / LOCK):
        os.utime(path)
        before = _sums(path)
        for file in _files(path):
            if before.get(str(file.relative_to(path))) != _sum(file):
                file.unlink()
        yield
        after = {str(file.relative_to(path)): _sum(file) for file in _files(path)}
        if after != before:
            with suppress(OSError):
                partial = path / f"{SUMS}.partial"
                partial.write_text(json.dumps(after))
                partial.replace(path / SUMS)


def _files(path: Path) -> list[Path]:
    """Give the files that Numba keeps below a folder."""
    return [file for file in path.glob("*/*") if file.is_file()]


def _sum(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _sums(path: Path) -> dict[str, str]:
    """Give what the files of a folder were, by their checksums, when the last one was written.

    Who is killed while writing leaves parts of files, or an index that says of a file what it is not; and a
    damaged file of machine code would be run.
    """
    try:
        found = json.loads((path / SUMS).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


@contextmanager
def _not_collecting() -> Iterator[None]:
    """Look for no garbage meanwhile: among a million objects that all stay, it takes a seventh of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _without_events() -> Iterator[None]:
    """Have Numba tell nobody of each step: it tells four listeners of a hundred thousand, a tenth of the time."""
    names = ("trigger_event", "start_event", "end_event")
    before = {name: getattr(event, name) for name in names if hasattr(event, name)}
    silence = nullcontext()
    try:
        for name in before:
            setattr(event, name, lambda *args, **kwargs: silence)
        yield
    finally:
        for name, function in before.items():
            setattr(event, name, function)


@contextmanager
def _parts_unfinished(dispatcher) -> Iterator[None]:
    """Leave what `dispatcher` calls as LLVM's plain code until all is linked into the one function.

    Numba optimises each of some two hundred kernels, and again all that it calls, and makes machine code of it,
    which nobody ever runs: all are inlined into one. Without that, compiling takes half as long. Four methods of
    Numba are replaced meanwhile, in this thread; where a version of it has them no more, it goes its usual way.
    """
    library, context, ours = codegen.CPUCodeLibrary, cpu.CPUContext, threading.get_ident()
    names = (
        (library, "_optimize_functions"),
        (library, "_optimize_final_module"),
        (library, "_finalize_final_module"),
        (context, "get_executable"),
    )
    if not all(hasattr(owner, name) for owner, name in names):
        yield
        return
    functions, optimize, finalize, executable = (getattr(owner, name) for owner, name in names)

    def is_part(library):
        return threading.get_ident() == ours and dispatcher.py_func.__qualname__ not in library.name

    def functions_of_whole(self, module):
        if not is_part(self):
            functions(self, module)

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
            names, (functions_of_whole, optimize_whole, finalize_whole, executable_whole), strict=True
        ):
            setattr(owner, name, replacement)
        yield
    finally:
        for (owner, name), original in zip(names, (functions, optimize, finalize, executable), strict=True):
            setattr(owner, name, original)
