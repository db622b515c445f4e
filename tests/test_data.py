"""Data of files and built-in sets on their way to the runs, and what is said of those that do not fit."""

import builtins
import collections
import csv
import importlib.util
import statistics

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastbp
from fastbp import data as data_module
from fastbp import datafiles
from fastbp import plan as plan_module
from fastbp.data import load_data, split, standardised
from fastbp.datasets import DATASETS
from fastbp.engine import run_data
from fastbp.plan import Plan
from fastbp.store import Store, StoreError
from fastbp.sweep import DATA_PARAMETERS, SweepError, dumps, load, loads
from fastbp.sweep.extent import Labels, is_one_hot, labels_of
from fastbp.sweep.fit import MAXIMUM_NUMBERS

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


@pytest.fixture
def flowers(tmp_path):
    """The same table as CSV, Parquet and NPZ."""
    with (tmp_path / "flowers.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(FLOWERS)
    columns = dict(zip(FLOWERS[0], zip(*FLOWERS[1:], strict=True), strict=True))
    table = pa.table(columns)
    coloured = table.set_column(2, "colour", table["colour"].dictionary_encode())
    pq.write_table(coloured, tmp_path / "flowers.parquet")
    np.savez(tmp_path / "flowers.npz", **{name: np.array(column) for name, column in columns.items()})
    return tmp_path


# Files


@pytest.mark.parametrize("kind", ["csv", "parquet", "npz"])
def test_columns_of_numbers(flowers, kind):
    named = 'inputs = ["width", "length"]\ntargets = ["height"]'
    made = arrays(sweep_of(flowers, f'file = "flowers.{kind}"\n{named}'))
    assert made.x.tolist() == [[row[1], row[0]] for row in FLOWERS[1:]]
    assert made.y.tolist() == [[row[3]] for row in FLOWERS[1:]]
    assert made.samples.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("kind", ["csv", "parquet", "npz"])
@pytest.mark.parametrize("target", ["species", "colour"])
def test_texts_become_a_column_a_class_in_sorted_order(flowers, kind, target):
    named = f'inputs = ["width", "length"]\ntargets = ["{target}"]'
    texts = [row[FLOWERS[0].index(target)] for row in FLOWERS[1:]]
    classes = sorted(set(texts))
    made = arrays(sweep_of(flowers, f'file = "flowers.{kind}"\n{named}', n_out=3))
    assert made.y.tolist() == [[float(text == name) for name in classes] for text in texts]
    numbers = arrays(sweep_of(flowers, f'file = "flowers.{kind}"\n{named}\none_hot = false'))
    assert numbers.y.tolist() == [[classes.index(text)] for text in texts]
    more = arrays(sweep_of(flowers, f'file = "flowers.{kind}"\n{named}\nclasses = 4', n_out=4))
    assert more.y.tolist() == [[*row, 0.0] for row in made.y.tolist()]


def test_all_columns_but_the_targets_are_inputs_where_none_are_named(tmp_path):
    (tmp_path / "a.csv").write_text("p,q,r,s\n1,2,3,4\n5,6,7,8\n", encoding="utf-8")
    made = arrays(sweep_of(tmp_path, 'file = "a.csv"\ntargets = ["r", "p"]', n_out=2))
    assert made.x.tolist() == [[2, 4], [6, 8]]
    assert made.y.tolist() == [[3, 1], [7, 5]]


def test_arrays_x_and_y_of_an_archive_where_none_are_named(tmp_path):
    x, y = np.array([[1, 2], [3, 4], [5, 6]], np.int8), np.array([True, False, True])
    np.savez(tmp_path / "a.npz", x=x, y=y, z=np.zeros((2, 2, 2)))
    made = arrays(sweep_of(tmp_path, 'file = "a.npz"'))
    assert made.x.tolist() == x.tolist()
    assert made.y.tolist() == [[1], [0], [1]]
    joined = arrays(sweep_of(tmp_path, 'file = "a.npz"\ninputs = ["y", "x"]', n_in=3))
    assert joined.x.tolist() == [[1, 1, 2], [0, 3, 4], [1, 5, 6]]


def test_a_file_lies_relative_to_the_sweep_file(flowers, monkeypatch):
    (flowers / "deep").mkdir()
    (flowers / "deep" / "flowers.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    monkeypatch.chdir(flowers / "deep")
    for name in ("flowers.csv", "./flowers.csv", str(flowers / "flowers.csv")):
        named = 'inputs = ["width", "length"]\ntargets = ["height"]'
        assert len(arrays(sweep_of(flowers, f"file = '{name}'\n{named}")).x) == 5
    assert arrays(sweep_of(flowers, 'file = "deep/flowers.csv"\ntargets = ["b"]', n_in=1)).x.tolist() == [[1]]


def test_csv_as_editors_write_it(tmp_path):
    written = '\ufeff"a","b,c"\r\n1,"2"\r\n\r\n-3e1,true\r\n'.replace("true", "4")
    (tmp_path / "A.CSV").write_bytes(written.encode())
    made = arrays(sweep_of(tmp_path, 'file = "A.CSV"\ntargets = ["b,c"]', n_in=1))
    assert (made.x.tolist(), made.y.tolist()) == ([[1], [-30]], [[2], [4]])


def test_parquet_columns_of_many_types(tmp_path):
    columns = {
        "a": pa.array([1, 2], pa.uint8()),
        "b": pa.array([1.5, 2.5], pa.float32()),
        "c": pa.array([True, False]),
        "d": pa.array([1, 2]).cast(pa.decimal128(21, 2)),
        "e": pa.array(["u", "v"], pa.large_string()),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    made = arrays(sweep_of(tmp_path, 'file = "a.parquet"\ntargets = ["e"]', n_in=4, n_out=2))
    assert made.x.tolist() == [[1, 1.5, 1, 1], [2, 2.5, 0, 2]]


def test_a_file_is_read_once_a_sweep(flowers, monkeypatch):
    opened = collections.Counter()
    read_file = datafiles.read_file
    monkeypatch.setattr(
        data_module, "read_file", lambda *given: opened.update([given[0].name]) or read_file(*given)
    )
    named = 'inputs = ["width", "length"]\ntargets = ["height"]'
    more = "[[grid]]\nsplit_seed = [0, 1]\nsamples = [1, 2]\n[[grid]]\nsample = [0, 4]\n"
    fastbp.run(sweep_of(flowers, f'file = "flowers.csv"\n{named}', more=more), flowers / "out")
    assert opened == {"flowers.csv": 1}


# What is wrong with files

COLUMNS = 'inputs = ["a", "b"]\ntargets = ["c"]'
WRONG_CSV = [
    ("", "0: data.file: a.csv: is empty"),
    ("\n", "0: data.file: a.csv cannot be read as CSV: CSV parse error: Empty CSV file or block"),
    ("a,b,c\n", "0: data.file: a.csv: has no rows"),
    ("a,b,c\n1,2,3\n4,5\n", "0: data.file: a.csv: row 1 (counting from 0) has 2 values but the header 3"),
    (
        "a,b,c\n1,2,3\n\n4,5,6,7\n",
        "0: data.file: a.csv: row 1 (counting from 0) has 4 values but the header 3",
    ),
    ("a;b;c\n1;2;3\n", '0: data.file: a.csv: has one column, "a;b;c"; separate the columns by commas'),
    ("a,b,d\n1,2,3\n", '2: data.targets[0]: a.csv: has no column "c"; it has a, b, d'),
    (
        "a,c,b ,C\n1,2,3,4\n",
        '1: data.inputs[1]: a.csv: has no column "b" (did you mean b ?); it has a, c, b , C',
    ),
    ("a,b,c,c\n1,2,3,4\n", '2: data.targets[0]: a.csv: has 2 columns "c"; rename them'),
    ("a,b,c\n1,2,3\n4,,6\n", '1: data.inputs[1]: a.csv: column "b", row 1 (counting from 0) is empty'),
    ("a,b,c\n1,2,3\n4,NaN,6\n", '1: data.inputs[1]: a.csv: column "b", row 1 (counting from 0) is empty'),
    (
        "a,b,c\n1,2,3\n4,-inf,6\n",
        '1: data.inputs[1]: a.csv: column "b", row 1 (counting from 0) must be a finite number, not -inf',
    ),
    (
        "a,b,c\n1,2,3\n4,5O,6\n",
        '1: data.inputs[1]: a.csv: column "b", row 1 (counting from 0) must be a number, not the text "5O"',
    ),
    (
        "a,b,c\n1,2,3\n4,5,6\n7,8,9O\n",
        '2: data.targets[0]: a.csv: column "c", row 2 (counting from 0) must be a number, not the text "9O"',
    ),
    (
        "a,b,c\n1,2,x\n4,5,\n6,7,x\n",
        '2: data.targets[0]: a.csv: column "c", row 1 (counting from 0) is empty',
    ),
    (
        "a,b,c\n1,2024-01-01,x\n",
        '1: data.inputs[1]: a.csv: column "b" is of type date32[day]; it must hold n',
    ),
]


@pytest.mark.parametrize(("written", "expected"), WRONG_CSV)
def test_a_wrong_csv_is_told_with_its_column_and_row(tmp_path, written, expected):
    (tmp_path / "a.csv").write_text(written, encoding="utf-8")
    (found,) = problems(tmp_path, f'file = "a.csv"\n{COLUMNS}', n_out=1)
    assert found.startswith(expected)


def test_all_missing_columns_are_told_at_once(tmp_path):
    (tmp_path / "a.csv").write_text("x1,x2,y\n1,2,3\n", encoding="utf-8")
    found = problems(tmp_path, 'file = "a.csv"\ninputs = ["x2", "x3"]\ntargets = ["Y", "z"]')
    assert [line.split(";")[0] for line in found] == [
        '1: data.inputs[1]: a.csv: has no column "x3" (did you mean x2?)',
        '2: data.targets[0]: a.csv: has no column "Y" (did you mean y?)',
        '2: data.targets[1]: a.csv: has no column "z"',
    ]


def test_of_many_columns_some_are_named(tmp_path):
    header = ",".join(f"c{k}" for k in range(100))
    (tmp_path / "a.csv").write_text(f"{header}\n{header}\n", encoding="utf-8")
    (found,) = problems(tmp_path, 'file = "a.csv"\ntargets = ["zz"]')
    assert found.endswith("it has c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, ...")


def test_a_csv_that_is_not_utf_8(tmp_path):
    (tmp_path / "a.csv").write_bytes("a,b,c\n1,2,é\n".encode("latin-1"))
    (found,) = problems(tmp_path, f'file = "a.csv"\n{COLUMNS}')
    assert found == '2: data.targets[0]: a.csv: column "c" is not UTF-8; save the file as UTF-8'
    (tmp_path / "a.csv").write_bytes("a,b,é\n1,2,3\n".encode("utf-16"))
    (found,) = problems(tmp_path, f'file = "a.csv"\n{COLUMNS}')
    assert found == "0: data.file: a.csv: is not UTF-8; save the file as UTF-8"
    (tmp_path / "a.csv").write_bytes("a,b,é\n1,2,3\n".encode("latin-1"))
    (found,) = problems(tmp_path, f'file = "a.csv"\n{COLUMNS}')
    assert found == "0: data.file: a.csv: is not UTF-8; save the file as UTF-8"


@pytest.mark.parametrize("kind", ["csv", "parquet", "npz"])
def test_files_that_are_not_there_or_cannot_be_read(tmp_path, kind):
    named = f'file = "flower.{kind}"\ntargets = ["c"]'
    (tmp_path / f"flowers.{kind}").touch()
    expected = f"cannot be read: there is no file flower.{kind} (did you mean flowers.{kind}?)"
    assert problems(tmp_path, named) == [f"0: data.file: {expected}"]
    (tmp_path / f"flower.{kind}").mkdir()
    assert problems(tmp_path, named) == [f"0: data.file: flower.{kind} cannot be read: Is a directory"]
    assert problems(tmp_path, f'file = "none/a.{kind}"\ntargets = ["c"]') == [
        f"0: data.file: cannot be read: there is no file none/a.{kind}"
    ]
    (found,) = problems(tmp_path, named, overrides=[f"file=other.{kind}"])
    assert found.startswith(f"data.file: cannot be read: there is no file other.{kind}")


@pytest.mark.parametrize("kind", ["parquet", "npz"])
@pytest.mark.parametrize("length", [0, 1, 100, 200, -1])
def test_files_that_are_cut_short(flowers, kind, length):
    path = flowers / f"flowers.{kind}"
    path.write_bytes(path.read_bytes()[:length])
    named = 'inputs = ["width", "length"]\ntargets = ["height"]'
    (found,) = problems(flowers, f'file = "{path.name}"\n{named}')
    assert found.startswith(f"0: data.file: {path.name}")
    assert len(found) < 200
    assert "\n" not in found


def test_wrong_archives(tmp_path):
    def found(**parts):
        np.savez(tmp_path / "a.npz", **parts)
        return problems(tmp_path, 'file = "a.npz"')

    x, y = np.ones((3, 2)), np.ones(3)
    assert found(x=x, z=y) == ['0: data.file: a.npz: has no array "y"; it has x, z']
    assert found(x=x, y=np.ones((3, 1, 1))) == [
        '0: data.file: a.npz: array "y" has 3 dimensions; it must have 1 or 2'
    ]
    assert found(x=x, y=np.ones(4)) == [
        "0: data.file: a.npz: inputs have 3 rows but targets 4; they must have as many"
    ]
    assert found(x=x, y=y * 1j) == [
        '0: data.file: a.npz: array "y" is of type complex128; it must hold numbers'
    ]
    assert found(x=np.ones((0, 2)), y=y) == ['0: data.file: a.npz: array "x" is empty']
    assert found(x=x, y=np.array([0, np.nan, 1])) == [
        '0: data.file: a.npz: array "y", row 1 (counting from 0) must be a finite number, not nan'
    ]


def test_a_pickle_is_never_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return open, (str(tmp_path / "exploded"), "w")

    np.savez(tmp_path / "a.npz", x=np.array([[Bomb(), 1]], object), y=np.ones(1))
    (found,) = problems(tmp_path, 'file = "a.npz"')
    assert 'array "x" cannot be read without a pickle; save numbers or texts' in found
    assert not (tmp_path / "exploded").exists()
    np.save(tmp_path / "b.npy", np.ones(3))
    (tmp_path / "b.npy").rename(tmp_path / "b.npz")
    (found,) = problems(tmp_path, 'file = "b.npz"')
    assert "is no NPZ archive, or not a whole one; save it with numpy.savez" in found


def test_nothing_left_to_be_an_input(tmp_path):
    (tmp_path / "a.csv").write_text("y\n1\n", encoding="utf-8")
    (found,) = problems(tmp_path, 'file = "a.csv"\ntargets = ["y"]')
    assert found == "1: data.targets: a.csv: has no column besides the targets; name the inputs"


def test_a_file_that_does_not_fit_the_network_or_the_choice_of_samples(flowers):
    named = 'file = "flowers.csv"\ninputs = ["width", "length"]\ntargets = ["species"]'
    assert problems(flowers, named, n_in=3, n_out=2) == [
        f"{2 - FIRST + 1}: network.layers: "
        "layers [3, 2] begin with 3 but flowers.csv has 2 inputs; make them equal"
    ]
    assert problems(flowers, named, n_out=2) == [
        f"{2 - FIRST + 1}: network.layers: "
        "layers [2, 2] end with 2 but flowers.csv has 3 classes, a column each; make them equal"
    ]
    assert problems(flowers, named, n_out=3, more="[[grid]]\nsample = [4, 5]") == [
        "4: grid[0].sample[1]: sample 5 does not exist; there are 5 samples, counting from 0"
    ]
    assert problems(flowers, f"{named}\nclasses = 2", n_out=2) == [
        "3: data.classes: there are 3 classes, more than classes = 2"
    ]
    assert problems(flowers, f"{named}\nvalidation = 5", n_out=3) == [
        "3: data.validation: 5 of 5 samples leaves nothing to train on; take a number from 1 to 4"
    ]
    two = 'file = "flowers.csv"\ninputs = ["width", "length"]\ntargets = ["height", "species"]'
    assert problems(flowers, two, n_out=2) == [
        '2: data.targets[1]: flowers.csv: column "species", row 0 (counting from 0) '
        'must be a number, not the text "rose"'
    ]


# What is wrong with [data], as the sweep file is loaded

XY = "x = [[1, 2], [3, 4], [5, 6]]\ny = [[1], [0], [2]]"
SET = 'dataset = "moons"'
REGRESSION = 'dataset = "teacher"'
WRONG = [
    ('dataset = "mons"', 'data.dataset: unknown dataset "mons" (did you mean moons?); known: xor, parity'),
    (f"{XY}\n{SET}", "data.dataset: moons is a data set, but the data come from x and y already; keep one"),
    (f'{XY}\nfile = "a.npz"', "data.file: names a file, but the data come from x and y already; keep one"),
    (f'file = "a.npz"\n{SET}', "data.dataset: moons is a data set, but the data come from file already"),
    ('file = "a.txt"', 'data.file: "a.txt" is no data file; its name must end in .csv, .parquet, .npz'),
    (r'file = "\u0000.csv"', "data.file: holds a NUL character"),
    ('file = "a.csv"', "data.targets: is missing; name the columns of a.csv that are targets"),
    ('file = "a.npz"\ninputs = []', "data.inputs: must be a list of names of columns, not an empty list"),
    ('file = "a.npz"\ninputs = "x"', 'data.inputs: must be a list of names of columns, not the text "x"'),
    ('file = "a.npz"\ninputs = ["x", "x"]', 'data.inputs[1]: names "x" twice'),
    ('file = "a.npz"\ninputs = ["x", 1]', "data.inputs[1]: must be a text in quotes, not 1"),
    (
        'file = "a.npz"\ninputs = ["x", "y"]\ntargets = ["y"]',
        'data.targets[0]: "y" is an input and a target; keep it in one of the two',
    ),
    (f'{XY}\ninputs = ["x"]', "data.inputs: names columns of a file, but [data] names no file"),
    (f'{SET}\ntargets = ["x"]', "data.targets: names columns of a file, but [data] names no file"),
    (f"{SET}\nfeatures = 3", "data.features: dataset moons has no features; those that have it: parity, tea"),
    (
        f"{SET}\nteacher_units = 3",
        "data.teacher_units: dataset moons has no teacher_units; those that have i",
    ),
    (
        f"{SET}\ncoefficients = [1]",
        "data.coefficients: dataset moons has no coefficients; those that have it",
    ),
    (
        'dataset = "parity"\nfeatures = 2\nsize = 3',
        "data.size: dataset parity has no size; those that have it",
    ),
    (f"{XY}\nnoise = 0.1", "data.noise: only a dataset has noise; those that have it: xor, parity, spirals"),
    (f"{SET}\nnoise = -1", "data.noise: must be at least 0, not -1"),
    (f"{SET}\nsize = 0", "data.size: must be a whole number of at least 1, not 0"),
    (f"{SET}\ndata_seed = -1", "data.data_seed: must be a whole number of at least 0, not -1"),
    (f"{SET}\nsize = {MAXIMUM_NUMBERS}", "data.size: makes 1e+08 samples of 2 inputs; a data set may have 1"),
    (f"{SET}\nstandardise = 1", 'data.standardise: must be true, false or a list out of "inputs" and "targ'),
    (f'{SET}\nstandardise = ["input"]', 'data.standardise[0]: unknown part of the data "input" (did you mea'),
    (
        f"{SET}\nvalidation = 1.5",
        "data.validation: must be a fraction between 0 and 1 or a whole number, not",
    ),
    (
        f"{SET}\nvalidation = 0.0",
        "data.validation: must be a fraction between 0 and 1 or a whole number, not",
    ),
    (f"{SET}\nvalidation = -1", "data.validation: must be a whole number of at least 0, not -1"),
    (f"{SET}\nvalidation = 100", "data.validation: 100 of 100 samples leaves nothing to train on; take a n"),
    (
        f"{SET}\nvalidation = 0.001",
        "data.validation: 0.001 of 100 samples leaves nothing to validate with; t",
    ),
    (
        f"{SET}\nvalidation = 0.999",
        "data.validation: 0.999 of 100 samples leaves nothing to train on; take a",
    ),
    (f"{SET}\nsize = 1\nvalidation = 0.5", "data.validation: 0.5 of 1 samples leaves nothing to validate wi"),
    (f"{SET}\nsamples = 101", "data.samples: asks for 101 samples; there are 100 to train on"),
    (
        f"{SET}\nsamples = 76\nvalidation = 0.25",
        "data.samples: asks for 76 samples; there are 75 to train on",
    ),
    (f"{SET}\nsamples = 0", "data.samples: must be a whole number of at least 1, not 0"),
    (
        f"{SET}\nsample = 100",
        "data.sample: sample 100 does not exist; there are 100 samples, counting from 0",
    ),
    (
        f"{SET}\nsample = 1\nvalidation = 2",
        "data.sample: trains on one sample of all, so validation has no p",
    ),
    (
        f"{SET}\nsample = 1\nsamples = 2",
        "data.sample: trains on one sample of all, so samples has no part in",
    ),
    (
        f"{SET}\nsample = 1\nsplit_seed = 0",
        "data.sample: trains on one sample of all, so split_seed has no pa",
    ),
    (
        f"{XY}\nclasses = 2",
        "data.classes: class 2 in row 2 (counting from 0) is out of range; classes = 2 are",
    ),
    (f"{XY}\nclasses = 2\none_hot = false", "data.classes: class 2 in row 2 (counting from 0) is out of r"),
    (
        f"{XY}\none_hot = true",
        "data.y: layers [2, 1] end with 1 but data.y has 3 classes, a column each; make",
    ),
    (f"{XY}\nclasses = 0", "data.classes: must be a whole number of at least 1, not 0"),
    (
        f"{XY.replace('[2]', '[-2]')}\none_hot = true",
        "data.one_hot: class -2 in row 2 (counting from 0) is below 0; classes are 0, 1, 2 ...",
    ),
    (
        f"{XY.replace('[2]', '[0.5]')}\nclasses = 3",
        "data.classes: class 0.5 in row 2 (counting from 0) is no whole number; classes are 0, 1, 2 ...",
    ),
    (
        f"{XY.replace('[2]', '[10000]')}\none_hot = true",
        "data.one_hot: class 10000 in row 2 (counting from 0) ",
    ),
    (
        "x = [[1, 2]]\ny = [[1, 2]]\none_hot = true",
        "data.one_hot: classes need one column of targets, but there are 2",
    ),
    (
        f"{REGRESSION}\none_hot = true",
        "data.one_hot: the targets of teacher are numbers, not classes; classes",
    ),
    (
        f'{SET}\none_hot = true\nstandardise = ["targets"]',
        "data.standardise: one-hot targets are not standardised; name only the inputs, or set one_hot = false",
    ),
]


@pytest.mark.parametrize(("data", "expected"), WRONG)
def test_a_wrong_value_is_named_with_its_line_and_key(data, expected):
    with pytest.raises(SweepError) as caught:
        loads(text(data), "f.toml")
    (problem,) = (problem for problem in caught.value.problems if problem.key.startswith("data"))
    assert f"{problem.key}: {problem.message}".startswith(expected)
    key = expected[len("data.") : expected.index(":")].split("[")[0]
    lines = [k for k, written in enumerate(text(data).splitlines(), 1) if written.startswith(f"{key} =")]
    assert problem.line == (lines or [FIRST - 1])[0]


def test_data_that_are_missing():
    for data in ("", 'inputs = ["a"]'):
        with pytest.raises(SweepError) as caught:
            loads(text(data))
        told = [problem for problem in caught.value.problems if "is missing" in problem.message]
        assert [problem.key for problem in told] == ["data.x", "data.y"]
        assert all("name a file or a dataset" in problem.message for problem in told)
    with pytest.raises(SweepError, match=r"data.x: is missing"):
        loads(text("", more='[[grid]]\ndataset = ["moons"]\n[[grid]]\nsteps = [1]\n'))
    with pytest.raises(SweepError, match=r"^f:11: data.datset: unknown key \(did you mean dataset\?\)$"):
        loads(text('datset = "moons"'), "f")


WRONG_GRIDS = [
    ('dataset = ["moons", "mons"]', 'grid[0].dataset[1]: unknown dataset "mons" (did you mean moons?)'),
    ('dataset = ["moons", "iris"]', "network.layers: layers [2, 1] begin with 2 but iris has 4 inputs; make"),
    (
        'dataset = ["parity"]\nfeatures = [2, 3]',
        "network.layers: layers [2, 1] begin with 2 but parity has 3",
    ),
    ('dataset = ["moons", "teacher"]\nfeatures = [2]', "grid[0].features: dataset moons has no features; th"),
    (
        'dataset = ["moons"]\nsize = [9, 10]\nsample = [8, 9]',
        "grid[0].sample[1]: sample 9 does not exist; th",
    ),
    ('dataset = ["moons"]\nsize = [9, 3]\nvalidation = [0.2, 5]', "grid[0].validation[1]: 5 of 3 samples le"),
    (
        'dataset = ["moons"]\nvalidation = [0.5]\nsamples = [50, 51]',
        "grid[0].samples[1]: asks for 51 samples",
    ),
    ('dataset = ["moons"]\nvalidation = [0.5]\nsample = [1, 2]', "grid[0].sample: trains on one sample of a"),
    (
        'dataset = ["moons"]\nclasses = [2, 1]\none_hot = [false]',
        "grid[0].classes[1]: there are 2 classes, m",
    ),
    ('dataset = ["moons"]\nfile = ["a.csv"]', "grid[0].file: unknown parameter"),
    (
        'dataset = ["moons"]\nstandardise = [true, ["inputs"]]',
        "grid[0].standardise[1]: names ['inputs'] twic",
    ),
]


@pytest.mark.parametrize(("grid", "expected"), WRONG_GRIDS)
def test_a_wrong_axis_is_named_with_its_key(grid, expected):
    with pytest.raises(SweepError) as caught:
        loads(text("", more=f"[[grid]]\n{grid}\n"))
    (problem,) = caught.value.problems
    assert f"{problem.key}: {problem.message}".startswith(expected)


def test_a_missing_package_is_named_with_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    advice = "dataset iris is read from scikit-learn; install it: pip install 'fastbp[sklearn]'"
    assert problems(tmp_path, 'dataset = "iris"', n_in=4) == [f"0: data.dataset: {advice}"]
    grid = '[[grid]]\ndataset = ["teacher", "iris"]\n[[grid]]\ndataset = ["moons"]\n'
    with pytest.raises(SweepError, match="begin with 2"):
        loads(text("", more=grid))
    layers = 'layers = [[4, 1]]\ndataset = ["iris"]\n'
    (found,) = problems(tmp_path, "", n_in=4, more=f"[[grid]]\n{layers}")
    assert found == f"3: grid[0].dataset[0]: {advice}"


def test_the_main_commands_end_with_exit_code_2_and_no_traceback(tmp_path):
    from typer.testing import CliRunner

    from fastbp.cli import app

    path = tmp_path / "sweep.toml"
    path.write_text(text('file = "a.csv"\ntargets = ["y"]'), encoding="utf-8")
    for command in ("plan", "sweep", "check"):
        result = CliRunner().invoke(app, [command, str(path)])
        assert result.exit_code == 2
        assert result.stderr == (
            f"{path}:{FIRST}: data.file: cannot be read: there is no file {tmp_path / 'a.csv'}\n"
        )


# Classes


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ([0, 2, 1], Labels(3, last=1)),
        ([0.0], Labels(1)),
        ([1, -1], Labels(0, problem="class -1 in row 1 (counting from 0) is below 0")),
        ([1, 0.5], Labels(0, whole=False, problem="class 0.5 in row 1 (counting from 0) is no whole number")),
        ([0, 1e6, -1], Labels(0, problem="class 1000000 in row 1 (counting from 0) is above 9999")),
    ],
)
def test_labels(column, expected):
    assert labels_of(np.array(column, np.float64)) == expected


@pytest.mark.parametrize("losses", [{"mse"}, {"mse", "cross_entropy"}])
@pytest.mark.parametrize("classes", [None, 5])
@pytest.mark.parametrize("one_hot", [None, True, False])
@pytest.mark.parametrize("kind", ["texts", "whole", "numbers", "several"])
def test_what_is_one_hot(kind, one_hot, classes, losses):
    labels = {
        "texts": Labels(3, texts=True),
        "whole": Labels(3),
        "numbers": Labels(0, whole=False),
        "several": None,
    }[kind]
    extent = data_module.Extent(9, 2, 1, labels)
    found = is_one_hot(extent, {"one_hot": one_hot, "classes": classes}, losses)
    if one_hot is not None:
        assert found is one_hot
    else:
        asked = kind == "texts" or classes is not None or (kind == "whole" and "cross_entropy" in losses)
        assert found is (asked and kind != "several")


def test_whole_numbers_become_a_column_a_class(tmp_path):
    made = arrays(sweep_of(tmp_path, f"{XY}\none_hot = true", n_out=3))
    assert made.y.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
    made = arrays(sweep_of(tmp_path, f"{XY}\nclasses = 4", n_out=4))
    assert made.y.tolist() == [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]]
    assert arrays(sweep_of(tmp_path, f"{XY}\nclasses = 3\none_hot = false")).y.tolist() == [[1], [0], [2]]
    assert arrays(sweep_of(tmp_path, XY)).y.tolist() == [[1], [0], [2]]


