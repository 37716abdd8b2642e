"""How long a step takes, from a stated roofline: arithmetic at a fraction of the peak, and traffic that nothing hides.

The fractions are calibrated on published v5p runs with known settings (``tests/planner/test_roofline.py`` holds the
model to them): matrix products reach 0.75 of the peak, attention kernels with head width 128 0.57. Causal attention
counts half the square, in the work and in MFU. What a collective hides behind is taken from the compiled program where
there is one; without it, rings overlap with attention and everything else is exposed.
"""

from dataclasses import dataclass

from ml_collections import ConfigDict

from polaris_jax.models.config import ModelConfig
from polaris_jax.models.describe import describe
from polaris_jax.models.weights import weight_table
from polaris_jax.planner.analytic import state_bytes
from polaris_jax.planner.hlo import Collective
from polaris_jax.planner.topology import Slice
from polaris_jax.sharding.chips import Chip

MATMUL, ATTENTION = 0.75, 0.57  # of the peak
BACKWARD_ATTENTION = 2.5  # five products where the forward pass has two
_ELEMENTWISE = 40  # reads and writes of the residual stream per layer and step: norms, rotations, gates, additions


@dataclass(frozen=True)
class Work:
    """Floating-point operations per device and step: the model's own (for MFU), and what is executed by kind."""

    model: float
    matmul: float
    attention: float
    newton_schulz: float


@dataclass(frozen=True)
class Estimate:
    """``seconds`` per step, its ``terms`` (seconds each, in sum the step), and what follows from them."""

    seconds: float
    terms: dict[str, float]
    mfu: float
    tokens_per_s_per_chip: float

    @property
    def limiting_term(self) -> str:
        return max(self.terms, key=self.terms.get)


def work(config: ConfigDict, model: ModelConfig, devices: int) -> Work:
    """What a step computes, every row one document of the whole window."""
    costs, window, remat = describe(model), config.data.window, config.model.remat
    per_token, tokens = costs.flops_per_token(window), config.data.batch_size * window
    head = 2.0 * model.vocab_size * model.hidden_size
    down = 2.0 * model.num_layers * model.intermediate_size * model.hidden_size
    # Recomputing a layer stops short of the product nobody reads; the loss applies the head again in its backward.
    again = {"none": 0.0, "dots": 0.0}.get(remat, per_token.dense - head - down)
    attention = {"full": 2 + BACKWARD_ATTENTION}.get(remat, 1 + BACKWARD_ATTENTION)
    share = tokens / devices
    return Work(model=3 * per_token.total * share, matmul=(3 * per_token.dense + again + head) * share,
                attention=attention * per_token.attention * share,
                newton_schulz=newton_schulz_flops(model, config.optim.newton_schulz_steps) / devices)


def newton_schulz_flops(model: ModelConfig, steps: int) -> float:
    """Of one optimizer step over all block matrices: per iteration a Gram matrix, its square, and a product."""
    total = 0.0
    for path, weight in weight_table(model).items():
        if path[0] == "blocks" and len(weight.shape) == 3:
            count, (short, long) = weight.shape[0], sorted(weight.shape[1:])
            total += steps * count * (4 * short * short * long + 2 * short**3)
    return total


def seconds_for(kind: str, size: float, group: int, slice_: Slice) -> float:
    """One collective alone, by bandwidth: ``size`` bytes per device as ``hlo.Collective`` counts them.

    A permute uses one link. Gathers and reductions run rings in both directions along every torus axis they span; an
    axis shorter than 4 has no way around, which halves it. In an all-to-all each byte crosses a quarter of the longest
    edge.
    """
    chip = slice_.chip
    if kind == "collective-permute" or group < 2:
        return size / chip.ici_link
    speed, spanned, longest = 0.0, 1, 1
    for edge in sorted((edge for edge in slice_.edges if edge > 1), reverse=True) or [1]:
        if spanned < group:
            speed += chip.ici_link * (2 if edge >= 4 else 1)
            spanned, longest = spanned * edge, max(longest, edge)
    speed = speed or chip.ici_link
    share = (group - 1) / group
    return size / speed * {"all-reduce": 2 * share, "all-to-all": share * max(1.0, longest / 4)}.get(kind, share)


def estimate(config: ConfigDict, model: ModelConfig, slice_: Slice, sizes: dict[str, int],
             collectives: list[Collective], offloaded: int = 0) -> Estimate:
    """The step's time.

    Args:
      collectives: of the compiled program, or ``traffic.expected_collectives``.
      offloaded: bytes per device that wait in host memory; they cross the host link twice, behind computation.
    """
    chip, done = slice_.chip, work(config, model, slice_.devices)
    compute = {"attention": done.attention / (chip.flops * ATTENTION),
               "matmul": done.matmul / (chip.flops * MATMUL),
               "newton_schulz": done.newton_schulz / (chip.flops * MATMUL)}
    group = sizes["fsdp"] * sizes["context"]
    exposed, covered = 0.0, {}
    for collective in collectives:
        time = seconds_for(collective.kind, collective.bytes, group, slice_)
        if collective.asynchronous and collective.overlapped_with in ("attention", "matmul", "loop"):
            cover = "attention" if collective.overlapped_with == "loop" else collective.overlapped_with
            covered[cover] = covered.get(cover, 0.0) + time
        else:
            exposed += time
    exposed += sum(max(0.0, time - compute[cover]) for cover, time in covered.items())
    terms = compute | {"memory": _memory_seconds(config, model, sizes, chip), "communication": exposed}
    terms["host_link"] = max(0.0, 2 * offloaded / chip.host_link - compute["attention"] - compute["matmul"])
    seconds = sum(terms.values())
    tokens = config.data.batch_size * config.data.window
    return Estimate(seconds, terms, done.model / (chip.flops * seconds), tokens / seconds / slice_.chips)


def _memory_seconds(config: ConfigDict, model: ModelConfig, sizes: dict[str, int], chip: Chip) -> float:
    """What moves through HBM outside matrix products: the residual stream, and the optimizer's read and write."""
    state = state_bytes(config, model, sizes)
    tokens = config.data.batch_size // (sizes["data"] * sizes["fsdp"]) * (config.data.window // sizes["context"])
    stream = _ELEMENTWISE * model.num_layers * tokens * model.hidden_size * 2
    return (stream + 2 * (state.parameters + state.optimizer) + 3 * state.gradients) / chip.hbm
