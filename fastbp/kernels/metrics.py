"""What is measured of a run while it trains: a few numbers a run, whatever the number of steps.

May import ``lanes``, ``network`` and ``switch`` alone.
"""

from collections.abc import Callable
from typing import NamedTuple

from fastbp.kernels.lanes import any_of, both, fma, isfinite, kernel, negated, sqrt, where
from fastbp.kernels.network import TARGET_LOSS
from fastbp.kernels.switch import switch

# The rows of a run's metrics. Those from SUM_RATIO on are sums and marks under way and are not reported.
LOSS_FIRST, LOSS_LAST, LOSS_MIN, LOSS_TAIL, CONVERGENCE = 0, 1, 2, 3, 4
STEP_CONVERGED, STEP_DIVERGED, GRADIENT_NORM, WEIGHT_NORM = 5, 6, 7, 8
SCORE, VALIDATION_LOSS, VALIDATION_SCORE = 9, 10, 11
VALIDATION_LOSS_MIN, STEP_VALIDATION_MIN = 12, 13
SUM_RATIO, SUM_INVERSE, TAIL_RATIO = 14, 15, 16
ACTIVE, STEPS, BEST, WAITED = 17, 18, 19, 20
TAIL_LOSSES = 21

METRICS = {
    "loss_first": LOSS_FIRST,
    "loss_last": LOSS_LAST,
    "loss_min": LOSS_MIN,
    "loss_tail": LOSS_TAIL,
    "convergence": CONVERGENCE,
    "step_converged": STEP_CONVERGED,
    "step_diverged": STEP_DIVERGED,
    "gradient_norm": GRADIENT_NORM,
    "weight_norm": WEIGHT_NORM,
    "score": SCORE,
    "validation_loss": VALIDATION_LOSS,
    "validation_score": VALIDATION_SCORE,
    "validation_loss_min": VALIDATION_LOSS_MIN,
    "step_validation_min": STEP_VALIDATION_MIN,
}

# What a history may hold of a step, as the sweep file calls it, and the metric that it is.
MEASURES = {
    "loss": "loss_last",
    "gradient_norm": "gradient_norm",
    "weight_norm": "weight_norm",
    "score": "score",
    "validation_loss": "validation_loss",
    "validation_score": "validation_score",
}

TAIL = 20  # steps: loss_tail is the mean of the last 20 losses before an update
RATIO_LIMIT = 1e6  # the convergence measure cuts loss / loss_first here
NEVER = -1.0  # the step of what has not happened


@kernel
def stopping(network):
    """Whether a run may end before its last step."""
    return network.stops_at_target or network.stops_on_divergence or network.patient


@kernel
def n_metrics(network):
    """Number of rows: the marks of stopping only where a run may stop."""
    return TAIL_LOSSES + TAIL if stopping(network) else ACTIVE


@kernel
def begin(network, m):
    """Reset the metrics before step 0."""
    for row in range(n_metrics(network)):
        m[row] = 0.0
    m[LOSS_MIN] = float("inf")
    m[STEP_CONVERGED] = NEVER
    m[STEP_DIVERGED] = NEVER
    m[VALIDATION_LOSS_MIN] = float("inf")
    m[STEP_VALIDATION_MIN] = NEVER
    if stopping(network):
        m[ACTIVE] = 1.0
        m[BEST] = float("inf")


@kernel
def measure(m, t, L, target):
    """Take in the loss `L` of the weights after `t` updates."""
    m[LOSS_MIN] = where(L < m[LOSS_MIN], L, m[LOSS_MIN])
    reached = both(m[STEP_CONVERGED] < 0.0, L <= target)
    m[STEP_CONVERGED] = where(reached, t, m[STEP_CONVERGED])
    measure_divergence(m, t, L)


@kernel
def measure_divergence(m, t, L):
    """Take in whether the loss `L` of the weights after `t` updates is a number."""
    diverged = both(m[STEP_DIVERGED] < 0.0, negated(isfinite(L)))
    m[STEP_DIVERGED] = where(diverged, t, m[STEP_DIVERGED])