# The split, and the choice of samples


@given(st.integers(2, 60), st.floats(0.01, 0.99) | st.integers(1, 59), st.integers(0, 2**63 - 1))
@settings(deadline=None, max_examples=60)
def test_a_split_is_disjoint_and_complete(n, validation, seed):
    count = validation if isinstance(validation, int) else round(validation * n)
    if not 0 < count < n:
        return
    training, kept = split(n, validation, seed)
    assert len(kept) == count
    assert sorted([*training, *kept]) == list(range(n))
    again = split(n, validation, seed)
    assert all(np.array_equal(one, other) for one, other in zip(again, (training, kept), strict=True))


def test_a_split_is_by_seed():
    splits = {tuple(split(20, 5, seed)[1]) for seed in range(10)}
    assert len(splits) == 10
    assert np.array_equal(split(20, 5, None)[0], split(20, 5, 0)[0])
    for training, kept in (split(6, None, None), split(6, 0, None)):
        assert (training.tolist(), kept.tolist()) == ([0, 1, 2, 3, 4, 5], [])
    shuffled, kept = split(6, None, 1)
    assert (sorted(shuffled), len(kept)) == ([0, 1, 2, 3, 4, 5], 0)
    times = np.bincount(np.concatenate([split(10, 3, seed)[1] for seed in range(1000)]))
    assert all(abs(count - 300) < 5 * np.sqrt(1000 * 0.3 * 0.7) for count in times)


