"""How long the gated delta rule takes, per token and value head, by the compiler's cycles.

The times of the forward and backward kernels come from their schedules (``benchmarks/delta_rule_schedule.py``). v5e has
v5p's cycles at its own clock, on one TensorCore instead of two. The maps that ``context`` above 1 adds use the same
kernels: two forward calls make one, a backward call its transpose. Convolution and gated norm are not included.
"""

from polaris_jax.models.config import ModelConfig
from polaris_jax.planner.kernel_schedule import MATRIX_UNITS
from polaris_jax.training.config import TrainConfig

# Milliseconds of (forward, backward) kernels of 8,192 tokens and 32 value heads, on all TensorCores of a device.
KERNELS = {"v5p": (0.427, 0.672), "v6e": (0.702, 1.406), "tpu7x": (0.620, 1.117)}
_TIMED = 8192 * 32
MEASURED = 128 * 128  # numbers in a head's memory, in all these kernels


def recurrence_seconds(config: TrainConfig, model: ModelConfig, chip: str, sizes: dict[str, int]) -> float:
    """Seconds per device and step of the rule in all recurrent layers."""
    if not model.recurrent:
        return 0.0
    rule, remat = model.delta_rule, config.model.remat
    forward, backward = (1e-3 * ms / _TIMED for ms in KERNELS.get(chip, KERNELS["v5p"]))
    if chip not in KERNELS:  # one TensorCore instead of v5p's two
        forward, backward = (2 * s * MATRIX_UNITS["v5p"].clock / MATRIX_UNITS[chip].clock for s in (forward, backward))
    seconds = forward * (1 if remat == "none" else 2) + backward  # the output is computed again, whatever else is kept
    if sizes["context"] > 1:
        maps = 1 if remat in ("none", "attention") else 2  # once more in the backward pass
        seconds += maps * 2 * forward + backward
    devices = sizes["data"] * sizes["fsdp"] * sizes["context"] * sizes["tensor"]
    layers = model.layer_types.count("linear_attention")
    tokens = config.data.batch_size * config.data.window / devices
    return layers * tokens * rule.value_heads * rule.key_dim * rule.value_dim / MEASURED * seconds
