"""Files of data, and what is said of those that are wrong."""

import collections

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sweeps_of_data import FIRST, FLOWERS, arrays, problems, sweep_of, write_flowers

import fastbp
from fastbp import data as data_module
from fastbp import datafiles


@pytest.fixture
def flowers(tmp_path):
    return write_flowers(tmp_path)


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