def test_a_split_keeps_inputs_and_targets_together(tmp_path):
    sweep = sweep_of(tmp_path, 'dataset = "moons"\nnoise = 0.3', more="[[grid]]\nsplit_seed = [1]\n")
    all_x, all_y = DATASETS["moons"].arrays({"noise": 0.3})
    made = arrays(sweep, validation=0.25, split_seed=3)
    assert len(made.x) == 75
    assert np.array_equal(made.x, all_x[made.samples])
    assert np.array_equal(made.y[:, 0], all_y[made.samples])
    rest = np.setdiff1d(np.arange(100), made.samples)
    assert np.array_equal(made.x_validation, all_x[rest])
    assert np.array_equal(made.y_validation[:, 0], all_y[rest])


def test_samples_are_the_first_of_the_training_part(tmp_path):
    sweep = sweep_of(tmp_path, 'dataset = "moons"\nnoise = 0.3\nvalidation = 20')
    whole, first = arrays(sweep), arrays(sweep, samples=7)
    for part in ("x", "y", "samples"):
        assert np.array_equal(getattr(first, part), getattr(whole, part)[:7])
    assert np.array_equal(first.x_validation, whole.x_validation)
    plain = sweep_of(tmp_path, XY)
    assert arrays(plain, samples=2).x.tolist() == [[1, 2], [3, 4]]
    one = arrays(plain, sample=1)
    assert (one.x.tolist(), one.y.tolist(), one.samples.tolist()) == ([[3, 4]], [[0]], [1])


