"""Learning-rate schedules, all optax."""

import optax

from polaris_jax.errors import InputError

SCHEDULES = ("cosine", "constant", "wsd")


def make_schedule(name: str, peak: float, steps: int, warmup: int) -> optax.Schedule:
    """A schedule over ``steps`` optimizer steps that reaches ``peak`` after ``warmup`` steps.

    ``cosine`` falls to zero; ``constant`` stays; ``wsd`` (warm-up, stable, decay) falls linearly to zero over the last
    fifth. The first step has the rate ``peak / warmup``, not zero, so no step of a short run is wasted.
    """
    if name not in SCHEDULES:
        raise InputError("config.optim.schedule", name, f"choose one of {', '.join(SCHEDULES)}")
    if not 0 <= warmup < max(steps, 1):
        raise InputError("config.optim.warmup", warmup, f"must be below the {steps} steps of the run")
    rise = optax.linear_schedule(peak / max(warmup, 1), peak, max(warmup - 1, 1))
    rest = steps - warmup
    if name == "cosine":
        tail = optax.cosine_decay_schedule(peak, max(rest, 1))
    elif name == "constant":
        tail = optax.constant_schedule(peak)
    else:
        decay = max(rest // 5, 1)
        tail = optax.join_schedules(
            [optax.constant_schedule(peak), optax.linear_schedule(peak, 0.0, decay)], [rest - decay]
        )
    return optax.join_schedules([rise, tail], [warmup]) if warmup else tail
