"""The loop of steps of one run: gradient over a batch, what is measured and recorded, update.

May import the other formulas of ``kernels`` alone.
"""

from typing import NamedTuple

import numpy as np

from fastbp.kernels import metrics
from fastbp.kernels.lanes import isfinite, kernel, rows_from, sqrt, where
from fastbp.kernels.losses import add_loss
from fastbp.kernels.network import LEARNING_RATE, TARGET_LOSS, backward, forward, sizes
from fastbp.kernels.optimizers import N_COEFFICIENTS, PRODUCT_1, PRODUCT_2, begin, update
from fastbp.kernels.schedules import set_factor


class Run(NamedTuple):
    """The numbers of one run; 1-D arrays in the interpreter, LaneArrays in lanes.

    Attributes
    ----------
    x, y : ((n_samples + n_validation) * n_inputs,), (… * n_outputs,)
        Data; plain arrays where all runs share them.
    w, g : (n_parameters,)
        Parameters, trained in place, and the gradient of the last step.
    inputs : (chunk * n_inputs,)
        Of a chunk of a batch's samples; of the kind of x.
    z, a, delta : (chunk * n_units,)
        Of the last chunk of samples.
    hyper : (n_hyperparameters,)
        ``network.TARGET_LOSS``, learning rates, scales, and what `structure.hyperparameters` says.
    m : (metrics.n_metrics(network),)
    state : (N_COEFFICIENTS + n_moments * n_parameters,) or (0,)
        Of the optimizer.
    scratch : (2 + 3 n_outputs + n_parameters + n_metrics,)
        The factor of the schedule; a score under way; what a run that has stopped keeps.
    """

    x: np.ndarray
    y: np.ndarray
    w: np.ndarray
    g: np.ndarray
    inputs: np.ndarray
    z: np.ndarray
    a: np.ndarray
    delta: np.ndarray
    hyper: np.ndarray
    m: np.ndarray
    state: np.ndarray
    scratch: np.ndarray


class Record(NamedTuple):
    """What is kept of some steps; without a history or a trace the arrays have no rows.

    Attributes
    ----------
    steps : int64 array, (n_kept,)
        The steps whose measures are kept, in order.
    measures : int64 array, (n_measures,)
        Rows of the metrics that are kept of each.
    norms, scores, validates : bool
        Whether these measures are among them: of the norms, of the scores, of the validation part.
    history : (n_kept * n_measures,)
    trace : bool
        Whether everything is kept of every step.
    w : ((steps + 1) * n_parameters,)
    g : (steps * n_parameters,)
    z, a : ((steps + 1) * n_samples * n_units,)
    delta : (steps * n_samples * n_units,)
    """

    steps: np.ndarray
    measures: np.ndarray
    norms: bool
    scores: bool
    validates: bool
    history: np.ndarray
    trace: bool
    w: np.ndarray
    g: np.ndarray
    z: np.ndarray
    a: np.ndarray
    delta: np.ndarray


class Order(NamedTuple):
    """In which order the steps take the samples: epoch after epoch, those of `first_epoch` first.

    Attributes
    ----------
    samples : int64 array
        The sample that each place of an epoch takes.
    first_epoch : int
    stride : int
        Places of an epoch; 0 where all epochs take them in the same order.
    """

    samples: np.ndarray
    first_epoch: int
    stride: int


VALIDATION, ALL, BATCH = 0, 1, 2  # the parts of the data that a step may look at
FACTOR, SCORE = 0, 1  # rows of the scratch: the schedule's factor; a score under way


class Moment(NamedTuple):
    """What there is to do at step `t`.

    Attributes
    ----------
    t : int
    first : bool
        Whether nothing was learned before.
    learns : bool
        Whether it updates the weights; the evaluation after the last update does not.
    in_tail : bool
        Whether it is among the last ``metrics.TAIL`` steps.
    ends : bool
        Whether its update is the last.
    checks : bool
        Whether the validation part decides about stopping.
    """

    t: int
    first: bool
    learns: bool
    in_tail: bool
    ends: bool
    checks: bool


@kernel
def moment(network, t, steps):
    """Give what there is to do at step `t` of `steps`."""
    learns = t < steps
    checks = network.patient and t % network.validate_every == 0
    return Moment(t, t == 0, learns, learns and t >= steps - metrics.TAIL, t == steps - 1, checks)


@kernel
def train(network, run, record, order, start, stop, steps):
    """Do the steps `start` to `stop` of `steps`; after the last, evaluate the trained network once more."""
    if start == 0:
        begin_run(network, run)
    kept = 0
    while kept < len(record.steps) and record.steps[kept] < start:
        kept += 1
    for t in range(start, stop + 1 if stop == steps else stop):
        now = moment(network, t, steps)
        recorded = kept < len(record.steps) and record.steps[kept] == t
        if not (now.learns and metrics.stopping(network)) or metrics.any_active(run.m):
            step(network, run, record, order, now, kept, recorded)
        kept += 1 if recorded else 0
    if stop == steps:
        metrics.finish(network, run.m, run.w, sizes(network)[0], steps)