# Standardising


def test_standardising_is_by_the_training_part(tmp_path):
    data = 'dataset = "teacher"\nvalidation = 0.3\nstandardise = ["targets", "inputs"]'
    sweep = sweep_of(tmp_path, data)
    raw, made = arrays(sweep, standardise=()), arrays(sweep)
    for part in ("x", "y"):
        before, after = getattr(raw, part), getattr(made, part)
        for column in range(before.shape[1]):
            mean = statistics.fmean(before[:, column])
            deviation = statistics.pstdev(before[:, column])
            assert statistics.fmean(after[:, column]) == pytest.approx(0, abs=1e-12)
            assert statistics.pstdev(after[:, column]) == pytest.approx(1, abs=1e-12)
            kept = getattr(raw, f"{part}_validation")[:, column]
            expected = [(value - mean) / deviation for value in kept]
            assert getattr(made, f"{part}_validation")[:, column] == pytest.approx(expected, abs=1e-12)
    only = arrays(sweep, standardise=("inputs",))
    assert np.array_equal(only.y, raw.y)
    assert np.array_equal(only.x, made.x)
    fewer = arrays(sweep, samples=5)
    assert np.array_equal(fewer.x, made.x[:5])


def test_a_constant_column_is_only_centred():
    columns = np.array([[0.1, 1.0], [0.1, 2.0], [0.1, 6.0]])
    scaled = standardised(np.vstack([columns, [[0.6, 3.0]]]), columns)
    assert scaled[:, 0].tolist() == [0, 0, 0, 0.5]
    assert scaled[3, 1] == 0


