import numpy as np
import pytest
import reference
from runs import DTYPES, MACHINES, on, pack, unpack, width_of

from fastbp.kernels.lanes import rows, rows_from
from fastbp.kernels.optimizers import (
    N_COEFFICIENTS,
    OPTIMIZERS,
    PRODUCT_1,
    PRODUCT_2,
    begin,
    n_state_rows,
    update,
)

N_RUNS, N_PARAMETERS, STEPS = 20, 5, 30
# Own hyperparameters are drawn from these.
BETWEEN = {
    "momentum": (0.0, 0.99),
    "rho": (0.5, 0.99),
    "beta_1": (0.0, 0.95),
    "beta_2": (0.9, 0.9999),
    "epsilon": (1e-8, 1e-2),
    "momentum_decay": (0.0, 0.1),
}
OUTSIDE = [-1, -(2**40), len(OPTIMIZERS), 2**40]
TOLERANCE = {np.float64: 1e-13, np.float32: 2e-5}

machines = pytest.mark.parametrize("machine", MACHINES)
dtypes = pytest.mark.parametrize("dtype", DTYPES)
each_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


def loop(kind, w, g, eta, h, state, path, n_parameters, n_steps, first, last):
    for block in range(len(w)):
        weights, kept = rows(w, block), rows(path, block)
        own, c = rows(h, block), rows(state, block)
        m, v = rows_from(c, N_COEFFICIENTS), rows_from(c, N_COEFFICIENTS + n_parameters)
        for t in range(n_steps):
            gradient = rows_from(rows(g, block), t * n_parameters)
            begin(kind, (own, c, t))
            update(kind, (weights, gradient, m, v, rows(eta, block)[0], own, c, first, last))
            for p in range(n_parameters):
                kept[t * n_parameters + p] = weights[p]


def descend(machine, kind, w, g, eta, h, first=0, last=N_PARAMETERS):
    """Give the weights after each step, (n_runs, n_steps, n_parameters); gradients g are of the same shape."""
    n_runs, n_steps, n_parameters = g.shape
    state = np.zeros((n_runs, N_COEFFICIENTS + 2 * n_parameters))
    state[:, [PRODUCT_1, PRODUCT_2]] = 1.0
    columns = w, g.reshape(n_runs, -1), eta[:, None], h, state, np.zeros((n_runs, n_steps * n_parameters))
    blocks = [pack(values, width_of(machine, w.dtype), w.dtype) for values in columns]
    on(machine, loop)(kind, *blocks, n_parameters, n_steps, first, last)
    return unpack(blocks[-1], n_runs).reshape(g.shape)


def kind_of(name):
    return list(OPTIMIZERS).index(name)


def own_names(name):
    return [own for own in OPTIMIZERS[name].defaults if own != "weight_decay"]


def problem(name, dtype):
    """Give weights, gradients, learning rates and own hyperparameters, the defaults first."""
    random = np.random.default_rng(8)
    w, g = random.normal(size=(N_RUNS, N_PARAMETERS)), random.normal(size=(N_RUNS, STEPS, N_PARAMETERS))
    g[1] *= 1e-3
    g[2, 5:] = 0.0
    eta = random.uniform(0, 0.1, N_RUNS)
    h = np.column_stack(
        [random.uniform(*BETWEEN[own], N_RUNS) for own in own_names(name)] or [np.zeros(N_RUNS)]
    )
    if own_names(name):
        h[0] = [OPTIMIZERS[name].defaults[own] for own in own_names(name)]
    return tuple(values.astype(dtype) for values in (w, g, eta, h))


@dtypes
@machines
@each_optimizer
def test_steps_of_the_textbook(name, machine, dtype):
    w, g, eta, h = problem(name, dtype)
    path = descend(machine, kind_of(name), w, g, eta, h)
    assert path.dtype == dtype
    for run in range(N_RUNS):
        own = dict(zip(own_names(name), map(float, h[run]), strict=False))
        weights, m, v = w[run].astype(float), np.zeros(N_PARAMETERS), np.zeros(N_PARAMETERS)
        for t in range(STEPS):
            weights, m, v = reference.UPDATE[name](
                weights, g[run, t].astype(float), m, v, float(eta[run]), t + 1, own
            )
            error = np.abs(path[run, t] - weights).max()
            assert error <= TOLERANCE[dtype] * max(np.abs(weights).max(), 1.0), (run, t)


@dtypes
@machines
@each_optimizer
def test_no_gradient_no_step(name, machine, dtype):
    w, g, eta, h = problem(name, dtype)
    path = descend(machine, kind_of(name), w, np.zeros_like(g), eta, h)
    np.testing.assert_array_equal(path, np.broadcast_to(w[:, None], g.shape))


@dtypes
@machines
@each_optimizer
def test_not_a_number_stays_one(name, machine, dtype):
    w, g, eta, h = problem(name, dtype)
    g[:, 3, 1] = np.nan
    path = descend(machine, kind_of(name), w, g, eta, h)
    assert np.isnan(path[:, 3:, 1]).all()
    assert np.isfinite(path[:, :, [0, 2, 3, 4]]).all()


@machines
@each_optimizer
def test_other_parameters_are_left_alone(name, machine):
    w, g, eta, h = problem(name, np.float64)
    path = descend(machine, kind_of(name), w, g, eta, h, first=1, last=4)
    np.testing.assert_array_equal(path[:, -1, [0, 4]], w[:, [0, 4]])
    np.testing.assert_array_equal(path[:, :, 1:4], descend(machine, kind_of(name), w, g, eta, h)[:, :, 1:4])


@dtypes
@machines
@pytest.mark.parametrize("kind", OUTSIDE)
def test_a_kind_outside_the_table_gives_nan(kind, machine, dtype):
    assert np.isnan(descend(machine, kind, *problem("sgd", dtype))).all()


def test_every_entry_has_its_textbook():
    assert set(reference.UPDATE) == set(OPTIMIZERS)
    assert {name for name, optimizer in OPTIMIZERS.items() if optimizer.decoupled} == reference.DECOUPLED
    for name, optimizer in OPTIMIZERS.items():
        assert optimizer.formula
        assert set(own_names(name)) <= set(BETWEEN)
        assert optimizer.defaults.get("weight_decay", 0.0) == reference.DEFAULT_DECAY.get(name, 0.0)


def test_state():
    assert n_state_rows("sgd", 7) == 0
    for name, optimizer in OPTIMIZERS.items():
        if optimizer.n_moments:
            assert n_state_rows(name, 7) == N_COEFFICIENTS + 7 * optimizer.n_moments
