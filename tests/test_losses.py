from functools import cache

import mpmath
import numpy as np
import pytest
import reference
from runs import DTYPES, MACHINES, on, pack, targets_of, unpack, width_of

from fastbp.kernels.lanes import rows
from fastbp.kernels.losses import LOSSES, add_loss, weight
from fastbp.kernels.metrics import SCORES


def mean(terms):
    terms = list(terms)
    return sum(terms) / len(terms)


def softmax(z):
    return [mpmath.exp(p) / sum(mpmath.exp(q) for q in z) for p in z]


def huber(d, h):
    # The integral of the slope cut at delta.
    cut = max(-h[0], min(d, h[0]))
    return d * cut - cut * cut / 2


# The loss of one sample as the library of the same name has it: of outputs a, or of z where the loss names the
# activation; targets y, own hyperparameters h.
FORMULAS = {
    "mse": lambda a, y, h: mean((p - q) ** 2 for p, q in zip(a, y, strict=True)),
    "half_sse": lambda a, y, h: sum((p - q) ** 2 / 2 for p, q in zip(a, y, strict=True)),
    "mae": lambda a, y, h: mean(abs(p - q) for p, q in zip(a, y, strict=True)),
    "huber": lambda a, y, h: mean(huber(p - q, h) for p, q in zip(a, y, strict=True)),
    "log_cosh": lambda a, y, h: mean(mpmath.log(mpmath.cosh(p - q)) for p, q in zip(a, y, strict=True)),
    "binary_cross_entropy": lambda z, y, h: mean(
        -q * mpmath.log(1 / (1 + mpmath.exp(-p))) - (1 - q) * mpmath.log(1 / (1 + mpmath.exp(p)))
        for p, q in zip(z, y, strict=True)
    ),
    "cross_entropy": lambda z, y, h: (
        -sum(q * mpmath.log(p) for p, q in zip(softmax(z), y, strict=True) if q != 0)
    ),
    "hinge": lambda a, y, h: mean(max(0, 1 - (2 * (q > 0) - 1) * p) for p, q in zip(a, y, strict=True)),
}
OUTSIDE = [-1, -(2**40), 100, 2**40]
TOLERANCE = {np.float64: 1e-14, np.float32: 1e-6}
SIZES = [1.0, 1000.0]  # of what comes before the last activation

machines = pytest.mark.parametrize("machine", MACHINES)
dtypes = pytest.mark.parametrize("dtype", DTYPES)
each_loss = pytest.mark.parametrize("name", LOSSES)


def loop(kind, z, a, y, delta, h, factor, total, output, target, n_outputs):
    for block in range(len(z)):
        L, out, own = rows(total, block), rows(delta, block), rows(h, block)
        sample = rows(z, block), rows(a, block), rows(y, block)
        L[0] = add_loss(
            kind, (sample[0], sample[1], sample[2], out, own, factor, L[0], output, target, n_outputs)
        )


def add(machine, kind, z, a, y, h, factor, before=0.0, output=0, target=0, n_outputs=None):
    """Give the total (from `before` on) and delta (7 before) of some runs: z, a and y are (n_runs, n_units)."""
    n_outputs = z.shape[1] if n_outputs is None else n_outputs
    columns = z, a, y, np.full_like(z, 7), h, np.full((len(z), 1), before)
    z, a, y, delta, h, total = (pack(values, width_of(machine, z.dtype), z.dtype) for values in columns)
    on(machine, loop)(kind, z, a, y, delta, h, factor, total, output, target, n_outputs)
    return unpack(total, len(columns[0]))[:, 0], unpack(delta, len(columns[0]))


def kind_of(name):
    return list(LOSSES).index(name)


