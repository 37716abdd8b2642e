"""The time of a step: a lower bound by the compiler's schedules, and the expected time, with exposed traffic.

Attention takes the tiles of the step times the cycles per tile in the compiler's schedule of the kernels
(``attention_time``): a lower bound. The expected time multiplies it by one factor. The factor is fitted on published
v5p runs with the schedule of the kernel that they used (``benchmarks/time_model.py``, leave-one-out); other chips have
no published runs and use the same factor. The gated delta rule takes the cycles of its compiled program
(``recurrence_time``). Other products run at the share of the peak that the compiler's cycle estimate of one block
gives. Causal attention counts half the square, in the work and in MFU. What hides a collective is read from the
compiled program if there is one; without it, rings overlap with attention and everything else is exposed.
"""

from dataclasses import dataclass

from polaris_jax.models.config import ModelConfig
from polaris_jax.models.describe import describe
from polaris_jax.models.weights import weight_table
from polaris_jax.planner.analytic import state_bytes
from polaris_jax.planner.attention_time import attention_time, measured_chips
from polaris_jax.planner.hlo import DCN, Collective
from polaris_jax.planner.kernel_schedule import RELATIVES
from polaris_jax.planner.recurrence_time import recurrence_seconds
from polaris_jax.planner.topology import Slice
from polaris_jax.sharding.chips import Chip
from polaris_jax.training.config import TrainConfig

# Expected time of attention over its kernels' schedule: the fit of benchmarks/time_model.py, on v5p runs only.
OVER_SCHEDULE = 1.84
# Share of the peak of a block's products by the compiler's estimated cycles, one 14B block of 32,768 tokens, with the
# options of training (benchmarks/block_cycles.py). The fit assumes that its runs had these options too: with the 0.73
# of the compiler's defaults the factor is 1.70, and the runs are predicted less well (9 % at worst, not 6).
PRODUCTS = {"v5e": 0.88, "v5p": 0.88, "v6e": 0.62, "tpu7x": 0.62}
# Chips with another chip's numbers above: v5e has those of v5p (the same matrix units), tpu7x those of v6e.
BORROWED = ("v5e", "tpu7x")
PUBLISHED = ("v5p",)  # chips with published runs to hold the expectation to
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
    """Expected ``seconds`` per step, its ``terms`` (seconds each, in sum the step), and what follows from them.

    Attributes:
      least: seconds if attention ran as its kernels are scheduled, with products at ``PRODUCTS``.
      estimated: attention kernels whose time is scaled from another schedule, in words.
      dcn_bytes, dcn_seconds: what a device sends over the data-centre network per step, and the time of that alone;
        ``terms["dcn"]`` is the exposed part of it.
    """

    seconds: float
    least: float
    terms: dict[str, float]
    mfu: float
    tokens_per_s_per_chip: float
    dcn_bytes: float = 0.0
    dcn_seconds: float = 0.0
    estimated: tuple[str, ...] = ()

    @property
    def limiting_term(self) -> str:
        return max(self.terms, key=lambda term: self.terms[term])


def source(chip: str, estimated: tuple[str, ...] = ()) -> str:
    """Where a time for this chip comes from, in words; ``estimated`` as in ``AttentionTime``."""
    least = "at least: the compiler's schedule of the attention kernels"
    if chip not in measured_chips():
        least += f" on {RELATIVES[chip]}"
    if estimated:
        least += f" (estimated from the nearest kernel compiled: {', '.join(estimated)})"
    if chip in BORROWED:
        least += f", products as on {RELATIVES[chip]}"
    runs = "published runs on this chip" if chip in PUBLISHED else "published v5p runs; none is published for this chip"
    return f"{least}; expected: {OVER_SCHEDULE:g} times that for attention, fitted on {runs}"


def work(config: TrainConfig, model: ModelConfig, devices: int) -> Work:
    """The work of a step in which every row is one document of the whole window."""
    costs, window, remat = describe(model), config.data.window, config.model.remat
    adapter = bool(config.adapter.rank)
    per_token, tokens = costs.flops_per_token(window), config.data.batch_size * window
    head = 2.0 * model.vocab_size * model.hidden_size
    down = 2.0 * model.num_layers * model.intermediate_size * model.hidden_size
    # Recomputing a layer leaves out its last product, which nothing reads; the loss's backward applies the head again.
    again = {"none": 0.0, "dots": 0.0}.get(remat, per_token.dense - head - down)
    attention = {"full": 2 + BACKWARD_ATTENTION}.get(remat, 1 + BACKWARD_ATTENTION)
    share = tokens / devices
    return Work(
        model=per_token.trained(adapter=adapter) * share,
        matmul=((2 if adapter else 3) * per_token.dense + again + head) * share,
        attention=attention * per_token.attention * share,
        newton_schulz=0.0 if adapter else newton_schulz_flops(model, config.optim.newton_schulz_steps) / devices,
    )


