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
from fastbp.kernels.initializers import INITIALIZERS
from fastbp.kernels.losses import LOSSES
from fastbp.kernels.optimizers import OPTIMIZERS
from fastbp.kernels.orders import ORDERS
from fastbp.kernels.parametrisations import PARAMETRISATIONS
from fastbp.kernels.schedules import SCHEDULES, TO_THE_END
from fastbp.plan import Plan
from fastbp.sweep import Data, loads
from fastbp.sweep.sections import SECTIONS

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


TABLES = {
    "activation": ACTIVATIONS,
    "loss": LOSSES,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "init": INITIALIZERS,
    "batch_order": ORDERS,
    "scale": PARAMETRISATIONS,
}


@pytest.mark.parametrize("kind", TABLES)
def test_names_formulas_and_defaults_are_those_of_the_kernels(kind):
    table = README[README.index(f"| {kind} |") :]
    rows = [
        [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in table[: table.index("\n\n")].splitlines()[2:]
    ]
    assert [row[0].strip("`") for row in rows] == list(TABLES[kind])
    for row, entry in zip(rows, TABLES[kind].values(), strict=True):
        assert row[1] == entry.formula
        if len(row) == 3:
            shown = {None: "needed", TO_THE_END: "to the end"}
            own = {
                name: shown.get(v, v) if name == "decay_steps" or v is None else v
                for name, v in entry.defaults.items()
            }
            listed = dict(re.findall(r"`(\w+)` \(([^)]*)\)", row[2]))
            assert list(listed) == list(own)
            for name, value in own.items():
                assert listed[name] == value if isinstance(value, str) else float(listed[name]) == value


def test_every_key_is_described():
    for model in SECTIONS.values():
        assert set(model.model_fields) <= set(re.findall(r"\w+", README))


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