def outputs(name, dtype, n_outputs, size=1.0):
    """Give z, a fitting activation's a, targets and own hyperparameters of some runs."""
    n_runs = 40 if size == 1 else 10
    random = np.random.default_rng(n_outputs)
    z = random.normal(0, size, (n_runs, n_outputs)).astype(dtype)
    z[0] = z[0] / np.abs(z[0]) * size * 1.25  # no kink
    with np.errstate(over="ignore"):
        a = reference.VALUE[LOSSES[name].output or "identity"](z, reference.OWN).astype(dtype)
    y = targets_of(random, name, z.shape).astype(dtype)
    if size > 1 and LOSSES[name].targets == "probability":
        y = np.round(y)  # a large z less a share of it has lost its last digits
    h = np.array(list(LOSSES[name].defaults.values()) or [np.nan])
    h = (h * random.uniform(0.2, 2.0, (n_runs, 1))).astype(dtype)
    return z, a, y, h


@cache
def exact(name, dtype, n_outputs, size):
    z, _, y, h = outputs(name, dtype, n_outputs, size)
    formula, step, values, slopes = FORMULAS[name], mpmath.mpf("1e-20"), [], []
    with mpmath.workdps(1000 if size > 1 and LOSSES[name].output else 60):
        for run in range(len(z)):
            units, targets, own = ([mpmath.mpf(float(v)) for v in row[run]] for row in (z, y, h))
            values.append(float(formula(units, targets, own)))
            for j in range(n_outputs):
                up, down = ([u + s * step * (i == j) for i, u in enumerate(units)] for s in (1, -1))
                slopes.append(float((formula(up, targets, own) - formula(down, targets, own)) / (2 * step)))
    return np.array(values), np.reshape(slopes, z.shape)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("n_outputs", [1, 3])
