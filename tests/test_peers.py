"""Training agrees, weight for weight, with what other libraries make of the same weights and data.

All in float64 over hundreds of steps. A library that is not installed is skipped.
"""

import numpy as np
import pytest
from runs import batches_of, random_experiment, reference, run

from fastbp.kernels.activations import ACTIVATIONS
from fastbp.kernels.losses import LOSSES
from fastbp.kernels.optimizers import OPTIMIZERS
from fastbp.kernels.schedules import SCHEDULES

# The other libraries' own warnings are theirs.
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]

STEPS = 200
LAYERS = (3, 5, 2)
TOLERANCE = 1e-9  # of the largest weight
RATES = {
    "sgd": 0.1,
    "momentum": 0.05,
    "nesterov": 0.05,
    "rmsprop": 0.003,
    "adagrad": 0.05,
    "adam": 0.01,
    "adamw": 0.01,
    "nadam": 0.01,
    "lion": 0.002,
}


def problem(
    activations=("tanh", "identity"),
    loss="mse",
    optimizer="sgd",
    rate=None,
    own=None,
    n_samples=12,
    **options,
):
    """Give an experiment of one run, all layers at one learning rate."""
    experiment = random_experiment(
        11, LAYERS, activations, loss, True, n_samples, 1, STEPS, optimizer=optimizer, own=own, **options
    )
    rates = np.full((1, 2), RATES[optimizer] if rate is None else rate)
    return experiment.with_(learning_rates=rates, scales=np.ones((1, 2)))


def difference(got, expected):
    """Give the largest difference of weights, relative to the largest weight."""
    return np.abs(np.asarray(got) - expected).max() / np.abs(expected).max()


def assert_same_path(experiment, path):
    """Hold the weights of some steps, by their number, to ours."""
    w = run(experiment, trace=True).w[0]
    assert np.abs(w[-1] - w[0]).max() > 0.05  # it has learnt something
    for step, weights in path.items():
        assert difference(w[step], weights) < TOLERANCE, step


KEPT = (1, 2, 10, 50, 100, STEPS)


def unflattened(experiment):
    """Give W and b of each layer."""
    return reference.split(experiment.layers, experiment.bias, experiment.w[0])


def flat(parameters):
    return np.concatenate([np.asarray(part).ravel() for part in parameters])


# PyTorch


@pytest.fixture
def torch():
    torch = pytest.importorskip("torch")
    before = torch.get_default_dtype()
    # NAdam keeps a number in the default dtype, whatever that of the weights.
    torch.set_default_dtype(torch.float64)
    yield torch
    torch.set_default_dtype(before)


TORCH_ACTIVATIONS = {
    "identity": lambda torch: lambda z: z,
    "sigmoid": lambda torch: torch.sigmoid,
    "tanh": lambda torch: torch.tanh,
    "relu": lambda torch: torch.relu,
    "leaky_relu": lambda torch: torch.nn.LeakyReLU(),
    "elu": lambda torch: torch.nn.ELU(),
    "selu": lambda torch: torch.nn.SELU(),
    "softplus": lambda torch: torch.nn.Softplus(),
    "softsign": lambda torch: torch.nn.Softsign(),
    "gelu": lambda torch: torch.nn.GELU(),
    "silu": lambda torch: torch.nn.SiLU(),
    "erf": lambda torch: torch.erf,
    "sin": lambda torch: torch.sin,
    "softmax": lambda torch: torch.nn.Softmax(dim=1),
}
# Of z where ours names the last activation, of outputs elsewhere.
TORCH_LOSSES = {
    "mse": lambda torch: torch.nn.MSELoss(),
    "half_sse": lambda torch: lambda a, y: torch.nn.MSELoss(reduction="sum")(a, y) / (2 * len(a)),
    "mae": lambda torch: torch.nn.L1Loss(),
    "huber": lambda torch: torch.nn.HuberLoss(delta=0.5),
    "binary_cross_entropy": lambda torch: torch.nn.BCEWithLogitsLoss(),
    "cross_entropy": lambda torch: torch.nn.CrossEntropyLoss(),
}
NOT_IN_TORCH = {"log_cosh", "hinge"}
TORCH_OPTIMIZERS = {
    "sgd": lambda optim, p, **o: optim.SGD(p, **o),
    "momentum": lambda optim, p, **o: optim.SGD(p, momentum=0.9, **o),
    "nesterov": lambda optim, p, **o: optim.SGD(p, momentum=0.9, nesterov=True, **o),
    "rmsprop": lambda optim, p, **o: optim.RMSprop(p, **o),
    "adagrad": lambda optim, p, **o: optim.Adagrad(p, **o),
    "adam": lambda optim, p, **o: optim.Adam(p, **o),
    "adamw": lambda optim, p, **o: optim.AdamW(p, **o),
    "nadam": lambda optim, p, **o: optim.NAdam(p, **o),
}