@kernel
def step(network, run, record, order, now, kept, recorded):
    """Evaluate, measure, record as number `kept` where it is `recorded`, and update."""
    n_parameters, n_units = sizes(network)
    m, learn, stopping = run.m, now.learns, metrics.stopping(network)
    held = rows_from(run.scratch, scratch_size(network, 0, 0))
    held_w = rows_from(held, metrics.n_metrics(network))
    if stopping and learn:
        copy(m, held, 0, metrics.n_metrics(network))
    L = look(network, run, record, order, now, recorded, n_units)
    if stopping and learn:
        # A run that has stopped keeps its numbers; whether one stops now shows in the loss.
        keep(m[metrics.ACTIVE] > 0.0, held, m, metrics.n_metrics(network))
        metrics.decide(network, m, run.hyper, now, L)
        copy(m, held, 0, metrics.n_metrics(network))
        copy(run.w, held_w, 0, n_parameters)
    if learn:
        metrics.measure_convergence(m, now, L, stopping)
        # Any step may be the last of a run that can stop.
        if stopping or now.ends or (recorded and record.norms):
            m[metrics.GRADIENT_NORM] = sqrt(squared_gradient_norm(network, run.g))
    if recorded:
        if record.norms:
            m[metrics.WEIGHT_NORM] = metrics.norm(run.w, n_parameters)
        for k in range(len(record.measures)):
            record.history[kept * len(record.measures) + k] = m[record.measures[k]]
    if record.trace:
        copy(run.w, record.w, now.t, n_parameters)
        if learn:
            copy(run.g, record.g, now.t, n_parameters)
    if learn:
        descend(network, run, now.t, n_parameters)
    if stopping and learn:
        keep(held[metrics.ACTIVE] > 0.0, held, m, metrics.n_metrics(network))
        keep(held[metrics.ACTIVE] > 0.0, held_w, run.w, n_parameters)


@kernel
def begin_run(network, run):
    """Reset what is kept of a run from step to step."""
    metrics.begin(network, run.m)
    for row in range(network.n_state):
        run.state[row] = 0.0
    if network.n_state > 0:
        run.state[PRODUCT_1] = 1.0
        run.state[PRODUCT_2] = 1.0


@kernel
def look(network, run, record, order, now, recorded, n_units):
    """Evaluate the parts of the data that a step asks for and measure them; give the loss of its batch."""
    t, learn, full = now.t, now.learns, network.full
    L_batch = 0.0
    # One call for all: each call more would take as long again to compile.
    for part in range(3):
        first, count = 0, network.n_samples
        if part == VALIDATION:
            first, count = network.n_samples, network.n_validation
            wanted = count > 0 and (now.checks or not learn or (recorded and record.validates))
        elif part == ALL:
            wanted = not full and (recorded or not learn or now.first)
        else:
            wanted = full or learn
            if not full:
                first, count = place(network, order, t)
        whole = full or part != BATCH
        scored = network.score >= 0 and whole and (not learn or (recorded and record.scores))
        if wanted:
            learns = learn and part == BATCH
            L, score = evaluate(
                network, run, record, order, t, first, count, not whole, learns, scored, n_units
            )
            if part == VALIDATION:
                # What the history looks at beside that must not change what a run's row says.
                metrics.measure_validation(run.m, t, L, now.checks or not learn)
                if scored:
                    run.m[metrics.VALIDATION_SCORE] = score
            elif whole:
                metrics.measure_divergence(run.m, t, L)
                if now.first:
                    run.m[metrics.LOSS_FIRST] = L
                run.m[metrics.LOSS_LAST] = L
                if scored:
                    run.m[metrics.SCORE] = score
            if part == BATCH:
                metrics.measure(run.m, t, L, run.hyper[TARGET_LOSS])
                L_batch = L
    return L_batch


@kernel
def place(network, order, t):
    """Where the samples of step `t` lie in ``order.samples``, and how many they are."""
    epoch, batch = t // network.n_batches, t % network.n_batches
    first = batch * network.batch_size
    count = min(network.batch_size, network.epoch_size - first)
    return (epoch - order.first_epoch) * order.stride + first, count


