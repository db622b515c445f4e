"""Every figure that the notebook prints (figures.json) against the trace of ``sweeps/notebook.toml``."""

import json
from decimal import Decimal
from pathlib import Path

import duckdb
import numpy as np
import pytest

import fastbp

HERE = Path(__file__).parent
TEXT = (HERE / "figures.json").read_text()
FIGURES = json.loads(TEXT, parse_float=Decimal)
SWEEP = HERE.parent / "sweeps" / "notebook.toml"
# The place of each experiment in the sweep: its run id.
EXPERIMENTS = list(enumerate(FIGURES["experiments"]))


@pytest.fixture(scope="module", params=["float64", "float32"])
def results(request, tmp_path_factory):
    sweep = fastbp.load_sweep(SWEEP, [f"dtype={request.param}"])
    return fastbp.run(sweep, tmp_path_factory.mktemp("notebook") / request.param)


def close(figure, value, scale=0.0):
    """Whether `value` agrees with what was printed, to the last digit printed.

    The notebook computed in float32, so that its digits carry a few units of 2^-24 of the largest term that
    entered them: the figure itself, or `scale` where terms cancelled. Measured: at most 4.1 units.
    """
    figure = Decimal(figure)
    half_a_digit = Decimal(5).scaleb(figure.as_tuple().exponent - 1)
    rounding = 5 * Decimal(2**-24) * max(abs(figure), Decimal(float(scale)))
    return abs(Decimal(float(value)) - figure) <= half_a_digit + rounding


def matrices(table, run, step, column):
    """W1, b1, W2, b2 of a run and step, from the long table."""
    frame = table.to_pandas()
    frame = frame[(frame.run == run) & (frame.step == step)]
    found = {}
    for layer in (1, 2):
        part = frame[frame.layer == layer]
        weights = part[part.name == "W"]
        found[f"W{layer}"] = np.full((2, 2), np.nan)
        found[f"W{layer}"][weights.row.astype(int), weights.column] = weights[column]
        found[f"b{layer}"] = part[part.name == "b"].sort_values("column")[column].to_numpy()
    return found


def outputs(results, run, step):
    frame = results.to_pandas("activations")
    last = frame[(frame.run == run) & (frame.step == step) & (frame.layer == 2)]
    return last.sort_values("unit").output.to_numpy()


def assert_figures(printed, found, scale=0.0):
    printed, found = np.ravel(np.array(printed, dtype=object)), np.ravel(found)
    assert len(printed) == len(found)
    for figure, value, largest in zip(printed, found, np.broadcast_to(scale, found.shape), strict=True):
        assert close(figure, value, largest), f"printed {figure}, found {value}"


@pytest.mark.parametrize(("run", "experiment"), EXPERIMENTS)
def test_printed_figures(results, run, experiment):
    step_0 = experiment["step_0"]
    assert_figures(step_0["outputs"], outputs(results, run, 0))
    gradients = matrices(results.parameters(), run, 0, "gradient")
    for name, printed in step_0["gradients"].items():
        assert_figures(printed, gradients[name])
    before, after = (matrices(results.parameters(), run, step, "value") for step in (0, 1))
    for name, printed in step_0["weights_after"].items():
        change = after[name] - before[name]
        assert_figures(printed, after[name], np.maximum(abs(before[name]), abs(change)).ravel())
    if "step_1_outputs" in experiment:
        assert_figures(experiment["step_1_outputs"], outputs(results, run, 1))


@pytest.mark.parametrize(("run", "experiment"), EXPERIMENTS)
def test_printed_losses(results, run, experiment):
    frame = results.to_pandas("history")
    losses = frame[frame.run == run].sort_values("step").loss.to_numpy()
    printed = {0: experiment["step_0"]["mse_before"], 1: experiment.get("mse_after_step_0")}
    for step, figure in printed.items():
        if figure is not None:
            # Printed from float32 outputs: the digits behind the eighth are those of that rounding.
            assert losses[step] == pytest.approx(float(figure), rel=2e-7)


@pytest.mark.parametrize(("run", "experiment"), EXPERIMENTS)
def test_inputs_targets_and_weights_are_those_of_the_experiment(results, run, experiment):
    frame = results.to_pandas("activations")
    inputs = frame[(frame.run == run) & (frame.step == 0) & (frame.layer == 0)]
    assert_figures(experiment["inputs"], inputs.sort_values("unit").output.to_numpy())
    runs = results.to_pandas()
    assert runs.learning_rate[run] == float(experiment["learning_rate"])
    assert runs.init[run] == experiment["initial"]
    before = matrices(results.parameters(), run, 0, "value")
    for name, printed in FIGURES["initial_weights"][experiment["initial"]].items():
        assert_figures(printed, before[name])


def test_the_query_of_the_readme(results):
    parts = results.folder / "parameters" / "*.parquet"
    rows = duckdb.sql(
        f"""select step, value, gradient from '{parts}' where run = 3 and layer = 2 and name = 'W'
        and "row" = 0 and "column" = 1 order by step"""
    ).fetchall()
    sample_2 = FIGURES["experiments"][3]["step_0"]
    assert [step for step, _, _ in rows] == [0, 1, 2, 3]
    assert close(sample_2["gradients"]["W2"][0][1], rows[0][2])
    assert close(sample_2["weights_after"]["W2"][0][1], rows[1][1], scale=0.2)
    assert rows[3][2] is None
