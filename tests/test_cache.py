import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

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