@kernel
def measure_validation(m, t, L, counts):
    """Take in the validation loss `L` of the weights after `t` updates; where it `counts`, for the least one."""
    m[VALIDATION_LOSS] = L
    if counts:
        better = L < m[VALIDATION_LOSS_MIN]
        m[VALIDATION_LOSS_MIN] = where(better, L, m[VALIDATION_LOSS_MIN])
        m[STEP_VALIDATION_MIN] = where(better, t, m[STEP_VALIDATION_MIN])


@kernel
def measure_convergence(m, now, L, may_stop):
    """Take in the loss before the update of a step for the tail and the convergence measure.

    ``v = L / loss_first``, cut at 1e6, which a non-finite one counts as. Source: J. Sohl-Dickstein, The boundary
    of neural network trainability is fractal, arXiv 2402.06184, and its published code. So 0 / 0, of a run that
    starts at its target, counts as 1e6 too.
    """
    v = ratio(m, L)
    m[SUM_RATIO] = m[SUM_RATIO] + v
    m[SUM_INVERSE] = m[SUM_INVERSE] + 1.0 / v
    if may_stop:
        # Which losses are the last 20 shows only when the run ends.
        m[TAIL_LOSSES + now.t % TAIL] = L
    elif now.in_tail:
        m[LOSS_TAIL] = m[LOSS_TAIL] + L
        m[TAIL_RATIO] = m[TAIL_RATIO] + v


@kernel
def ratio(m, L):
    """``L / loss_first``, at most 1e6."""
    v = L / m[LOSS_FIRST]
    return where(v < RATIO_LIMIT, v, RATIO_LIMIT)


@kernel
def decide(network, m, h, now, L):
    """End the runs that have reached the target, diverged, or waited too long for a better validation loss."""
    active = m[ACTIVE] > 0.0
    ends = m[ACTIVE] < 0.0  # none so far
    if network.stops_at_target:
        ends = either(ends, L <= h[TARGET_LOSS])
    if network.stops_on_divergence:
        ends = either(ends, negated(isfinite(L)))
    if now.checks:
        better = m[VALIDATION_LOSS] < m[BEST] - h[network.patience_row + 1]
        m[WAITED] = where(active, where(better, 0.0, m[WAITED] + 1.0), m[WAITED])
        m[BEST] = where(both(active, better), m[VALIDATION_LOSS], m[BEST])
        ends = either(ends, m[WAITED] >= h[network.patience_row])
    ends = both(active, ends)
    m[STEPS] = where(ends, now.t, m[STEPS])
    m[ACTIVE] = where(ends, 0.0, m[ACTIVE])


@kernel
def either(mask, other):
    """Where `mask` or `other` holds."""
    return negated(both(negated(mask), negated(other)))


@kernel
def any_active(m):
    """Whether any run of the block goes on."""
    return any_of(m[ACTIVE] > 0.0)


@kernel
def finish(network, m, w, n_parameters, steps):
    """Turn the sums into means after the last step; ``convergence`` is ``-sum(v)`` or ``sum(1 / v)``."""
    n = min(steps, TAIL)
    if stopping(network):
        m[STEPS] = where(m[ACTIVE] > 0.0, steps, m[STEPS])
        done = where(m[STEPS] < TAIL, m[STEPS], TAIL)
        for k in range(n):
            # Rows that were not reached count nothing.
            L = m[TAIL_LOSSES + k]
            m[LOSS_TAIL] = where(k < done, m[LOSS_TAIL] + L, m[LOSS_TAIL])
            m[TAIL_RATIO] = where(k < done, m[TAIL_RATIO] + ratio(m, L), m[TAIL_RATIO])
        m[LOSS_TAIL] = m[LOSS_TAIL] / done
        m[TAIL_RATIO] = m[TAIL_RATIO] / done
    else:
        m[LOSS_TAIL] = m[LOSS_TAIL] / n
        m[TAIL_RATIO] = m[TAIL_RATIO] / n
    m[CONVERGENCE] = where(m[TAIL_RATIO] < 1.0, -m[SUM_RATIO], m[SUM_INVERSE])
    m[WEIGHT_NORM] = norm(w, n_parameters)