def test_numbers_too_large_to_be_standardised(tmp_path):
    sweep = sweep_of(tmp_path, "x = [[1e308, 0], [-1e308, 1]]\ny = [[0], [1]]\nstandardise = true")
    with pytest.raises(SweepError, match=r"data.standardise: the data hold numbers too large"):
        arrays(sweep)


# The source


@pytest.mark.parametrize("name", ["moons", "teacher", "polynomial"])
def test_equal_values_give_equal_bits(tmp_path, name):
    more = {"moons": "size = 9", "teacher": "data_seed = 3", "polynomial": "coefficients = [1, 2, 3]"}[name]
    data = f'dataset = "{name}"\nnoise = 0.1\nvalidation = 2\nstandardise = true\n{more}'
    sweep = sweep_of(tmp_path, data, n_in=1 if name == "polynomial" else 2)
    one, other = arrays(sweep), arrays(loads(sweep.text))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))
    if name == "polynomial":
        clean = arrays(sweep, noise=0.0, validation=None, standardise=())
        assert clean.y[:, 0] == pytest.approx([1 + 2 * x + 3 * x * x for x in clean.x[:, 0]])


def test_data_are_made_once_for_equal_values_and_forgotten_when_they_are_too_many(tmp_path, monkeypatch):
    made = collections.Counter()
    entry = DATASETS["moons"]
    monkeypatch.setitem(
        DATASETS,
        "moons",
        data_module.DATASETS["moons"].__class__(
            entry.summary,
            lambda size: made.update([size]) or entry.make(size),
            entry.parameters,
            entry.extent,
            2,
        ),
    )
    source = load_data(sweep := sweep_of(tmp_path, 'dataset = "moons"'))
    for _ in range(3):
        for size in (10, 20):
            source.arrays(values_of(sweep, size=size, sample=3))
            source.arrays(values_of(sweep, size=size, split_seed=3, samples=2))
    assert made == {10: 1, 20: 1}
    monkeypatch.setattr(data_module, "CACHE_BYTES", 3000)
    source = load_data(sweep)
    for _ in range(2):
        for size in (100, 10, 101):
            source.arrays(values_of(sweep, size=size))
            assert source._cache.held == sum(map(data_module._size, source._cache.entries.values()))
    assert made == {10: 3, 20: 1, 100: 2, 101: 2}


