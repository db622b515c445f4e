import mpmath
import numba
import numpy as np
import pytest
from runs import DTYPES, MACHINES

from fastbp.kernels import cpu
from fastbp.kernels.batch import pack
from fastbp.kernels.lanes import rows
from fastbp.kernels.losses import LOSSES, add_loss, weight
from fastbp.kernels.optimizers import OPTIMIZERS, update

# The loss of one sample's outputs, over (n_outputs,), as the library of the same name has it.
FORMULAS = {
    "mse": lambda a, y: sum((p - q) ** 2 for p, q in zip(a, y, strict=True)) / len(a),
    "half_sse": lambda a, y: sum((p - q) ** 2 / 2 for p, q in zip(a, y, strict=True)),
}
UPDATES = {"sgd": lambda w, g, eta: w - eta * g}
OUTSIDE = [-1, -(2**40), 100, 2**40]
TOLERANCE = {np.float64: 1e-14, np.float32: 1e-6}


@numba.njit
def loss_in_lanes(kind, a, y, delta, factor, total, output, target, n):
    for block in range(len(a)):
        L, out = rows(total, block), rows(delta, block)
        L[0] = add_loss(kind, (rows(a, block), rows(y, block), out, factor, L[0], output, target, n))


@numba.njit
def update_in_lanes(kind, w, g, eta, first, last):
    for block in range(len(w)):
        update(kind, (rows(w, block), rows(g, block), rows(eta, block)[0], first, last))


def add(machine, kind, a, y, factor, before, output=0, target=0, n=None):
    """Give the total and delta of some runs: a and y are (n_runs, n_units)."""
    n = a.shape[1] if n is None else n
    if machine == "interpreter":
        delta, totals = np.full_like(a, 7), []
        for run in range(len(a)):
            row = a[run], y[run], delta[run], factor, before, output, target, n
            totals.append(add_loss(kind, row))
        return np.array(totals, a.dtype), delta
    width = cpu.width(a.dtype)
    columns = a, y, np.full_like(a, 7), np.full((len(a), 1), before)
    A, Y, delta, total = (pack(values, width, a.dtype) for values in columns)
    loss_in_lanes(kind, A, Y, delta, factor, total, output, target, n)
    flat = [block.transpose(0, 2, 1).reshape(-1, block.shape[1])[: len(a)] for block in (total, delta)]
    return flat[0][:, 0], flat[1]


def outputs(dtype, n_outputs):
    return np.random.default_rng(n_outputs).normal(size=(2, 40, n_outputs)).astype(dtype)


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", LOSSES)
def test_value_and_slope(name, machine, dtype, n_outputs):
    a, y = outputs(dtype, n_outputs)
    factor = weight(name, 1, n_outputs)
    total, delta = add(machine, list(LOSSES).index(name), a, y, factor, 0.25)
    assert total.dtype == delta.dtype == dtype
    formula, h = FORMULAS[name], mpmath.mpf("1e-20")
    with mpmath.workdps(60):
        for run in range(len(a)):
            units, targets = ([mpmath.mpf(float(v)) for v in values[run]] for values in (a, y))
            expected = float(formula(units, targets))
            assert total[run] == pytest.approx(0.25 + expected / factor, rel=TOLERANCE[dtype])
            for j in range(n_outputs):
                up, down = ([u + s * h * (i == j) for i, u in enumerate(units)] for s in (1, -1))
                slope = float((formula(up, targets) - formula(down, targets)) / (2 * h))
                assert delta[run, j] == pytest.approx(slope, rel=TOLERANCE[dtype], abs=TOLERANCE[dtype])


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", LOSSES)
def test_only_the_outputs_count(name, machine):
    a, y = outputs(np.float64, 6)
    kind = list(LOSSES).index(name)
    total, delta = add(machine, kind, a, y, 0.5, 1.0, output=3, target=1, n=2)
    alone, delta_alone = add(machine, kind, a[:, 3:5].copy(), y[:, 1:3].copy(), 0.5, 1.0)
    np.testing.assert_array_equal(total, alone)
    np.testing.assert_array_equal(delta[:, 3:5], delta_alone)
    assert (delta[:, [0, 1, 2, 5]] == 7).all()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("n_outputs", [1, 4])
@pytest.mark.parametrize("n_samples", [1, 5])
def test_weight_makes_the_mean(n_samples, n_outputs, name):
    a, y = np.random.default_rng(0).normal(size=(2, n_samples, n_outputs))
    terms = sum(LOSSES[name].value(p, q) for p, q in zip(a.flat, y.flat, strict=True))
    mean = np.mean([FORMULAS[name](p, q) for p, q in zip(a, y, strict=True)])
    assert terms * weight(name, n_samples, n_outputs) == pytest.approx(mean, rel=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("kind", OUTSIDE)
def test_a_loss_outside_the_table_gives_nan(kind, machine, dtype):
    a, y = outputs(dtype, 3)
    total, delta = add(machine, kind, a, y, 1.0, 0.0)
    assert np.isnan(total).all()
    assert np.isnan(delta).all()


def updated(machine, kind, w, g, eta, first, last):
    if machine == "interpreter":
        w = w.copy()
        for run in range(len(w)):
            update(kind, (w[run], g[run], eta[run], first, last))
        return w
    width = cpu.width(w.dtype)
    W, G, rate = (pack(values, width, w.dtype) for values in (w, g, eta[:, None]))
    update_in_lanes(kind, W, G, rate, first, last)
    return W.transpose(0, 2, 1).reshape(-1, w.shape[1])[: len(w)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_update(name, machine, dtype):
    w, g = outputs(dtype, 5)
    eta = np.random.default_rng(9).uniform(0, 1, len(w)).astype(dtype)
    got = updated(machine, list(OPTIMIZERS).index(name), w, g, eta, 1, 4)
    assert got.dtype == dtype
    expected = UPDATES[name](*(v.astype(np.float64) for v in (w, g, eta[:, None])))
    np.testing.assert_allclose(got[:, 1:4], expected[:, 1:4], rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    np.testing.assert_array_equal(got[:, [0, 4]], w[:, [0, 4]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("kind", OUTSIDE)
def test_an_optimizer_outside_the_table_gives_nan(kind, machine, dtype):
    w, g = outputs(dtype, 3)
    assert np.isnan(updated(machine, kind, w, g, w[:, 0], 0, 3)).all()


def test_every_entry_says_its_formula():
    assert set(FORMULAS) == set(LOSSES)
    assert set(UPDATES) == set(OPTIMIZERS)
    for entry in (*LOSSES.values(), *OPTIMIZERS.values()):
        assert entry.formula
