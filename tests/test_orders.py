import numpy as np
import pytest
from runs import batches_of, random_experiment

from fastbp.kernels import orders
from fastbp.kernels.orders import ORDERS, Orders, epoch_size


def batches(name, seed, n_samples, batch_size, steps):
    """Give the samples of each step, as the loop of steps takes them."""
    given, found = Orders(name, seed, n_samples, batch_size, steps), []
    for step in range(steps):
        samples, first_epoch, stride, end = given.at(step)
        assert end is None or end > step
        epoch, batch = divmod(step, given.n_batches)
        first = (epoch - first_epoch) * stride + batch * batch_size
        count = min(batch_size, epoch_size(ORDERS[name], n_samples, batch_size) - batch * batch_size)
        found.append(samples[first : first + count])
        assert len(found[-1]) == count
    return found


SHAPES = [(10, 3), (10, 5), (10, 10), (1, 1), (7, 1), (100, 32)]
each_order = pytest.mark.parametrize("name", ORDERS)
shapes = pytest.mark.parametrize(("n_samples", "batch_size"), SHAPES)


@each_order
@shapes
@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_batches_are_those_of_the_documentation(seed, n_samples, batch_size, name):
    steps = 5 * -(-n_samples // batch_size) + 1
    found = batches(name, seed, n_samples, batch_size, steps)
    options = {"batch_size": batch_size, "batch_order": name, "batch_seed": seed}
    shape = random_experiment(0, [1, 1], ["tanh"], "mse", True, n_samples, 1, steps, **options).structure
    for got, expected in zip(found, batches_of(shape), strict=True):
        np.testing.assert_array_equal(got, expected)


@shapes
def test_an_epoch_of_shuffled_is_a_permutation_by_the_raw_numbers(n_samples, batch_size):
    n_batches, seed = -(-n_samples // batch_size), 12
    found = batches("shuffled", seed, n_samples, batch_size, 6 * n_batches)
    padded = -(-n_samples // 4) * 4
    raw = (
        np.random.Philox(key=np.array([seed, 1], np.uint64))
        .random_raw(6 * padded)
        .reshape(6, padded)[:, :n_samples]
    )
    for epoch in range(6):
        samples = np.concatenate(found[epoch * n_batches : (epoch + 1) * n_batches])
        assert sorted(samples) == list(range(n_samples))
        np.testing.assert_array_equal(samples, np.argsort(raw[epoch], kind="stable"))


@each_order
@shapes
def test_the_last_batch_holds_what_is_left(n_samples, batch_size, name):
    n_batches = -(-n_samples // batch_size)
    sizes = [len(batch) for batch in batches(name, 0, n_samples, batch_size, 2 * n_batches)]
    left = n_samples - batch_size * (n_batches - 1)
    last = batch_size if ORDERS[name].replaces else left
    assert sizes == [*[batch_size] * (n_batches - 1), last] * 2


@each_order
@shapes
@pytest.mark.parametrize("places", [1, 30, 64, 1000])
def test_chunks_agree_with_one_long_draw(places, n_samples, batch_size, name, monkeypatch):
    steps = 40
    expected = batches(name, 5, n_samples, batch_size, steps)
    monkeypatch.setattr(orders, "PLACES", places)
    for got, whole in zip(batches(name, 5, n_samples, batch_size, steps), expected, strict=True):
        np.testing.assert_array_equal(got, whole)


@each_order
def test_a_longer_run_begins_as_a_shorter_one(name):
    short, long = (batches(name, 3, 11, 4, steps) for steps in (7, 50))
    for got, expected in zip(long, short, strict=False):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("name", [name for name in ORDERS if name != "in_order"])
def test_another_seed_another_order(name):
    one, other = (np.concatenate(batches(name, seed, 20, 20, 3)) for seed in (0, 1))
    assert (one != other).any()
    assert (one[:20] != one[20:40]).any()


@pytest.mark.parametrize("n_samples", [3, 10, 97])
def test_with_replacement_takes_all_alike(n_samples):
    counts = np.bincount(
        np.concatenate(batches("with_replacement", 4, n_samples, 32, 2000)), minlength=n_samples
    )
    assert counts.sum() == 64000
    mean = counts.sum() / n_samples
    chi_square = ((counts - mean) ** 2 / mean).sum()
    # Of mean n - 1 and variance 2 (n - 1): five of its deviations.
    assert abs(chi_square - (n_samples - 1)) < 5 * np.sqrt(2 * (n_samples - 1))


def test_shuffled_puts_each_sample_anywhere():
    first = [batch[0] for batch in batches("shuffled", 4, 5, 5, 5000)]
    assert np.abs(np.bincount(first) - 1000).max() < 5 * np.sqrt(1000)


def test_few_epochs_are_drawn_alone():
    assert Orders("shuffled", 0, 100, 10, 15).epochs == 2
    assert Orders("shuffled", 0, 2 * orders.PLACES, 10, 15).epochs == 1


def test_every_entry_says_its_formula():
    assert all(order.formula for order in ORDERS.values())