def test_the_shape_is_known_without_making_the_data(tmp_path, monkeypatch):
    sweep = sweep_of(tmp_path, 'dataset = "moons"')
    monkeypatch.setattr(data_module.DataSource, "_table", None)
    source = load_data(sweep)
    for changes, expected in [
        ({}, (100, 0, 2, 1)),
        ({"size": 30, "validation": 0.1}, (27, 3, 2, 1)),
        ({"size": 30, "validation": 0.1, "samples": 4}, (4, 3, 2, 1)),
        ({"sample": 4}, (1, 0, 2, 1)),
        ({"one_hot": True}, (100, 0, 2, 2)),
        ({"dataset": "parity", "features": 5}, (32, 0, 5, 1)),
        ({"dataset": "digits", "classes": 12}, (1797, 0, 64, 12)),
    ]:
        assert source.shape(values_of(sweep, **changes)) == expected


def test_the_digest_is_that_of_what_the_file_holds(flowers):
    named = 'inputs = ["width", "length"]\ntargets = ["species"]'

    def digest(kind):
        return load_data(sweep_of(flowers, f'file = "flowers.{kind}"\n{named}', n_out=3)).digest()

    first = digest("csv")
    assert len(first) == 64
    assert digest("parquet") == digest("npz") == first
    path = flowers / "flowers.csv"
    for old, new in (("5.0", "5.1"), ("rose", "ruse")):
        before = path.read_text(encoding="utf-8")
        path.write_text(before.replace(old, new), encoding="utf-8")
        assert digest("csv") != first
        path.write_text(before, encoding="utf-8")
    assert load_data(loads(text(XY))).digest() is None
    assert load_data(loads(text(SET))).digest() is None


