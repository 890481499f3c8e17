"""The update rule of each optimizer, as it is published.

Each function takes the optimizer's parameters (the proto message), the scalars
of the step, the accumulated gradient `g`, the rows `w` and the slot variables,
and returns the new rows and slots.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from tests.reference.interval import (
    Interval,
    absolute,
    clip,
    maximum,
    minimum,
    power,
    sign,
    sqrt,
    where_at_least,
    where_zero,
)

_INFINITY = float("inf")


class Scalars(NamedTuple):
    learning_rate: float
    step_counter: float


Rows = tuple[Interval, ...]


def _sgd(p: Any, s: Scalars, g: Interval, w: Interval) -> Rows:
    return (w - s.learning_rate * g,)


def _adagrad(p: Any, s: Scalars, g: Interval, w: Interval, a: Interval) -> Rows:
    a = a + g * g
    return where_zero(a, w, w - s.learning_rate * g / sqrt(a)), a


def _adagrad_momentum(
    p: Any, s: Scalars, g: Interval, w: Interval, a: Interval, m: Interval
) -> Rows:
    if p.beta2 == 1:
        a = a + g * g
    else:
        a = p.beta2 * a + (1 - p.beta2) * g * g
    scaled = power(a + p.epsilon, -1 / p.exponent) * g
    m = p.momentum * m + scaled
    update = p.momentum * m + scaled if p.use_nesterov else m
    return w - s.learning_rate * update, a, m


def _bounded_adagrad(p: Any, s: Scalars, g: Interval, w: Interval, a: Interval) -> Rows:
    new_a = a + g * g
    if p.max_accumulator > 0:
        new_a = minimum(new_a, p.max_accumulator)
    denominator = new_a if p.update_accumulator_first else a
    update = s.learning_rate * g / sqrt(denominator)
    if p.max_var_update > 0:
        update = clip(update, -p.max_var_update, p.max_var_update)
    return w - update, new_a


def _frequency_aware_adagrad(
    p: Any, s: Scalars, g: Interval, w: Interval, a: Interval, c: Interval
) -> Rows:
    c = c + 1.0
    decay = p.accumulator_decay or 1.0
    a = maximum(decay * a + g * g, p.initial_accumulator_value)
    multiplier = power(max(s.step_counter, 1.0) / c, p.probability_exponent)
    if p.max_lr_multiplier > 0:
        multiplier = minimum(multiplier, p.max_lr_multiplier)
    update = (
        multiplier * g / sqrt(a)
        + p.l1_regularization_strength * sign(w)
        + p.l2_regularization_strength * w
    )
    return w - s.learning_rate * update, a, c


def _ftrl(
    p: Any, s: Scalars, g: Interval, w: Interval, a: Interval, linear: Interval
) -> Rows:
    lr = s.learning_rate
    new_a = a + g * g
    old_power, new_power = power(a, -p.lr_power), power(new_a, -p.lr_power)
    if p.multiply_linear_by_lr:
        linear = linear + (lr * g - (new_power - old_power) * w)
        denominator = new_power + p.beta + 2 * lr * p.l2
        numerator = clip(linear, -lr * p.l1, lr * p.l1) - linear
    else:
        linear = linear + (g - (new_power - old_power) / lr * w)
        denominator = (new_power + p.beta) / lr + 2 * p.l2
        numerator = clip(linear, -p.l1, p.l1) - linear
    return where_zero(denominator, 0.0, numerator / denominator), new_a, linear


def _adam(
    p: Any, s: Scalars, g: Interval, w: Interval, m: Interval, v: Interval
) -> Rows:
    m = p.beta1 * m + (1 - p.beta1) * g
    v = p.beta2 * v + (1 - p.beta2) * g * g
    if p.use_sum_inside_sqrt:
        denominator = sqrt(v + p.epsilon * p.epsilon)
    else:
        denominator = sqrt(v) + p.epsilon
    return w - s.learning_rate * m / denominator, m, v


def _momentum(p: Any, s: Scalars, g: Interval, w: Interval, m: Interval) -> Rows:
    lr = s.learning_rate
    m = p.momentum * m + g
    if p.use_nesterov:
        return w - (lr * g + lr * p.momentum * m), m
    return w - lr * m, m


def _lion(p: Any, s: Scalars, g: Interval, w: Interval, m: Interval) -> Rows:
    direction = sign(p.beta1 * m + (1 - p.beta1) * g)
    m = p.beta2 * m + (1 - p.beta2) * g
    return w - s.learning_rate * direction, m


def _rms_prop(
    p: Any, s: Scalars, g: Interval, w: Interval, ms: Interval, mom: Interval
) -> Rows:
    ms = p.rho * ms + (1 - p.rho) * g * g
    mom = p.momentum * mom + s.learning_rate * g / sqrt(ms + p.epsilon)
    return w - mom, ms, mom


def _centered_rms_prop(
    p: Any,
    s: Scalars,
    g: Interval,
    w: Interval,
    ms: Interval,
    mom: Interval,
    mg: Interval,
) -> Rows:
    ms = p.rho * ms + (1 - p.rho) * g * g
    mg = p.rho * mg + (1 - p.rho) * g
    denominator = sqrt(ms - mg * mg + p.epsilon)
    mom = p.momentum * mom + s.learning_rate * g / denominator
    return w - mom, ms, mom, mg


def _adadelta(
    p: Any, s: Scalars, g: Interval, w: Interval, a: Interval, updates: Interval
) -> Rows:
    a = p.rho * a + (1 - p.rho) * g * g
    u = sqrt(updates + p.epsilon) / sqrt(a + p.epsilon) * g
    updates = p.rho * updates + (1 - p.rho) * u * u
    return w - s.learning_rate * u, a, updates


def _proximal_adagrad(
    p: Any, s: Scalars, g: Interval, w: Interval, a: Interval
) -> Rows:
    a = a + g * g
    rate = s.learning_rate / sqrt(a)
    proximal = w - rate * g
    shrunk = maximum(absolute(proximal) - rate * p.l1, 0.0)
    return sign(proximal) * shrunk / (1 + rate * p.l2), a


def _proximal_yogi(
    p: Any, s: Scalars, g: Interval, w: Interval, v: Interval, m: Interval
) -> Rows:
    m = p.beta1 * m + (1 - p.beta1) * g
    v = v + (1 - p.beta2) * sign(g * g - v) * g * g
    rate = s.learning_rate / (sqrt(v) + p.epsilon)
    proximal = w - rate * m
    if p.l1 > 0:
        proximal = sign(proximal) * maximum(absolute(proximal) - rate * p.l1, 0.0)
    return proximal / (1 + rate * p.l2), v, m


def _online_yogi(
    p: Any, s: Scalars, g: Interval, w: Interval, v: Interval, linear: Interval
) -> Rows:
    lr = s.learning_rate
    new_v = v - (1 - p.beta2) * sign(v - g * g) * g * g
    linear = linear + (g - (sqrt(new_v) - sqrt(v)) / lr * w)
    quotient = sqrt(new_v) / lr + 2 * p.l2
    return (clip(linear, -p.l1, p.l1) - linear) / quotient, new_v, linear


def _frequency_estimator(
    p: Any, s: Scalars, g: Interval, w: Interval, last: Interval
) -> Rows:
    step = s.learning_rate
    delta = step - last
    capped = minimum(delta, p.max_delta)
    smoothed = w * (1 - p.tau) + capped * p.tau
    return (
        where_at_least(delta, p.outlier_threshold * w, capped, smoothed),
        Interval.exactly(step) + 0.0 * last,
    )


def _assign(p: Any, s: Scalars, g: Interval, w: Interval) -> Rows:
    return (g,)


class Optimizer(NamedTuple):
    op_name: str | None  # as Load and Retrieve ops spell it, or None: no op
    slots: tuple[str, ...]
    initial: tuple[float, ...]  # until the first Load
    update: Callable[..., Rows]


# By the name of the field in OptimizationParameters.
OPTIMIZERS = {
    "stochastic_gradient_descent": Optimizer("StochasticGradientDescent", (), (), _sgd),
    "adagrad": Optimizer("Adagrad", ("accumulators",), (0.1,), _adagrad),
    "adagrad_momentum": Optimizer(
        "AdagradMomentum", ("accumulators", "momenta"), (0, 0), _adagrad_momentum
    ),
    "bounded_adagrad": Optimizer(None, ("accumulators",), (0.1,), _bounded_adagrad),
    "frequency_aware_adagrad": Optimizer(
        None, ("accumulators", "counters"), (0.1, 0), _frequency_aware_adagrad
    ),
    "ftrl": Optimizer("FTRL", ("accumulators", "linears"), (0.1, 0), _ftrl),
    "adam": Optimizer("ADAM", ("momenta", "velocities"), (0, 0), _adam),
    "momentum": Optimizer("Momentum", ("momenta",), (0,), _momentum),
    "lion": Optimizer(None, ("momenta",), (0,), _lion),
    "rms_prop": Optimizer("RMSProp", ("ms", "mom"), (0, 0), _rms_prop),
    "centered_rms_prop": Optimizer(
        "CenteredRMSProp", ("ms", "mom", "mg"), (0, 0, 0), _centered_rms_prop
    ),
    "adadelta": Optimizer("Adadelta", ("accumulators", "updates"), (0, 0), _adadelta),
    "proximal_adagrad": Optimizer(
        "ProximalAdagrad", ("accumulators",), (0.1,), _proximal_adagrad
    ),
    "online_yogi": Optimizer(None, ("vs", "linears"), (0.1, 0), _online_yogi),
    "proximal_yogi": Optimizer("ProximalYogi", ("v", "m"), (1e-6, 0), _proximal_yogi),
    "frequency_estimator": Optimizer(
        "FrequencyEstimator", ("last_hit_step",), (0,), _frequency_estimator
    ),
    "assign": Optimizer(None, (), (), _assign),
}


def _limits(message: Any) -> tuple[float, float]:
    return (
        message.lower.value if message.HasField("lower") else -_INFINITY,
        message.upper.value if message.HasField("upper") else _INFINITY,
    )


def update_rows(
    parameters: Any, scalars: Scalars, gradient: Interval, rows: list[Interval]
) -> list[Interval]:
    """One step of `parameters` (OptimizationParameters) on [weights, *slots]."""
    name = parameters.WhichOneof("parameters")
    g = clip(gradient, *_limits(parameters.gradient_clipping_limits))
    weights = rows[0]
    if parameters.weight_decay_factor:
        decay = parameters.weight_decay_factor
        if parameters.multiply_weight_decay_factor_by_learning_rate:
            decay = Interval.exactly(decay) * scalars.learning_rate
        weights = weights - decay * weights
    new = OPTIMIZERS[name].update(
        getattr(parameters, name), scalars, g, weights, *rows[1:]
    )
    return [clip(new[0], *_limits(parameters.clipping_limits)), *new[1:]]


def visits_all_rows(parameters: Any) -> bool:
    return parameters.adam.use_non_lazy_adam or parameters.lion.use_non_lazy_lion
