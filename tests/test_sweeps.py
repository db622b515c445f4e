"""The sweeps of the folder ``sweeps/`` are planned, and cut down they run."""

from pathlib import Path

import pytest

import fastbp
from fastbp.kernels.activations import ACTIVATIONS
from fastbp.kernels.optimizers import OPTIMIZERS
from fastbp.plan import Plan
from fastbp.sweep import load

SWEEPS = sorted((Path(__file__).parents[1] / "sweeps").glob("*.toml"))


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_sweep_is_planned(path):
    plan = Plan(load(path))
    assert plan.sweep.name == path.stem
    assert plan.n_runs == len({run for shard in plan.shards() for run in plan.runs(shard).ids.tolist()})


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_sweep_runs(path, tmp_path):
    length = "epochs=2" if "epochs =" in path.read_text() else "steps=2"
    few = [] if path.stem in ("notebook",) else ["grid.repeats=1"]
    results = fastbp.run(load(path, [length, *few]), tmp_path / path.stem)
    runs = results.runs().to_pandas()
    assert len(runs) == results.manifest["runs"] > 0
    assert runs.loss_last.notna().all()


def test_the_sweep_over_names_has_them_all():
    plan = Plan(load(next(path for path in SWEEPS if path.stem == "optimizers")))
    hidden = [name for name, activation in ACTIVATIONS.items() if not activation.over_layer]
    assert list(plan.domains["hidden_activation"]) == hidden
    assert list(plan.domains["optimizer"]) == list(OPTIMIZERS)