def test_a_changed_file_is_another_sweep(flowers):
    def plan():
        named = 'inputs = ["width", "length"]\ntargets = ["height"]'
        return Plan(sweep_of(flowers, f'file = "flowers.csv"\n{named}'))

    first = plan()
    assert first.fingerprint != first.sweep.fingerprint()
    assert plan().fingerprint == first.fingerprint
    with Store(flowers / "out", first) as store:
        store.finish()
    path = flowers / "flowers.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("5.0", "5.1"), encoding="utf-8")
    assert plan().fingerprint != first.fingerprint
    with pytest.raises(StoreError, match="holds the results of another sweep"):
        Store(flowers / "out", plan())
    inline = Plan(loads(text(XY)))
    assert inline.fingerprint == inline.sweep.fingerprint()


@pytest.mark.parametrize(
    ("data", "other"),
    [
        (SET, 'dataset = "circles"'),
        (SET, f"{SET}\nsize = 10"),
        (SET, f"{SET}\nnoise = 0.5"),
        (XY, f"{XY}\nstandardise = true"),
        ('file = "a.npz"', 'file = "b.npz"'),
        ('file = "a.npz"', 'file = "a.npz"\ninputs = ["z"]'),
        ('dataset = "polynomial"\ncoefficients = [1]', 'dataset = "polynomial"\ncoefficients = [2]'),
    ],
)
def test_the_fingerprint_tells_what_the_data_are(data, other):
    n_in = 1 if "polynomial" in data else 2
    one, two = loads(text(data, n_in)), loads(text(other, n_in))
    assert one != two
    assert one.fingerprint() != two.fingerprint()
    for sweep in (one, two):
        assert loads(dumps(sweep)) == sweep


def test_where_a_sweep_came_from_is_no_part_of_what_it_means(tmp_path):
    one, two = loads(text(SET), "a/b.toml"), loads(text(SET), "c.toml")
    assert (one.path, two.path) == ("a/b.toml", "c.toml")
    assert one == two
    assert one.fingerprint() == two.fingerprint()
    assert str(one.problem(("data", "dataset"), "is odd")) == f"a/b.toml:{FIRST}: data.dataset: is odd"
    changed = loads(text(SET), "c.toml", ["layers=[2, 1]", "dataset=xor"])
    assert str(changed.problem(("data", "dataset"), "is odd")) == "--set dataset=xor: data.dataset: is odd"
    assert str(changed.problem(("data",), "is odd")) == f"c.toml:{FIRST - 1}: data: is odd"


# Runs

AXES = """
[[grid]]
data_seed = [1, 2]
noise = [0, 0.5]
learning_rate = [0.1, 0.2]
[[grid]]
split_seed = [0, 1]
validation = [0.2, 3]
samples = [4, 2]
[[grid]]
sample = [3, 0]
standardise = [true, false]
[[grid]]
size = [6, 12]
[[grid]]
dataset = ["teacher", "xor"]
"""


