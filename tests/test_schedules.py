import numpy as np
import pytest
import reference
from runs import DTYPES, MACHINES, on, pack, unpack, width_of

from fastbp.kernels.lanes import rows
from fastbp.kernels.schedules import SCHEDULES, set_factor

N_RUNS, STEPS = 24, 60
# Own hyperparameters of the runs, in turn.
VALUES = {
    "decay_steps": [1.0, 7.0, 20.0, 2.5, 1000.0],
    "decay_rate": [0.1, 0.5, 0.97, 1.0],
    "final_factor": [0.0, 0.1, 0.3, 1.0, 1.7],
}
WARMUPS = [0.0, 1.0, 5.0, 100.0]
OUTSIDE = [-1, -(2**40), len(SCHEDULES), 2**40]
TOLERANCE = {np.float64: 1e-13, np.float32: 1e-5}

machines = pytest.mark.parametrize("machine", MACHINES)
dtypes = pytest.mark.parametrize("dtype", DTYPES)
each_schedule = pytest.mark.parametrize("name", SCHEDULES)


def loop(kind, factor, warmup, h, path, n_steps):
    for block in range(len(path)):
        kept = rows(path, block)
        for t in range(n_steps):
            set_factor(kind, (rows(factor, block), t, rows(warmup, block)[0], rows(h, block)))
            kept[t] = rows(factor, block)[0]


def factors(machine, kind, warmup, h, dtype, n_steps=STEPS):
    """Give the factor of each run and step, (n_runs, n_steps); warmup is (n_runs,), h (n_runs, n_own)."""
    n_runs = len(warmup)
    columns = np.zeros((n_runs, 1)), warmup[:, None], h, np.zeros((n_runs, n_steps))
    blocks = [pack(values, width_of(machine, dtype), dtype) for values in columns]
    on(machine, loop)(kind, *blocks, n_steps)
    return unpack(blocks[-1], n_runs)


def kind_of(name):
    return list(SCHEDULES).index(name)


def own_of(name, dtype):
    """Give (n_runs, n_own) hyperparameters, all values of each."""
    columns = [np.resize(VALUES[own], N_RUNS) for own in SCHEDULES[name].defaults]
    return np.column_stack(columns or [np.zeros(N_RUNS)]).astype(dtype)


@dtypes
@machines
@pytest.mark.parametrize("warmup", WARMUPS)
@each_schedule
def test_factor_of_the_textbook(name, warmup, machine, dtype):
    h = own_of(name, dtype)
    got = factors(machine, kind_of(name), np.full(N_RUNS, warmup), h, dtype)
    assert got.dtype == dtype
    for run in range(N_RUNS):
        own = dict(zip(SCHEDULES[name].defaults, map(float, h[run]), strict=False)) | {"warmup_steps": warmup}
        expected = [reference.factor(name, t, own) for t in range(STEPS)]
        np.testing.assert_allclose(got[run], expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] / 1e3)


@dtypes
@machines
@each_schedule
def test_exact_at_the_ends(name, machine, dtype):
    h = own_of(name, dtype)
    got = factors(machine, kind_of(name), np.zeros(N_RUNS), h, dtype)
    np.testing.assert_array_equal(got[:, 0], 1)
    if "final_factor" in SCHEDULES[name].defaults:
        for run in range(N_RUNS):
            over = np.arange(STEPS) >= h[run, 0]
            np.testing.assert_array_equal(got[run, over], h[run, 1])


@dtypes
@machines
@each_schedule
def test_warm_up_of_each_run(name, machine, dtype):
    warmup = np.resize([0.0, 1.0, 4.0, 10.0], N_RUNS)
    h = own_of(name, dtype)
    got = factors(machine, kind_of(name), warmup, h, dtype)
    cold = factors(machine, kind_of(name), np.zeros(N_RUNS), h, dtype)
    for run, n in enumerate(warmup.astype(int)):
        np.testing.assert_allclose(got[run, :n], np.arange(1, n + 1) / max(n, 1), rtol=1e-7)
        np.testing.assert_array_equal(got[run, n:], cold[run, : STEPS - n])
        assert n == 0 or got[run, n - 1] == 1


@dtypes
@machines
@pytest.mark.parametrize("kind", OUTSIDE)
def test_a_kind_outside_the_table_gives_nan(kind, machine, dtype):
    assert np.isnan(factors(machine, kind, np.zeros(N_RUNS), own_of("step", dtype), dtype)).all()


def test_every_entry_has_its_textbook():
    assert set(reference.SCHEDULE) == set(SCHEDULES)
    for schedule in SCHEDULES.values():
        assert schedule.formula
        assert set(schedule.defaults) <= set(VALUES)