@dtypes
@machines
@each_loss
def test_value_and_slope(name, machine, dtype, n_outputs, size):
    z, a, y, h = outputs(name, dtype, n_outputs, size)
    factor = weight(name, n_outputs)
    total, delta = add(machine, kind_of(name), z, a, y, h, factor, before=0.25)
    values, slopes = exact(name, dtype, n_outputs, size)
    assert total.dtype == delta.dtype == dtype
    np.testing.assert_allclose((total - 0.25) * factor, values, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    np.testing.assert_allclose(delta, slopes, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("name", [name for name in LOSSES if LOSSES[name].output])
@dtypes
@machines
def test_from_z_whatever_its_size(name, machine, dtype):
    # The loss of a wrong answer is its z, of a right one what is left of exp(-z), never infinite.
    z = np.array([[1000.0, -1000.0], [-1000.0, 1000.0], [1e30, -1e30], [-20.0, 20.0]], dtype)
    with np.errstate(over="ignore"):
        a = reference.VALUE[LOSSES[name].output](z, reference.OWN).astype(dtype)
    y = np.tile([1, 0], (4, 1)).astype(dtype)
    total, delta = add(machine, kind_of(name), z, a, y, np.zeros((4, 1)), 1.0)
    if name == "cross_entropy":
        expected = [0, 2000, 0, 40 + np.log1p(np.exp(-40.0))]
    else:
        expected = [0, 2000, 0, 40 + 2 * np.log1p(np.exp(-20.0))]
    np.testing.assert_allclose(total, expected, rtol=TOLERANCE[dtype])
    wrong = np.array([[0, 0], [-1, 1], [0, 0], [-1, 1]])
    np.testing.assert_allclose(delta, wrong, atol=1e-8 if dtype == np.float64 else 1e-7)


@dtypes
@machines
def test_cross_entropy_of_probabilities(machine, dtype):
    # Targets need not add up to 1; the slope is that of the formula all the same.
    z = np.random.default_rng(1).normal(size=(40, 3)).astype(dtype)
    y = np.random.default_rng(2).uniform(size=(40, 3)).astype(dtype)
    a = reference.softmax(z.astype(np.float64)).astype(dtype)
    total, delta = add(machine, kind_of("cross_entropy"), z, a, y, np.zeros((40, 1)), 1.0)
    expected = -(y.astype(float) * np.log(reference.softmax(z.astype(float)))).sum(axis=1)
    np.testing.assert_allclose(total, expected, rtol=TOLERANCE[dtype])
    slopes = reference.softmax(z.astype(float)) * y.sum(axis=1, dtype=float, keepdims=True) - y
    np.testing.assert_allclose(delta, slopes, atol=TOLERANCE[dtype])


@dtypes
@machines
def test_hinge_takes_zero_for_minus_one(machine, dtype):
    a = np.random.default_rng(3).normal(0, 2, (40, 3)).astype(dtype)
    signs = np.random.default_rng(4).choice([-1.0, 1.0], a.shape)
    h, kind = np.zeros((40, 1)), kind_of("hinge")
    total, delta = add(machine, kind, a, a, signs.astype(dtype), h, 0.5)
    other, other_delta = add(machine, kind, a, a, np.maximum(signs, 0).astype(dtype), h, 0.5)
    np.testing.assert_array_equal(total, other)
    np.testing.assert_array_equal(delta, other_delta)
    np.testing.assert_allclose(total, np.maximum(1 - signs * a.astype(float), 0).sum(1), rtol=3e-7)
    np.testing.assert_array_equal(delta, np.where(signs * a < 1, -signs, 0) / 2)


@dtypes
@machines
def test_huber_on_both_sides_of_delta(machine, dtype):
    d = np.array([[-3.0, -2.0, -1.5, 0.0, 1.5, 2.0, 3.0]], dtype).T
    total, delta = add(machine, kind_of("huber"), d, d, np.zeros_like(d), np.full_like(d, 2), 1.0)
    np.testing.assert_array_equal(total, [4.0, 2.0, 1.125, 0, 1.125, 2.0, 4.0])
    np.testing.assert_array_equal(delta[:, 0], [-2, -2, -1.5, 0, 1.5, 2, 2])


@dtypes
@machines
@each_loss
def test_right_answers_and_kinks_have_no_slope(name, machine, dtype):
    y = np.array([[1.0, 1.0], [1.0, 1.0]], dtype)
    _, delta = add(machine, kind_of(name), y, y, y, np.ones((2, 1)), 1.0)
    if LOSSES[name].output != "softmax":
        assert (delta == 0).all()


@dtypes
@machines
@each_loss
def test_not_a_number_shows(name, machine, dtype):
    z = np.array([[np.nan, 1.0], [1.0, np.nan]], dtype)
    y = np.array([[1.0, 0.0], [1.0, 0.0]], dtype)
    total, _ = add(machine, kind_of(name), z, z, y, np.ones((2, 1)), 1.0)
    assert np.isnan(total).all()


@machines
@each_loss
def test_only_the_outputs_count(name, machine):
    z, a, y, h = outputs(name, np.float64, 6)
    total, delta = add(machine, kind_of(name), z, a, y, h, 0.5, 1.0, output=3, target=1, n_outputs=2)
    part = z[:, 3:5], a[:, 3:5], y[:, 1:3]
    alone, delta_alone = add(machine, kind_of(name), *(values.copy() for values in part), h, 0.5, 1.0)
    np.testing.assert_array_equal(total, alone)
    np.testing.assert_array_equal(delta[:, 3:5], delta_alone)
    assert (delta[:, [0, 1, 2, 5]] == 7).all()


@dtypes
@machines
@pytest.mark.parametrize("kind", OUTSIDE)
def test_a_loss_outside_the_table_gives_nan(kind, machine, dtype):
    total, delta = add(machine, kind, *outputs("mse", dtype, 3), 1.0)
    assert np.isnan(total).all()
    assert np.isnan(delta).all()


def test_every_entry_says_what_it_is():
    assert set(FORMULAS) == set(LOSSES)
    for name, loss in LOSSES.items():
        assert loss.formula
        assert loss.score in SCORES
        assert loss.targets in ("number", "probability", "class", "sign")
        assert loss.output == reference.OUTPUT.get(name, "")
        assert loss.kinked == (name in reference.LOSS_KINKED)
        assert (loss.terms is None) == (loss.value is not None) == (loss.slope is not None)