@kernel
def norm(w, n):
    """``sqrt(sum_p w_p^2)``."""
    return sqrt(sum_of_squares(w, 0, n, 0.0))


@kernel
def sum_of_squares(w, first, last, total):
    """``total + sum_p w_p^2`` of the parameters `first` to `last`."""
    for p in range(first, last):
        total = fma(w[p], w[p], total)
    return total


class Score(NamedTuple):
    """How good outputs are: ``add(a, y, s, output, target, n_outputs)`` takes in a sample; `formula` says how."""

    add: Callable
    formula: str


# Rows of the scratch s: first the score under way, then for each output the mean of its targets, the sum of
# squared errors and the sum of squared deviations from that mean.
TOTAL, OUTPUTS = 0, 1


@kernel
def _r2(a, y, s, output, target, n_outputs):
    for j in range(n_outputs):
        error, deviation = y[target + j] - a[output + j], y[target + j] - s[OUTPUTS + j]
        s[OUTPUTS + n_outputs + j] = fma(error, error, s[OUTPUTS + n_outputs + j])
        s[OUTPUTS + 2 * n_outputs + j] = fma(deviation, deviation, s[OUTPUTS + 2 * n_outputs + j])


@kernel
def _accuracy(a, y, s, output, target, n_outputs):
    best, right = a[output], y[target] + 0.0 * a[output]
    for j in range(1, n_outputs):
        # The first of equal outputs is taken, as by argmax.
        right = where(a[output + j] > best, y[target + j], right)
        best = where(a[output + j] > best, a[output + j], best)
    largest = y[target]
    for j in range(1, n_outputs):
        largest = where(y[target + j] > largest, y[target + j], largest)
    s[TOTAL] = s[TOTAL] + where(right >= largest, 1.0, 0.0)


def _share(threshold):
    """Give the score that counts the outputs on the side of `threshold` where their target is."""

    @kernel
    def add(a, y, s, output, target, n_outputs):
        for j in range(n_outputs):
            side = where(a[output + j] > threshold, 1.0, -1.0)
            agrees = side * where(y[target + j] > threshold, 1.0, -1.0) > 0.0
            s[TOTAL] = s[TOTAL] + where(agrees, 1.0, 0.0)

    return add


SCORES = {
    "r2": Score(
        _r2, "r2: 1 - sum (y - a)^2 / sum (y - mean y)^2, averaged over outputs; scikit-learn's r2_score"
    ),
    "accuracy": Score(_accuracy, "accuracy: the share of samples whose largest output is their class"),
    "binary_accuracy": Score(
        _share(0.5), "accuracy: the share of outputs on the side of 1/2 of their target"
    ),
    "sign_accuracy": Score(_share(0.0), "accuracy: the share of outputs with the sign of their target"),
}


@kernel
def _no_score(a, y, s, output, target, n_outputs):
    s[TOTAL] = s[TOTAL] * float("nan")


add_score = switch([score.add for score in SCORES.values()], _no_score)
R2, ACCURACY = list(SCORES).index("r2"), list(SCORES).index("accuracy")


@kernel
def begin_score(network, s, y, first, count, n_outputs):
    """Make ready to score the samples `first` to `first` + `count`."""
    s[TOTAL] = 0.0
    if network.score == R2:
        for j in range(n_outputs):
            sum_ = 0.0 * s[TOTAL]
            for n in range(first, first + count):
                sum_ = sum_ + y[n * n_outputs + j]
            s[OUTPUTS + j] = sum_ / count
            s[OUTPUTS + n_outputs + j] = 0.0
            s[OUTPUTS + 2 * n_outputs + j] = 0.0


@kernel
def finish_score(network, s, count, n_outputs):
    """Give the score; NaN where it is not defined, as R2 of targets that are all the same."""
    total = s[TOTAL] / count
    if network.score > ACCURACY:  # those that count outputs
        total = total / n_outputs
    if network.score == R2:
        for j in range(n_outputs):
            squares = s[OUTPUTS + 2 * n_outputs + j]
            share = s[OUTPUTS + n_outputs + j] / squares
            total = total + where(squares > 0.0, 1.0 - share, float("nan")) / n_outputs
    return total