def torch_path(torch, experiment, schedule=None, clip=None, batches=None, **options):
    """Give the weights of the steps KEPT by PyTorch; `schedule` makes a scheduler of an optimizer."""
    x, y = (torch.tensor(values) for values in experiment.data(0))
    parameters = [torch.tensor(part, requires_grad=True) for pair in unflattened(experiment) for part in pair]
    functions = [TORCH_ACTIVATIONS[name](torch) for name in experiment.activations]
    if LOSSES[experiment.loss].output:
        functions[-1] = TORCH_ACTIVATIONS["identity"](torch)
    loss = TORCH_LOSSES[experiment.loss](torch)
    rate = float(experiment.learning_rates[0, 0])
    name = experiment.structure.optimizer
    optimizer = TORCH_OPTIMIZERS[name](torch.optim, parameters, lr=rate, **options)
    scheduler, path = schedule and schedule(optimizer), {}
    for step in range(1, experiment.steps + 1):
        chosen = slice(None) if batches is None else batches[step - 1]
        optimizer.zero_grad()
        a = x[chosen]
        for layer, function in enumerate(functions):
            a = function(a @ parameters[2 * layer] + parameters[2 * layer + 1])
        loss(a, y[chosen]).backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()
        if scheduler:
            scheduler.step()
        if step in KEPT:
            path[step] = flat([p.detach().numpy().copy() for p in parameters])
    return path


@pytest.mark.parametrize("name", TORCH_OPTIMIZERS)
def test_optimizers_of_pytorch(name, torch):
    experiment = problem(optimizer=name, decays=name == "adamw")
    assert_same_path(experiment, torch_path(torch, experiment))


@pytest.mark.parametrize("name", TORCH_OPTIMIZERS)
def test_weight_decay_of_pytorch(name, torch):
    experiment = problem(optimizer=name, decays=True, own={"weight_decay": 0.02})
    assert_same_path(experiment, torch_path(torch, experiment, weight_decay=0.02))


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("limit", [0.05, 0.5])
def test_clipping_of_pytorch(limit, name, torch):
    experiment = problem(optimizer=name, clips=True, own={"clip_norm": limit})
    assert_same_path(experiment, torch_path(torch, experiment, clip=limit))


