import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import filelock
import numba
import numpy as np
import platformdirs
import pytest
from numba.core import config
from runs import JIT, assert_close, random_experiment, reference_of

from fastbp.kernels import cache

compiled_only = pytest.mark.skipif(not JIT, reason="nothing is cached without the compiler")

PROGRAM = """
import json, sys
from runs import random_experiment, run
structures = json.loads(sys.argv[1])
print(json.dumps([run(random_experiment(**s)).final.tolist() for s in structures]))
"""
STRUCTURES = [
    {"layers": [2, 2, 2], "activations": ["sigmoid", "sigmoid"], "loss": "half_sse", "bias": True},
    {"layers": [3, 2, 1], "activations": ["tanh", "identity"], "loss": "mse", "bias": False},
]


@compiled_only
def test_processes_that_compile_at_once_compute_right_numbers(tmp_path):
    environment = {
        **os.environ,
        "NUMBA_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(Path(cache.__file__).parents[2])]),
    }
    structures = [{**s, "seed": 1, "n_samples": 2, "n_runs": 20, "steps": 5} for s in STRUCTURES]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, json.dumps([structure])],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for structure in structures
    ]
    for process, structure in zip(processes, structures, strict=True):
        output, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors
        experiment = random_experiment(**structure)
        (final,) = json.loads(output)
        for r in range(len(experiment.w)):
            assert_close(final[r], reference_of(experiment, r).w[-1], 1e-12)
    (folder,) = tmp_path.iterdir()
    # The code of one specialisation, compiled by whoever came first.
    assert len(list(folder.rglob("*.nbc"))) == 1


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A copy of the kernels' sources, which `cache.folder` takes for its own."""
    copy = tmp_path / "kernels"
    shutil.copytree(Path(cache.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(cache, "__file__", str(copy / "cache.py"))
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "code"))
    return copy


def folder():
    """Give what `cache.folder` finds when asked for the first time."""
    return cache.folder.__wrapped__()


def test_folder_follows_the_sources(sources):
    first = folder()
    assert first == folder()
    assert first.is_dir()
    names = {first}
    for source in sorted(sources.glob("*.py")):
        text = source.read_text()
        source.write_text(text + "\n# changed\n")
        names.add(folder())
        source.write_text(text)
    assert len(names) == 1 + len(list(sources.glob("*.py")))
    assert folder() == first


def test_folder_follows_the_versions(sources, monkeypatch):
    first = folder()
    monkeypatch.setattr(numba, "__version__", "0.0.0")
    second = folder()
    monkeypatch.setattr(cache.llvmlite, "__version__", "0.0.0")
    assert len({first, second, folder()}) == 3


def test_folder_is_private(sources):
    assert folder().stat().st_mode & 0o077 == 0


def test_what_cannot_be_written_is_passed_over(sources, tmp_path, monkeypatch):
    # Even the superuser cannot make a folder below a file.
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setattr(config, "CACHE_DIR", str(blocked / "a"))
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / "user" / name)
    assert folder().parent == tmp_path / "user" / "fastbp"
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: blocked / name)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    assert folder().parents[1] == tmp_path / "temporary"
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(blocked))
    assert folder() is None


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs the owner of a folder")
def test_a_folder_of_somebody_else_is_not_trusted(sources, tmp_path, monkeypatch):
    ours = folder()
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / "user" / name)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    assert ours.is_dir()
    assert folder() is None


def double(x):
    return 2.0 * x


@pytest.mark.parametrize("found", [True, False])
def test_compile_for(found, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "folder", lambda: tmp_path if found else None)
    before = config.CACHE_DIR
    dispatcher = cache.cached_njit(double)
    assert before == config.CACHE_DIR
    cache.compile_for(dispatcher, (np.float64(1.5),))
    assert dispatcher(1.5) == 3.0
    if JIT:
        assert len(dispatcher.overloads) == 1
        assert len(list(tmp_path.rglob("*.nbc"))) == found
        # The second time there is nothing to do, nor to lock.
        monkeypatch.setattr(cache, "folder", lambda: tmp_path / "nowhere")
        cache.compile_for(dispatcher, (np.float64(1.5),))


# Processes that share a folder, with a kernel that compiles in a blink.

SMALL_KERNEL = """
import sys
import numpy as np
from fastbp.kernels import cache

def twice_and_one(x):
    return 2 * x + 1

compiled = cache.cached_njit(twice_and_one)

def main():
    number = np.dtype(sys.argv[1]).type
    cache.compile_for(compiled, (number(1),))
    print(compiled(number(3)), cache.n_compiled())
"""
KILLED = """
import os
from numba.core import caching
{where} = lambda self, *rest: os._exit(9)
import small_kernel
small_kernel.main()
"""