@kernel
def evaluate(network, run, record, order, t, first, count, ordered, learn, scored, n_units):
    """Give loss and score of the weights on some samples; with `learn`, leave the loss's gradient in ``run.g``.

    The samples are `first` to `first` + `count`, where `ordered` of ``order.samples``.
    """
    n_outputs = network.layers[len(network.activations)]
    own, s = rows_from(run.hyper, network.loss_row), rows_from(run.scratch, SCORE)
    weight = network.weight / count
    if scored:
        metrics.begin_score(network, s, run.y, first, count, n_outputs)
    L = 0.0
    for start in range(first, first + count, network.chunk):
        n = min(network.chunk, first + count - start)
        x, first_input = run.x, start * network.layers[0]
        if ordered:
            x, first_input = run.inputs, 0
            for k in range(n):
                pick(run.x, order.samples[start + k], run.inputs, k, network.layers[0])
        p, u = forward(network, run.hyper, run.w, x, first_input, n, run.z, run.a)
        for k in range(n):
            output = u + k * n_outputs
            target = (order.samples[start + k] if ordered else start + k) * n_outputs
            L = add_loss(
                network.loss, (run.z, run.a, run.y, run.delta, own, weight, L, output, target, n_outputs)
            )
            if scored:
                metrics.add_score(network.score, (run.a, run.y, s, output, target, n_outputs))
        if learn:
            fresh = start == first
            backward(
                network, run.hyper, run.w, run.g, x, first_input, n, run.z, run.a, run.delta, p, u, fresh
            )
        if record.trace and not ordered and start < network.n_samples:
            sample = t * network.n_samples + start
            copy_units(network, run.z, record.z, sample, n, n_units)
            copy_units(network, run.a, record.a, sample, n, n_units)
            if learn:
                copy_units(network, run.delta, record.delta, sample, n, n_units)
    score = 0.0
    if scored:
        # Outputs that are not numbers are on no side of anything.
        score = where(isfinite(L), metrics.finish_score(network, s, count, n_outputs), float("nan"))
    return L * weight, score


@kernel
def descend(network, run, t, n_parameters):
    """One step of the optimizer, each layer at its own learning rate."""
    h, w, g = run.hyper, run.w, run.g
    own, c = rows_from(h, network.optimizer_row), run.state
    m, v = rows_from(c, N_COEFFICIENTS), rows_from(c, N_COEFFICIENTS + n_parameters)
    factor = rows_from(run.scratch, FACTOR)
    if network.clips:
        clip(network, g, h[network.clip_row])
    if network.scheduled:
        row = network.schedule_row
        set_factor(network.schedule, (factor, t, h[row], rows_from(h, row + 1)))
    if network.n_state > 0:
        begin(network.optimizer, (own, c, t))
    for k in range(len(network.range_layers)):
        first, last = network.range_first[k], network.range_last[k]
        eta = h[LEARNING_RATE + network.range_layers[k]]
        if network.scheduled:
            eta = eta * factor[0]
        if network.decays:
            decay(w, g, eta, h[network.decay_row], network.decoupled, first, last)
        update(network.optimizer, (w, g, m, v, eta, own, c, first, last))


@kernel
def squared_gradient_norm(network, g):
    """``sum_p g_p^2`` of the parameters that are trained."""
    total = 0.0
    for k in range(len(network.range_layers)):
        total = metrics.sum_of_squares(g, network.range_first[k], network.range_last[k], total)
    return total


@kernel
def clip(network, g, limit):
    """``g *= min(1, limit / (|g| + 1e-6))``, as PyTorch's ``clip_grad_norm_``; Keras has no 1e-6."""
    f = limit / (sqrt(squared_gradient_norm(network, g)) + 1e-6)
    f = where(f >= 1.0, 1.0, f)
    for k in range(len(network.range_layers)):
        for p in range(network.range_first[k], network.range_last[k]):
            g[p] = g[p] * f


@kernel
def decay(w, g, eta, rate, decoupled, first, last):
    """``w -= eta rate w`` beside the update (AdamW, Lion), else ``g += rate w``, of ``rate |w|^2 / 2``."""
    for p in range(first, last):
        if decoupled:
            w[p] = w[p] - eta * rate * w[p]
        else:
            g[p] = g[p] + rate * w[p]


@kernel
def scratch_size(network, n_metrics, n_parameters):
    """Number of rows of the scratch: factor, score, and what a run that has stopped keeps."""
    n_outputs = network.layers[len(network.activations)]
    return SCORE + metrics.OUTPUTS + 3 * n_outputs + n_metrics + n_parameters


@kernel
def keep(active, held, values, n):
    """Put back `n` numbers where the run is not `active`."""
    for i in range(n):
        values[i] = where(active, values[i], held[i])


@kernel
def pick(x, sample, inputs, k, n_inputs):
    """Copy the inputs of a sample to place `k` of the chunk's."""
    for i in range(n_inputs):
        inputs[k * n_inputs + i] = x[sample * n_inputs + i]


@kernel
def copy_units(network, source, target, sample, n, n_units):
    """Copy a number of each unit of a chunk of `n` samples to where that of `sample` and the next ones belongs."""
    u = 0
    for layer in range(len(network.activations)):
        n_out = network.layers[layer + 1]
        for k in range(n):
            for j in range(n_out):
                target[(sample + k) * n_units + u + j] = source[u * network.chunk + k * n_out + j]
        u += n_out


@kernel
def copy(source, target, index, n):
    """``target[index, :] = source[:]`` of `n` numbers."""
    for i in range(n):
        target[index * n + i] = source[i]
