"""What is said of a [data] that is wrong by itself, or with the networks."""

import importlib.util
import tomllib

import jsonschema
import pytest
from sweeps_of_data import FIRST, SET, XY, problems, text

from fastbp.sweep import SweepError, loads, schema
from fastbp.sweep.fit import MAXIMUM_NUMBERS

# What is wrong with [data], as the sweep file is loaded

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


@pytest.mark.parametrize(
    ("data", "more", "fits"),
    [
        (XY, "", True),
        (SET, "[[grid]]\nnoise = [0, 0.5]\nvalidation = { linspace = [0.1, 0.5, 3] }\n", True),
        ('file = "a.csv"\ninputs = ["a"]\ntargets = ["b"]\nstandardise = ["inputs", "targets"]', "", True),
        ("validation = 3", '[[grid]]\ndataset = ["moons", "xor"]\nstandardise = [true, []]\n', True),
        (f'{XY}\nfile = "a.csv"', "", False),
        (f"{XY}\n{SET}\nsize = 0", "", False),
        (f"{SET}\nvalidation = 1.5", "", False),
        (SET, "[[grid]]\ncoefficients = [[1]]\n", False),
    ],
)
def test_the_schema_knows_the_kinds_of_data(data, more, fits):
    assert jsonschema.Draft202012Validator(schema()).is_valid(tomllib.loads(text(data, more=more))) is fits
