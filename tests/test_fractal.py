"""Published goldens of the trainability fractal (arXiv 2402.06184): scales, per-layer rates, convergence measure.

The arrays in ``fractal/`` are drawn as the paper's published code draws them (seed 0).
"""

from pathlib import Path

import numpy as np
import pytest

import fastbp
from fastbp.sweep import loads

FOLDER = Path(__file__).parent / "fractal"


def sweep_of(name, steps, grids, dtype="float64", scale=None):
    """One hidden layer of tanh without biases, multipliers sqrt(2) / sqrt(n) and 1 / n, as the paper has it."""
    arrays = np.load(FOLDER / f"{name}.npz")
    x, y, W1, W2 = (arrays[key] for key in ("x", "y", "W1", "W2"))
    n = len(W1)
    text = f"""
name = "{name}"
[network]
layers = [{n}, {n}, 1]
hidden_activation = "tanh"
output_activation = "identity"
bias = false
scale = {scale or [np.sqrt(2).item() / np.sqrt(n).item(), 1 / n]}
[init.published]
W1 = {W1.tolist()}
W2 = {W2.reshape(n, 1).tolist()}
[data]
x = {x.reshape(-1, n).tolist()}
y = {y.reshape(-1, 1).tolist()}
[training]
steps = {steps}
dtype = "{dtype}"
"""
    for rates in grids:
        text += f"[[grid]]\nlearning_rate_1 = [{rates[0]}]\nlearning_rate_2 = [{rates[1]}]\n"
    return loads(text)


@pytest.mark.parametrize(
    ("name", "steps", "rates", "loss_first", "convergence"),
    [
        ("tanh_w8", 100, (1.0, 1.0), 0.9821396622641352, -82.40230264478275),
        ("tanh_w8", 100, (1000.0, 100.0), 0.9821396622641352, 1.376475834570698),
        ("single_w16", 500, (1.0, 1.0), 0.3170585722540862, -3.6666471853092526),
        ("tanh_w16", 20, (1.0, 1.0), 1.0872451432900097, -19.751092178259324),
    ],
)
def test_goldens(tmp_path, name, steps, rates, loss_first, convergence):
    runs = fastbp.run(sweep_of(name, steps, [rates]), tmp_path / name).to_pandas()
    assert runs.loss_first[0] == pytest.approx(loss_first, rel=1e-12)
    # 1000, 100 lies close to the boundary, where rounding is amplified.
    assert runs.convergence[0] == pytest.approx(convergence, rel=1e-12 if rates[0] == 1.0 else 1e-8)
    assert (runs.convergence[0] < 0) == (convergence < 0)


def test_named_parametrisations_are_their_numbers(tmp_path):
    named = fastbp.run(sweep_of("tanh_w8", 5, [(1.0, 1.0)], scale='"mean_field"'), tmp_path / "named")
    numbers = fastbp.run(
        sweep_of("tanh_w8", 5, [(1.0, 1.0)], scale=[(1 / np.sqrt(8)).item(), 1 / 8]), tmp_path / "numbers"
    )
    ntk = fastbp.run(sweep_of("tanh_w8", 5, [(1.0, 1.0)], scale='"ntk"'), tmp_path / "ntk")
    both = fastbp.run(sweep_of("tanh_w8", 5, [(1.0, 1.0)], scale=(1 / np.sqrt(8)).item()), tmp_path / "both")
    assert named.to_pandas().loss_last[0] == numbers.to_pandas().loss_last[0]
    assert ntk.to_pandas().loss_last[0] == both.to_pandas().loss_last[0]
    assert named.to_pandas().loss_last[0] != ntk.to_pandas().loss_last[0]


def test_scale_is_an_axis_of_all_layers_and_of_one(tmp_path):
    sweep = sweep_of("tanh_w8", 3, [(1.0, 1.0)])
    swept = loads(
        sweep.text
        + 'scale = [0.25, "ntk", [0.5, 0.125]]\n[[grid]]\nlearning_rate_1 = [1]\nscale_2 = [1, 2]\n'
        "learning_rate_2 = [1]\n"
    )
    runs = fastbp.run(swept, tmp_path / "swept").to_pandas()
    assert runs.scale[:3].tolist() == ["0.25", "ntk", "[0.5, 0.125]"]
    ntk, published = (1 / np.sqrt(8)).item(), (np.sqrt(2) / np.sqrt(8)).item()
    scales = ([0.25, 0.25], [ntk, ntk], [0.5, 0.125], [published, 1.0], [published, 2.0])
    for number, scale in enumerate(scales):
        alone = fastbp.run(sweep_of("tanh_w8", 3, [(1.0, 1.0)], scale=scale), tmp_path / str(number))
        assert alone.to_pandas().loss_last[0] == runs.loss_last[number]