@pytest.fixture
def start(tmp_path):
    """Start a process that computes 2 * 3 + 1 in some dtype and says how often it compiled."""
    (tmp_path / "small_kernel.py").write_text(SMALL_KERNEL)

    def start(dtype, program="import small_kernel; small_kernel.main()", folder="code"):
        environment = {
            **os.environ,
            "NUMBA_CACHE_DIR": str(tmp_path / folder),
            "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(cache.__file__).parents[2])]),
        }
        return subprocess.Popen(
            [sys.executable, "-c", program, dtype],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def said(process, code=0):
    output, errors = process.communicate(timeout=200)
    assert (process.returncode, errors) == (code, "")
    return output.split()


@compiled_only
def test_processes_that_compile_different_variants_at_once(start):
    dtypes = ["float64", "float32", "int64", "int32"]
    for n_compiled in "10":
        processes = [start(dtype) for dtype in dtypes]
        for dtype, process in zip(dtypes, processes, strict=True):
            assert said(process) == ["7.0" if dtype.startswith("float") else "7", n_compiled]


@compiled_only
@pytest.mark.parametrize("method", ["_save_data", "_save_index"])
def test_who_is_killed_while_writing_spoils_nothing(start, method):
    assert said(start("float64")) == ["7.0", "1"]
    killed = KILLED.format(where=f"caching.IndexDataCacheFile.{method}")
    said(start("float32", killed), code=9)
    assert said(start("float32")) == ["7.0", "1"]
    for dtype in ("float64", "float32"):
        assert said(start(dtype))[0] == "7.0"
        assert said(start(dtype)) == ["7.0", "0"]


def flipped(data):
    """Give other bytes in the middle, where the machine code is."""
    third = len(data) // 3
    return data[:third] + bytes(byte ^ 255 for byte in data[third : 2 * third]) + data[2 * third :]


DAMAGES = {
    "emptied": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "flipped": flipped,
    "one bit": lambda data: data[:-100] + bytes([data[-100] ^ 1]) + data[-99:],
}


@compiled_only
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("pattern", ["*/*.nbc", "*/*.nbi", "sums.json"])
def test_a_damaged_file_is_made_anew(start, tmp_path, pattern, damage):
    assert said(start("float64")) == ["7.0", "1"]
    (folder,) = (tmp_path / "code").iterdir()
    (file,) = folder.glob(pattern)
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    assert said(start("float64")) == ["7.0", "1"]
    assert said(start("float64")) == ["7.0", "0"]


@compiled_only
def test_a_file_of_nobody_knows_whom_is_removed(start, tmp_path):
    said(start("float64"))
    (folder,) = (tmp_path / "code").iterdir()
    leftover = next(folder.glob("*/*.nbi")).with_suffix(".nbi.tmp.0123")
    leftover.write_bytes(b"half a fi")
    assert said(start("float64")) == ["7.0", "0"]
    assert not leftover.exists()


def test_what_cannot_be_written_works_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "folder", lambda: tmp_path)
    dispatcher = cache.cached_njit(double)

    def full(*rest):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile._save_data", full)
    cache.compile_for(dispatcher, (np.float64(1.5),))
    assert dispatcher(1.5) == 3.0


# Folders of other versions.


def folder_of_another_version(parent, name, hours=2.0):
    path = parent / name
    (path / "kernels_0").mkdir(parents=True)
    (path / "kernels_0" / "cpu.nbc").write_bytes(b"code")
    (path / "lock").touch()
    then = time.time() - 3600 * hours
    os.utime(path, (then, then))
    return path


def test_folders_of_other_versions_are_removed(sources, monkeypatch):
    mine = folder()
    monkeypatch.setattr(cache, "folder", lambda: mine)
    stale = folder_of_another_version(mine.parent, "0123456789abcdef")
    assert cache.remove_stale() == 1
    assert not stale.exists()
    assert mine.is_dir()
    assert cache.remove_stale() == 0


def test_what_is_not_stale_or_not_ours_stays(sources, monkeypatch):
    mine = folder()
    monkeypatch.setattr(cache, "folder", lambda: mine)
    recent = folder_of_another_version(mine.parent, "0123456789abcdef", hours=0.5)
    named = folder_of_another_version(mine.parent, "results")
    unlocked = folder_of_another_version(mine.parent, "0123456789abcde0")
    (unlocked / "lock").unlink()
    busy = folder_of_another_version(mine.parent, "0123456789abcde1")
    file = mine.parent / "0123456789abcde2"
    file.write_text("")
    with filelock.FileLock(busy / "lock"):
        os.utime(busy, (0, 0))
        assert cache.remove_stale() == 0
    for path in (recent, named, unlocked, busy, file):
        assert path.exists()


def test_a_folder_that_was_removed_meanwhile_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "folder", lambda: tmp_path / "code")
    (tmp_path / "code").mkdir()
    dispatcher = cache.cached_njit(double)
    shutil.rmtree(tmp_path / "code")
    cache.compile_for(dispatcher, (np.float64(1.5),))
    assert dispatcher(1.5) == 3.0
    if JIT:
        assert (tmp_path / "code" / "sums.json").is_file()


def test_why_nothing_is_kept(monkeypatch, tmp_path):
    monkeypatch.setattr(config, "DISABLE_JIT", 0)
    monkeypatch.setattr(cache, "folder", lambda: tmp_path)
    assert cache.why_not_kept() == ""
    monkeypatch.setattr(cache, "folder", lambda: None)
    monkeypatch.setattr(cache, "parents", lambda: [Path("a"), Path("b")])
    assert "none of a, b can be written; set NUMBA_CACHE_DIR" in cache.why_not_kept()
    monkeypatch.setattr(config, "DISABLE_JIT", 1)
    assert "unset NUMBA_DISABLE_JIT" in cache.why_not_kept()


def test_no_temporary_folder_either(monkeypatch):
    def none():
        raise FileNotFoundError

    monkeypatch.setattr(tempfile, "gettempdir", none)
    assert cache.parents()[-1] == platformdirs.user_cache_path("fastbp")