def test_hyperparameters_of_pytorch(torch):
    own = {"beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-3, "momentum_decay": 0.02}
    experiment = problem(optimizer="nadam", own=own, rate=0.003)
    options = {"betas": (0.8, 0.99), "eps": 1e-3, "momentum_decay": 0.02}
    assert_same_path(experiment, torch_path(torch, experiment, **options))
    experiment = problem(optimizer="rmsprop", own={"rho": 0.9, "epsilon": 1e-2})
    assert_same_path(experiment, torch_path(torch, experiment, alpha=0.9, eps=1e-2))


TORCH_SCHEDULES = {
    "step": (
        {"decay_steps": 30, "decay_rate": 0.5},
        lambda lr, o: lr.StepLR(o, step_size=30, gamma=0.5),
    ),
    "exponential": (
        {"decay_steps": 1, "decay_rate": 0.99},
        lambda lr, o: lr.ExponentialLR(o, gamma=0.99),
    ),
    "cosine": (
        {"decay_steps": STEPS, "final_factor": 0.1},
        lambda lr, o: lr.CosineAnnealingLR(o, T_max=STEPS, eta_min=0.1 * o.param_groups[0]["lr"]),
    ),
    "linear": (
        {"decay_steps": 80, "final_factor": 0.2},
        lambda lr, o: lr.LinearLR(o, start_factor=1.0, end_factor=0.2, total_iters=80),
    ),
    "inverse_time": (
        {"decay_steps": 20, "decay_rate": 0.5},
        lambda lr, o: lr.LambdaLR(o, lambda t: 1 / (1 + 0.5 * t / 20)),
    ),
}


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
@pytest.mark.parametrize("name", TORCH_SCHEDULES)
def test_schedules_of_pytorch(name, optimizer, torch):
    own, schedule = TORCH_SCHEDULES[name]
    experiment = problem(optimizer=optimizer, schedule=name, own=own)
    path = torch_path(torch, experiment, lambda o: schedule(torch.optim.lr_scheduler, o))
    assert_same_path(experiment, path)


@pytest.mark.parametrize("optimizer", ["sgd", "nadam"])
def test_warm_up_of_pytorch(optimizer, torch):
    own = {"warmup_steps": 25, "decay_steps": 40, "decay_rate": 0.5}
    experiment = problem(optimizer=optimizer, schedule="exponential", warms_up=True, own=own)

    def factor(t):
        return (t + 1) / 25 if t < 25 else 0.5 ** ((t - 25) / 40)

    path = torch_path(torch, experiment, lambda o: torch.optim.lr_scheduler.LambdaLR(o, factor))
    assert_same_path(experiment, path)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("name", TORCH_LOSSES)
def test_losses_of_pytorch(name, optimizer, torch):
    own = {"huber_delta": 0.5} if name == "huber" else None
    output = LOSSES[name].output or "identity"
    experiment = problem(("tanh", output), name, optimizer, own=own)
    assert_same_path(experiment, torch_path(torch, experiment))


@pytest.mark.parametrize("name", TORCH_ACTIVATIONS)
def test_activations_of_pytorch(name, torch):
    hidden = "tanh" if ACTIVATIONS[name].over_layer else name
    experiment = problem((hidden, name), optimizer="adam")
    assert_same_path(experiment, torch_path(torch, experiment))
    x = torch.tensor(experiment.x)
    (W1, b1), (W2, b2) = unflattened(experiment)
    one, two = (TORCH_ACTIVATIONS[activation](torch) for activation in (hidden, name))
    a1 = one(x @ torch.tensor(W1) + torch.tensor(b1))
    a2 = two(a1 @ torch.tensor(W2) + torch.tensor(b2))
    ours = run(experiment.with_(steps=0)).a[0, 0]
    np.testing.assert_allclose(ours, torch.cat([a1, a2], dim=1).numpy(), rtol=1e-13, atol=1e-15)


def test_mini_batches_of_pytorch(torch):
    experiment = problem(optimizer="adam", batch_size=5, batch_seed=3)
    path = torch_path(torch, experiment, batches=batches_of(experiment.structure))
    assert_same_path(experiment, path)


def test_the_tables_of_pytorch_are_whole():
    assert set(TORCH_ACTIVATIONS) == set(ACTIVATIONS)
    assert set(TORCH_LOSSES) | NOT_IN_TORCH == set(LOSSES)
    assert set(TORCH_OPTIMIZERS) | {"lion"} == set(OPTIMIZERS)
    assert set(TORCH_SCHEDULES) | {"constant"} == set(SCHEDULES)


# JAX and Optax


@pytest.fixture
def jax():
    jax = pytest.importorskip("jax")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield jax
    jax.config.update("jax_enable_x64", before)


JAX_LOSSES = {
    "mse": lambda jnp: lambda a, y: jnp.mean((a - y) ** 2),
    "log_cosh": lambda jnp: lambda a, y: jnp.mean(jnp.log(jnp.cosh(a - y))),
    "hinge": lambda jnp: lambda a, y: jnp.mean(jnp.maximum(1 - y * a, 0)),
}


def optax_path(jax, experiment, optimizer):
    """Give the weights of the steps KEPT, gradients by ``jax.grad``, steps by Optax."""
    optax = pytest.importorskip("optax")
    x, y = experiment.data(0)
    loss = JAX_LOSSES[experiment.loss](jax.numpy)

    def loss_of(parameters):
        (W1, b1), (W2, b2) = parameters
        return loss(jax.numpy.tanh(x @ W1 + b1) @ W2 + b2, y)

    @jax.jit
    def step_of(parameters, state):
        updates, state = optimizer.update(jax.grad(loss_of)(parameters), state, parameters)
        return optax.apply_updates(parameters, updates), state

    parameters = jax.tree.map(jax.numpy.asarray, unflattened(experiment))
    state, path = optimizer.init(parameters), {}
    for step in range(1, experiment.steps + 1):
        parameters, state = step_of(parameters, state)
        if step in KEPT:
            path[step] = flat([part for pair in parameters for part in pair])
    return path


@pytest.mark.parametrize("loss", JAX_LOSSES)
@pytest.mark.parametrize("name", ["lion", "adam", "sgd"])
def test_losses_and_optimizers_of_jax(name, loss, jax):
    optax = pytest.importorskip("optax")
    experiment = problem(optimizer=name, loss=loss)
    optimizer = {
        "lion": lambda: optax.lion(RATES["lion"], weight_decay=0.0),
        "adam": lambda: optax.adam(RATES["adam"]),
        "sgd": lambda: optax.sgd(RATES["sgd"]),
    }[name]()
    assert_same_path(experiment, optax_path(jax, experiment, optimizer))


def test_lion_of_optax(jax):
    optax = pytest.importorskip("optax")
    own = {"beta_1": 0.8, "beta_2": 0.95, "weight_decay": 0.1, "decay_steps": 150, "final_factor": 0.1}
    experiment = problem(optimizer="lion", decays=True, schedule="cosine", own=own)
    rate = optax.cosine_decay_schedule(RATES["lion"], 150, alpha=0.1)
    optimizer = optax.lion(rate, b1=0.8, b2=0.95, weight_decay=0.1)
    assert_same_path(experiment, optax_path(jax, experiment, optimizer))


# Keras, on JAX


@pytest.fixture
def keras(jax, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras", minversion="3")
    if keras.backend.backend() != "jax":
        pytest.skip("Keras was imported before, on another backend")
    dtypes = pytest.importorskip("keras.src.backend.common.dtypes")
    # Whatever its ``floatx``, Keras computes some functions in float32: tanh, and the mean of losses.
    monkeypatch.setitem(dtypes.BIT64_TO_BIT32_DTYPE, "float64", "float64")
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    yield keras
    keras.config.set_floatx(before)


def keras_path(keras, experiment, loss, optimizer, batches=None):
    """Give the weights of the steps KEPT as Keras' own loop of training makes them."""
    x, y = experiment.data(0)
    model = keras.Sequential(
        [
            keras.layers.Input((LAYERS[0],)),
            *(
                keras.layers.Dense(n, activation=None if name == "identity" else name)
                for n, name in zip(LAYERS[1:], experiment.activations, strict=True)
            ),
        ]
    )
    model.set_weights([part for pair in unflattened(experiment) for part in pair])
    model.compile(optimizer=optimizer, loss=loss)
    path = {}
    for step in range(1, experiment.steps + 1):
        chosen = slice(None) if batches is None else batches[step - 1]
        model.train_on_batch(x[chosen], y[chosen])
        if step in KEPT:
            path[step] = flat(model.get_weights())
    return path


# Ours and the parameters that make Keras' the same: epsilon stands elsewhere there, so that it has to be tiny.
TINY = 1e-16
KERAS_OPTIMIZERS = {
    "sgd": (None, lambda o, rate: o.SGD(rate)),
    "momentum": (None, lambda o, rate: o.SGD(rate, momentum=0.9)),
    "nesterov": (None, lambda o, rate: o.SGD(rate, momentum=0.9, nesterov=True)),
    "rmsprop": (
        {"rho": 0.99, "epsilon": TINY},
        lambda o, rate: o.RMSprop(rate, rho=0.99, epsilon=TINY**2),
    ),
    "adagrad": (
        {"epsilon": TINY},
        lambda o, rate: o.Adagrad(rate, initial_accumulator_value=0.0, epsilon=TINY**2),
    ),
    "adam": ({"epsilon": TINY}, lambda o, rate: o.Adam(rate, epsilon=TINY)),
    "adamw": (
        {"epsilon": TINY, "weight_decay": 0.1},
        lambda o, rate: o.AdamW(rate, weight_decay=0.1, epsilon=TINY),
    ),
    "nadam": ({"momentum_decay": 1.0}, lambda o, rate: o.Nadam(rate, epsilon=1e-8)),
    "lion": (None, lambda o, rate: o.Lion(rate)),
}


@pytest.mark.parametrize("name", KERAS_OPTIMIZERS)
def test_optimizers_of_keras(name, keras):
    own, make = KERAS_OPTIMIZERS[name]
    experiment = problem(optimizer=name, decays=name == "adamw", own=own)
    path = keras_path(keras, experiment, "mean_squared_error", make(keras.optimizers, RATES[name]))
    assert_same_path(experiment, path)


KERAS_LOSSES = {
    "mse": "mean_squared_error",
    "mae": "mean_absolute_error",
    "huber": "huber",
    "log_cosh": "log_cosh",
    "binary_cross_entropy": "binary_crossentropy",
    "cross_entropy": "categorical_crossentropy",
    "hinge": "hinge",
}


@pytest.mark.parametrize("name", KERAS_LOSSES)
def test_losses_of_keras(name, keras):
    experiment = problem(("tanh", LOSSES[name].output or "identity"), name)
    path = keras_path(keras, experiment, KERAS_LOSSES[name], keras.optimizers.SGD(RATES["sgd"]))
    assert_same_path(experiment, path)


def test_mini_batches_of_keras(keras):
    experiment = problem(optimizer="adam", own={"epsilon": TINY}, batch_size=5, batch_order="in_order")
    optimizer = keras.optimizers.Adam(RATES["adam"], epsilon=TINY)
    batches = batches_of(experiment.structure)
    assert_same_path(experiment, keras_path(keras, experiment, "mean_squared_error", optimizer, batches))


KERAS_SCHEDULES = {
    "exponential": (
        {"decay_steps": 40, "decay_rate": 0.5},
        lambda s, rate: s.ExponentialDecay(rate, 40, 0.5),
    ),
    "step": (
        {"decay_steps": 40, "decay_rate": 0.5},
        lambda s, rate: s.ExponentialDecay(rate, 40, 0.5, staircase=True),
    ),
    "cosine": (
        {"decay_steps": 120, "final_factor": 0.1},
        lambda s, rate: s.CosineDecay(rate, 120, alpha=0.1),
    ),
    "linear": (
        {"decay_steps": 120, "final_factor": 0.1},
        lambda s, rate: s.PolynomialDecay(rate, 120, end_learning_rate=0.1 * rate),
    ),
    "inverse_time": (
        {"decay_steps": 40, "decay_rate": 0.5},
        lambda s, rate: s.InverseTimeDecay(rate, 40, 0.5),
    ),
}


@pytest.mark.parametrize("name", KERAS_SCHEDULES)
def test_schedules_of_keras(name, keras):
    own, make = KERAS_SCHEDULES[name]
    experiment = problem(schedule=name, own=own)
    optimizer = keras.optimizers.SGD(make(keras.optimizers.schedules, RATES["sgd"]))
    assert_same_path(experiment, keras_path(keras, experiment, "mean_squared_error", optimizer))


# scikit-learn


@pytest.fixture
def neural_network():
    return pytest.importorskip("sklearn.neural_network")


EPOCHS = 67  # of three steps


def sklearn_path(estimator, experiment, monkeypatch, y=None):
    """Give the final weights of an estimator that starts from those of the experiment."""
    given = iter([(W.copy(), b.copy()) for W, b in unflattened(experiment)])
    monkeypatch.setattr(type(estimator), "_init_coef", lambda *_: next(given))
    x, targets = experiment.data(0)
    estimator.fit(x, targets if y is None else y)
    assert estimator.n_iter_ == EPOCHS
    pairs = zip(estimator.coefs_, estimator.intercepts_, strict=True)
    return {3 * EPOCHS: flat([part for pair in pairs for part in pair])}


def sklearn_options(name):
    """Give ours and theirs: in order, of five samples a step, the last batch of two."""
    ours = {"batch_size": 5, "batch_order": "in_order", "optimizer": name}
    theirs = {
        "hidden_layer_sizes": (LAYERS[1],),
        "activation": "tanh",
        "alpha": 0,
        "batch_size": 5,
        "learning_rate_init": RATES[name],
        "max_iter": EPOCHS,
        "shuffle": False,
        "tol": 0,
        "n_iter_no_change": EPOCHS,
    }
    solver = {
        "sgd": {"solver": "sgd", "momentum": 0},
        "momentum": {"solver": "sgd", "momentum": 0.9, "nesterovs_momentum": False},
        "nesterov": {"solver": "sgd", "momentum": 0.9, "nesterovs_momentum": True},
        "adam": {"solver": "adam", "epsilon": TINY},
    }[name]
    if name == "adam":
        ours["own"] = {"epsilon": TINY}
    return ours, theirs | solver


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "adam"])
def test_regressor_of_scikit_learn(name, neural_network, monkeypatch):
    ours, theirs = sklearn_options(name)
    experiment = problem(loss="half_sse", rate=RATES[name], **ours).with_(steps=3 * EPOCHS)
    assert_same_path(experiment, sklearn_path(neural_network.MLPRegressor(**theirs), experiment, monkeypatch))


def test_classifier_of_scikit_learn(neural_network, monkeypatch):
    ours, theirs = sklearn_options("adam")
    experiment = problem(("tanh", "softmax"), "cross_entropy", **ours).with_(steps=3 * EPOCHS)
    # Of two classes scikit-learn makes one output; a third that no sample has would be dropped.
    experiment = three_classes(experiment)
    classes = experiment.y.argmax(axis=1)
    estimator = neural_network.MLPClassifier(**theirs)
    assert_same_path(experiment, sklearn_path(estimator, experiment, monkeypatch, classes))


def three_classes(experiment):
    """Give the experiment with an output more, samples of each class in turn."""
    layers = (*LAYERS[:2], 3)
    wider = random_experiment(
        13,
        layers,
        experiment.activations,
        experiment.loss,
        True,
        len(experiment.x),
        1,
        experiment.steps,
        **experiment.options,
    )
    y = np.eye(3)[np.arange(len(wider.x)) * 7 % 3]
    rates = experiment.learning_rates
    return wider.with_(y=y, learning_rates=rates, scales=experiment.scales, own=experiment.own)