def newton_schulz_flops(model: ModelConfig, steps: int) -> float:
    """Operations of one optimizer step on all block matrices: per iteration a Gram matrix, its square, a product."""
    total = 0.0
    for path, weight in weight_table(model).items():
        if path[0] == "blocks" and len(weight.shape) == 3:
            count, (short, long) = weight.shape[0], sorted(weight.shape[1:])
            total += steps * count * (4 * short * short * long + 2 * short**3)
    return total


def seconds_for(kind: str, size: float, group: int, slice_: Slice) -> float:
    """One collective alone, by bandwidth: ``size`` bytes per device as ``hlo.Collective`` counts them.

    A permute uses one link. Gathers and reductions run rings in both directions along every torus axis they span; an
    axis shorter than 4 has no wrap-around link, which halves its speed. In an all-to-all each byte crosses a quarter of
    the longest edge.
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


def sent_over_dcn(collective: Collective, slices: int) -> float:
    """Bytes that a device sends to other slices for a collective over the data-centre network.

    In a ring of ``slices`` members an all-reduce sends everything twice, the others once, except the member's own part.
    """
    share = (slices - 1) / slices
    return collective.bytes * {"all-reduce": 2 * share, "collective-permute": 1.0}.get(collective.kind, share)


def estimate(
    config: TrainConfig,
    model: ModelConfig,
    slice_: Slice,
    sizes: dict[str, int],
    collectives: list[Collective],
    offloaded: int = 0,
) -> Estimate:
    """The step's time.

    Args:
      collectives: of the compiled program, or ``traffic.expected_collectives``.
      offloaded: bytes per device that wait in host memory; they cross the host link twice, behind computation.
    """
    chip, done = slice_.chip, work(config, model, slice_.devices)
    passes = attention_time(config, model, chip.name, sizes)
    bound = passes.backward + passes.forward * (2 if config.model.remat == "full" else 1)
    products = chip.flops * PRODUCTS[chip.name]
    compute = {
        "attention": bound * OVER_SCHEDULE,
        "matmul": done.matmul / products,
        "newton_schulz": done.newton_schulz / products,
        "recurrence": recurrence_seconds(config, model, chip.name, sizes),
    }
    group = max(sizes["fsdp"] * sizes["context"], sizes["tensor"])
    exposed = exposed_dcn = dcn_bytes = 0.0
    covered: dict[str, float] = {}
    for collective in collectives:
        if collective.network == DCN:
            sent = sent_over_dcn(collective, slice_.count)
            dcn_bytes, time = dcn_bytes + sent, sent / chip.dcn
        else:
            time = seconds_for(collective.kind, collective.bytes, group, slice_)
        if collective.asynchronous and collective.overlapped_with in ("attention", "matmul", "loop"):
            cover = "attention" if collective.overlapped_with == "loop" else collective.overlapped_with
            covered[cover] = covered.get(cover, 0.0) + time
        elif collective.network == DCN:
            exposed_dcn += time
        else:
            exposed += time
    exposed += sum(max(0.0, time - compute[cover]) for cover, time in covered.items())
    terms = compute | {
        "memory": _memory_seconds(config, model, sizes, chip),
        "communication": exposed,
        "dcn": exposed_dcn,
    }
    hiding = compute["attention"] + compute["matmul"] + compute["recurrence"]
    terms["host_link"] = max(0.0, 2 * offloaded / chip.host_link - hiding)
    seconds = sum(terms.values())
    behind = covered.get("attention", 0.0)  # traffic hidden behind attention may be exposed if attention is faster
    uncovered = max(0.0, behind - bound) - max(0.0, behind - compute["attention"])
    least = seconds - compute["attention"] + bound + uncovered
    tokens = config.data.batch_size * config.data.window
    return Estimate(
        seconds,
        least,
        terms,
        done.model / (chip.flops * seconds),
        tokens / seconds / slice_.all_chips,
        dcn_bytes,
        dcn_bytes / chip.dcn,
        passes.estimated,
    )


def _memory_seconds(config: TrainConfig, model: ModelConfig, sizes: dict[str, int], chip: Chip) -> float:
    """Seconds of HBM traffic outside matrix products: the residual stream, and the optimizer's reads and writes."""
    state = state_bytes(config, model, sizes)
    tokens = config.data.batch_size // (sizes["data"] * sizes["fsdp"]) * (config.data.window // sizes["context"])
    stream = _ELEMENTWISE * model.num_layers * tokens * model.hidden_size * 2
    return (stream + 2 * (state.parameters + state.optimizer) + 3 * state.gradients) / chip.hbm
