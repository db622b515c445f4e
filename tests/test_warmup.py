import os
import subprocess
import sys
from pathlib import Path

import pytest
from runs import JIT
from test_sweep import SMALL

import fastbp
from fastbp.kernels import cache, cpu, draw
from fastbp.plan import Plan
from fastbp.sweep import load, loads
from fastbp.warmup import DRAWING, OWN, SHARED, Variant, all_variants, restricted, variants_of, warm_up

compiled_only = pytest.mark.skipif(not JIT, reason="nothing is cached without the compiler")
NOTEBOOK = Path(__file__).parents[1] / "sweeps" / "notebook.toml"
STARTS = """
import sys
sys.argv = ["fastbp", *sys.argv[1:]]
from fastbp.start import main
main()
"""


def fastbp_command(cache_folder, *arguments, **options):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache_folder)}
    return subprocess.run(
        [sys.executable, "-c", STARTS, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        **options,
    )


def kept(folder):
    """Give what is in a cache folder; the lock file and its time say nothing."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "lock"
    }


@compiled_only
def test_after_a_warmup_the_sweep_compiles_nothing(tmp_path):
    cold = fastbp_command(tmp_path / "code", "warmup", NOTEBOOK, cwd=tmp_path)
    assert (cold.returncode, cold.stderr) == (0, "")
    first, last = cold.stdout.splitlines()
    assert first.startswith("training in float64, data of each run ")
    assert " compiled in " in first
    (folder,) = (tmp_path / "code").iterdir()
    assert last == f"kept in {folder}"
    before = kept(folder)
    assert len([name for name in before if name.suffix == ".nbc"]) == 1
    again = fastbp_command(tmp_path / "code", "warmup", NOTEBOOK, cwd=tmp_path)
    assert again.stdout.splitlines()[0].endswith("was there already")
    done = fastbp_command(tmp_path / "code", "sweep", NOTEBOOK, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert kept(folder) == before


def test_variants():
    assert len(set(all_variants())) == 5
    assert restricted(all_variants(), [], []) == all_variants()
    assert restricted(all_variants(), ["float32"], [OWN]) == [Variant("float32", OWN), DRAWING]
    assert str(Variant("float32", SHARED)) == "training in float32, data that all runs share"
    assert str(DRAWING) == "drawing weights"


def grid(text):
    return SMALL + "[[grid]]\n" + text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SMALL, [Variant("float64", SHARED)]),
        (grid('dtype = ["float32"]\n'), [Variant("float32", SHARED)]),
        (grid("sample = [0, 1]\n"), [Variant("float64", OWN)]),
        (grid("sample = [1]\nlearning_rate = [0.1, 0.2]\n"), [Variant("float64", SHARED)]),
        (grid('init = ["a", "normal"]\n'), [Variant("float64", SHARED), DRAWING]),
        (
            grid('dtype = ["float32"]\nsample = [0, 1]\n') + "[[grid]]\nsample = [0]\n",
            [Variant("float64", SHARED), Variant("float32", OWN)],
        ),
    ],
)
def test_variants_of_a_sweep(text, expected):
    assert variants_of(Plan(loads(text))) == expected


def test_shards_that_differ_in_their_data_but_not_within(monkeypatch):
    monkeypatch.setattr("fastbp.plan.SHARD_RUNS", 32)
    text = grid("sample = [0, 1]\nlearning_rate = { linspace = [0, 1, 32] }\n")
    assert variants_of(Plan(loads(text))) == [Variant("float64", SHARED)]


def signatures():
    return {(id(d), signature) for d in (cpu.compiled, draw.compiled) for signature in d.overloads}


@compiled_only
@pytest.mark.parametrize("text", [SMALL, grid('sample = [0, 1]\ninit = ["normal"]\ndtype = ["float32"]\n')])
def test_a_variant_is_what_the_compiler_sees(text, tmp_path):
    # What the sweep compiles or loads, the warm-up has done.
    for _ in warm_up(variants_of(Plan(loads(text)))):
        pass
    before = signatures()
    fastbp.run(loads(text), tmp_path / "out")
    assert signatures() == before


@compiled_only
def test_what_is_loaded_is_told_from_what_is_compiled(monkeypatch):
    counts = iter([3, 4, 4, 4])
    monkeypatch.setattr(cache, "n_compiled", lambda: next(counts))
    found = list(warm_up([Variant("float64", SHARED)] * 2))
    assert [outcome.compiled for outcome in found] == [True, False]
    assert all(outcome.seconds >= 0 for outcome in found)


def test_the_notebook_needs_one_variant():
    assert variants_of(Plan(load(NOTEBOOK))) == [Variant("float64", OWN)]
