"""What is measured of a run while it trains: a few numbers a run, whatever the number of steps.

May import ``lanes`` alone.
"""

from fastbp.kernels.lanes import both, fma, isfinite, kernel, negated, sqrt, where

# The rows of a run's metrics; those from SUM_RATIO on are sums under way and are not reported.
LOSS_FIRST, LOSS_LAST, LOSS_MIN, LOSS_TAIL, CONVERGENCE = 0, 1, 2, 3, 4
STEP_CONVERGED, STEP_DIVERGED, GRADIENT_NORM, WEIGHT_NORM = 5, 6, 7, 8
SUM_RATIO, SUM_INVERSE, TAIL_RATIO = 9, 10, 11
N_METRICS = 12

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
}

TAIL = 20  # steps: loss_tail is the mean of the last 20 losses before an update
RATIO_LIMIT = 1e6  # the convergence measure cuts loss / loss_first here
NEVER = -1.0  # the step of what has not happened


@kernel
def begin(m):
    """Reset the metrics before step 0."""
    for row in range(N_METRICS):
        m[row] = 0.0
    m[LOSS_MIN] = float("inf")
    m[STEP_CONVERGED] = NEVER
    m[STEP_DIVERGED] = NEVER


@kernel
def measure(m, t, L, target):
    """Take in the loss `L` of the weights after `t` updates."""
    if t == 0:
        m[LOSS_FIRST] = L
    m[LOSS_LAST] = L
    m[LOSS_MIN] = where(L < m[LOSS_MIN], L, m[LOSS_MIN])
    reached = both(m[STEP_CONVERGED] < 0.0, L <= target)
    m[STEP_CONVERGED] = where(reached, t, m[STEP_CONVERGED])
    diverged = both(m[STEP_DIVERGED] < 0.0, negated(isfinite(L)))
    m[STEP_DIVERGED] = where(diverged, t, m[STEP_DIVERGED])


@kernel
def measure_convergence(m, t, steps, L):
    """Take in the loss before update `t` of `steps` for the tail and the convergence measure.

    ``v = L / loss_first``, cut at 1e6, which a non-finite one counts as. Source: J. Sohl-Dickstein, The boundary
    of neural network trainability is fractal, arXiv 2402.06184, and its published code. So 0 / 0, of a run that
    starts at its target, counts as 1e6 too.
    """
    ratio = L / m[LOSS_FIRST]
    ratio = where(ratio < RATIO_LIMIT, ratio, RATIO_LIMIT)
    m[SUM_RATIO] = m[SUM_RATIO] + ratio
    m[SUM_INVERSE] = m[SUM_INVERSE] + 1.0 / ratio
    if t >= steps - TAIL:
        m[LOSS_TAIL] = m[LOSS_TAIL] + L
        m[TAIL_RATIO] = m[TAIL_RATIO] + ratio


@kernel
def finish(m, w, n_parameters, steps):
    """Turn the sums into means after the last step; ``convergence`` is ``-sum(v)`` or ``sum(1 / v)``."""
    n = min(steps, TAIL)
    m[LOSS_TAIL] = m[LOSS_TAIL] / n
    m[CONVERGENCE] = where(m[TAIL_RATIO] / n < 1.0, -m[SUM_RATIO], m[SUM_INVERSE])
    m[WEIGHT_NORM] = norm(w, n_parameters)


@kernel
def norm(w, n):
    """``sqrt(sum_p w_p^2)``."""
    total = 0.0
    for p in range(n):
        total = fma(w[p], w[p], total)
    return sqrt(total)
