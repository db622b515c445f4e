"""What the README shows is what happens: its examples are run, its tables are held against the code."""

import ast
import re
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner

import fastbp
from fastbp.cli import app
from fastbp.datasets import DATASETS
from fastbp.kernels.activations import ACTIVATIONS
from fastbp.kernels.losses import LOSSES
from fastbp.kernels.optimizers import OPTIMIZERS
from fastbp.kernels.parametrisations import PARAMETRISATIONS
from fastbp.plan import Plan
from fastbp.sweep import Data, loads

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def blocks(language):
    found = [text for name, text in BLOCKS if name == language]
    assert found
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder as the reader has it after the first command."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "sweeps").symlink_to(ROOT / "sweeps")
    fastbp.run(fastbp.load_sweep(ROOT / "sweeps" / "notebook.toml"), folder / "results" / "notebook")
    return folder


@pytest.mark.parametrize("code", blocks("python"))
def test_python_examples_run(code, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out


@pytest.mark.parametrize("query", blocks("sql"))
def test_sql_examples_find_rows(query, folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert len(duckdb.sql(query).fetchall()) == 4


def test_the_sweep_file_loads():
    text, more = blocks("toml")
    assert len(loads(text).grid[0].axes["learning_rate"].values) == 25
    both = loads(text[: text.index("[[grid]]")] + more)
    assert Plan(both).n_runs == 1000 * 3 * 10


def test_the_table_is_what_the_first_command_prints(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["sweep", str(ROOT / "sweeps" / "notebook.toml")])
    printed = [line.strip() for line in result.stdout.splitlines() if line.strip()]
    shown = [line.strip() for line in blocks("text")[0].splitlines() if line.strip()]
    assert printed[:-1] == shown[:-1]
    without_time = [re.sub(r"[0-9.]+ s", "", line) for line in (printed[-1], shown[-1])]
    assert without_time[0] == without_time[1]


@pytest.mark.parametrize(
    ("kind", "table"),
    [
        ("activation", ACTIVATIONS),
        ("loss", LOSSES),
        ("optimizer", OPTIMIZERS),
        ("scale", PARAMETRISATIONS),
    ],
)
def test_names_are_those_of_the_kernels(kind, table):
    (row,) = re.findall(rf"^\| {kind} \| (.*) \|$", README, re.MULTILINE)
    assert re.findall(r"`(\w+)`", row) == list(table)


def test_data_sets_are_listed_with_their_parameters_and_what_they_are():
    table = README[README.index("| dataset |") :]
    rows = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \|$", table[: table.index("\n\n")], re.MULTILINE)
    assert [name for name, _, _ in rows] == list(DATASETS)
    for name, parameters, summary in rows:
        entry = DATASETS[name]
        listed = re.findall(r"`(\w+)` \(([^)]*)\)", parameters)
        own = {key: value for key, value in entry.parameters.items() if key not in ("noise", "data_seed")}
        assert {key: ast.literal_eval(value) for key, value in listed} == {
            key: list(value) if isinstance(value, tuple) else value for key, value in own.items()
        }
        assert summary == entry.summary


def test_the_keys_of_data_are_described():
    section = README[README.index("### Data") : README.index("## The result folder")]
    assert set(Data.model_fields) <= set(re.findall(r"\w+", section))


def test_every_command_is_listed():
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert set(re.findall(r"^\| `fastbp (\w+)", README, re.MULTILINE)) == commands
