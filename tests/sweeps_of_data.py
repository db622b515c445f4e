"""Sweeps over data of every kind, and a small table of flowers, for the tests of data."""

import csv

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastbp.data import load_data
from fastbp.sweep import DATA_PARAMETERS, SweepError, load

NETWORK = """\
name = "data"
[network]
layers = [{n_in}, {n_out}]
[init.a]
W1 = {W}
b1 = {b}
[training]
steps = 2
learning_rate = 0.1
"""
FIRST = NETWORK.count("\n") + 2  # the line of the first key in [data]
FLOWERS = [
    ("length", "width", "colour", "height", "species"),
    (5.0, 1.5, "red", 7, "rose"),
    (4.0, 2.5, "white", 8, "aster"),
    (3.5, 0.5, "red", 9, "lily"),
    (2.0, 3.0, "red", 6, "rose"),
    (1.0, 2.0, "blue", 5, "aster"),
]

XY = "x = [[1, 2], [3, 4], [5, 6]]\ny = [[1], [0], [2]]"
SET = 'dataset = "moons"'


def text(data, n_in=2, n_out=1, more=""):
    network = NETWORK.format(n_in=n_in, n_out=n_out, W=[[0.5] * n_out] * n_in, b=[0] * n_out)
    return f"{network}[data]\n{data}\n{more}"


def sweep_of(folder, data, n_in=2, n_out=1, more="", overrides=()):
    path = folder / "sweep.toml"
    path.write_text(text(data, n_in, n_out, more), encoding="utf-8")
    return load(path, overrides)


def problems(folder, data, n_in=2, n_out=1, more="", overrides=()):
    """Everything that is wrong, without the folder; lines count from the first key of [data]."""
    with pytest.raises(SweepError) as caught:
        load_data(sweep_of(folder, data, n_in, n_out, more, overrides))
    told = []
    for problem in caught.value.problems:
        line = "" if problem.line is None else f"{problem.line - FIRST}: "
        told.append(f"{line}{problem.key}: {problem.message}".replace(f"{folder}/", ""))
    return told


def values_of(sweep, **given):
    base = sweep.base()
    return {name: base[name] for name in DATA_PARAMETERS} | given


def arrays(sweep, **given):
    source, values = load_data(sweep), values_of(sweep, **given)
    made = source.arrays(values)
    shape = source.shape(values)
    assert made.x.shape == (shape.n_samples, shape.n_inputs)
    assert made.y.shape == (shape.n_samples, shape.n_outputs)
    assert made.x_validation.shape == (shape.n_validation, shape.n_inputs)
    assert made.y_validation.shape == (shape.n_validation, shape.n_outputs)
    assert made.samples.shape == (shape.n_samples,)
    assert all(part.dtype == np.float64 for part in made[:4])
    return made


def write_flowers(tmp_path):
    """Write the same table as CSV, Parquet and NPZ."""
    with (tmp_path / "flowers.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(FLOWERS)
    columns = dict(zip(FLOWERS[0], zip(*FLOWERS[1:], strict=True), strict=True))
    table = pa.table(columns)
    coloured = table.set_column(2, "colour", table["colour"].dictionary_encode())
    pq.write_table(coloured, tmp_path / "flowers.parquet")
    np.savez(tmp_path / "flowers.npz", **{name: np.array(column) for name, column in columns.items()})
    return tmp_path