def test_each_run_has_the_data_of_its_values(tmp_path):
    sweep = sweep_of(
        tmp_path, "size = 12", more=AXES.replace("[[grid]]\n", '[[grid]]\ndataset = ["moons"]\n', 4)
    )
    plan = Plan(sweep)
    seen = {}
    for shard in plan.shards():
        runs = plan.runs(shard)
        x, y = run_data(plan, runs, plan.data)
        for position, run in enumerate(runs.ids.tolist()):
            own = (x, y) if x.ndim == 2 else (x[position], y[position])
            values = {name: plan.parameters(run)[name] for name in DATA_PARAMETERS}
            expected = plan.data.arrays(values)
            assert np.array_equal(own[0], expected.x)
            assert np.array_equal(own[1], expected.y)
            structure = shard.group.structure
            assert (structure.n_samples, structure.n_validation) == (
                len(expected.x),
                len(expected.x_validation),
            )
            seen[run] = own
    assert len(seen) == plan.n_runs
    assert any(len(x) == 1 for x, _ in seen.values())


def test_runs_that_share_their_data_share_one_array(tmp_path):
    plan = Plan(sweep_of(tmp_path, SET, more="[[grid]]\nlearning_rate = [1, 2]\ndata_seed = [0, 1]\n"))
    (shard,) = plan.shards()
    # Without noise both seeds make the same moons, but only equal values are known to be equal data.
    assert run_data(plan, plan.runs(shard), plan.data)[0].shape == (4, 100, 2)
    plan = Plan(sweep_of(tmp_path, SET, more="[[grid]]\nlearning_rate = [1, 2]\n"))
    (shard,) = plan.shards()
    assert run_data(plan, plan.runs(shard), plan.data)[0].shape == (100, 2)


def test_a_sweep_over_data_is_the_same_as_sweeps_of_one(tmp_path):
    grid = (
        '[[grid]]\ndataset = ["moons"]\ndata_seed = [1, 2]\nnoise = [0.1, 0.5]\nstandardise = [true, false]\n'
    )
    together = fastbp.run(sweep_of(tmp_path, "size = 10\nvalidation = 3", more=grid), tmp_path / "all").runs()
    rows = together.to_pylist()
    assert len(rows) == 8
    for row in rows:
        fixed = {"data_seed": row["data_seed"], "noise": row["noise"]}
        lines = "".join(f"{name} = {value}\n" for name, value in fixed.items())
        lines += f"standardise = {str(bool(row['standardise'])).lower()}\n"
        alone = sweep_of(tmp_path, f'dataset = "moons"\nsize = 10\nvalidation = 3\n{lines}')
        (other,) = fastbp.run(alone, tmp_path / f"run{row['run']}").runs().to_pylist()
        assert (row["loss_first"], row["loss_last"]) == (other["loss_first"], other["loss_last"])


def test_the_trace_names_the_samples_by_their_rows_in_the_data(tmp_path):
    grid = "[[grid]]\nsplit_seed = [0, 1]\nsamples = [2, 3]\n[[grid]]\nsample = [4]\nvalidation = [0]\n"
    more = f"[record]\ntrace = true\n{grid}"
    sweep = sweep_of(tmp_path, 'dataset = "moons"\nsize = 9\nvalidation = 2\nnoise = 0.2', more=more)
    results = fastbp.run(sweep, tmp_path / "out")
    plan = Plan(sweep)
    x, _ = DATASETS["moons"].arrays({"size": 9, "noise": 0.2})
    rows = [row for row in results.activations().to_pylist() if row["layer"] == 0]
    found = collections.defaultdict(set)
    for row in rows:
        assert row["output"] == x[row["sample"], row["unit"]]
        found[row["run"]].add(row["sample"])
    for run, samples in found.items():
        values = {name: plan.parameters(run)[name] for name in DATA_PARAMETERS}
        assert samples == set(plan.data.arrays(values).samples.tolist())
    assert sorted(map(len, found.values())) == [1, 2, 2, 3, 3]


def test_parameters_of_the_data_are_columns_of_the_results(tmp_path):
    grid = """[[grid]]
dataset = ["moons", "circles"]
size = [6, 10]
standardise = [true, ["targets", "inputs"], false]
validation = [0.5, 2]
one_hot = [false]
data_seed = [7]
noise = [0.25]
"""
    runs = fastbp.run(sweep_of(tmp_path, "", more=grid), tmp_path / "out").runs()
    assert runs.num_rows == 24
    assert set(runs["dataset"].to_pylist()) == {"moons", "circles"}
    assert {tuple(value) for value in runs["standardise"].to_pylist()} == {
        (),
        ("inputs",),
        ("inputs", "targets"),
    }
    assert set(runs["validation"].to_pylist()) == {0.5, 2}
    assert set(runs["noise"].to_pylist()) == {0.25}


def test_shards_are_smaller_where_each_run_has_its_own_data(tmp_path, monkeypatch):
    monkeypatch.setattr(plan_module, "SHARD_BYTES", 2**20)
    shared = Plan(sweep_of(tmp_path, SET, more="[[grid]]\nlearning_rate = { linspace = [0, 1, 900] }\n"))
    own = Plan(sweep_of(tmp_path, SET, more="[[grid]]\ndata_seed = { arange = [0, 900, 1] }\n"))
    assert shared.n_shards == 1
    assert own.data_bytes_a_run(own.groups[0].structure) == 8 * 100 * 3
    assert own.n_shards > 2
    large = sweep_of(tmp_path, f"{SET}\nsize = 10000000", more="[[grid]]\ndata_seed = [0, 1]\n")
    with pytest.raises(SweepError, match=r"the data of 32 runs, which differ from run to run, take 7.7 GB"):
        Plan(large).refuse_too_large()


def test_a_sweep_of_built_in_data_reads_no_file_and_no_net(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    import socket

    monkeypatch.setattr(socket, "socket", None)
    sweep = sweep_of(tmp_path, 'dataset = "iris"\none_hot = true', n_in=4, n_out=3)
    made = arrays(sweep)
    assert made.y.sum(axis=0).tolist() == [50, 50, 50]
    assert builtins.open is open
