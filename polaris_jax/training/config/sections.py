"""The sections of a run's config: every field with its default, its unit, what it may be and what it means.

Lengths are tokens, ``steps`` are optimizer steps, sizes of ``mesh`` are devices.
"""

from dataclasses import dataclass
from typing import Literal

from polaris_jax.models.decoder import Remat
from polaris_jax.models.lora import Held
from polaris_jax.ops.context import Method
from polaris_jax.optim import RECIPES
from polaris_jax.optim.groups import GROUPS
from polaris_jax.optim.schedules import SCHEDULES
from polaris_jax.options import ANY_NUMBER, NOT_NEGATIVE, POSITIVE, Bounds, option
from polaris_jax.sharding import MESH_AXES
from polaris_jax.training.compiler_options import OVERLAP

Dtype = Literal["float32", "bfloat16"]
AUTO = "auto"
# The share of an average so far that is kept at the next step.
DECAY = Bounds("must not be negative, and must be below 1", least=0, below=1)


@dataclass(frozen=True)
class ModelOptions:
    """The model, and how its layers are run."""

    path: str = option("", doc="Hugging Face folder (weights, config.json, tokenizer), local or gs://")
    compute_dtype: Dtype = option("bfloat16", doc="of activations and, in fp32_master, of the working copy")
    remat: Remat = option("attention", execution=True, doc="what the backward pass finds saved")
    attention_block: int = option(
        0,
        bounds=NOT_NEGATIVE,
        execution=True,
        doc="tile edge of blockwise attention, tokens (0: on a TPU as its kernels run fastest, elsewhere 512)",
    )
    context_method: Literal["auto"] | Method = option(
        "auto",
        execution=True,
        doc="how keys reach queries over the context axis; auto: on TPU chosen by estimate, else ring",
    )
    context_group: int = option(
        0,
        bounds=NOT_NEGATIVE,
        execution=True,
        doc="two_level: neighbouring shards that exchange heads (0: as many as divide)",
    )
    overlap: str = option(
        "all", choices=tuple(OVERLAP), execution=True, doc="collectives that run beside computation on TPU"
    )
    segments: int = option(
        1,
        bounds=POSITIVE,
        execution=True,
        doc="runs of layers whose saved inputs are freed one run after the other",
    )
    mlp_chunk: int = option(
        0,
        bounds=NOT_NEGATIVE,
        execution=True,
        doc="tokens at a time through the feed-forward half (0: the whole row)",
    )
    offload: bool = option(False, execution=True, doc="layer inputs wait in host memory between forward and backward")


@dataclass(frozen=True)
class MeshOptions:
    """Devices along each axis of the mesh; -1 takes what is left. Checked against the devices, not here.

    Sizes count the devices of all slices. Over several slices ``data``, then ``fsdp``, has the slices as its outer
    part; the rest stays inside a slice.
    """

    data: int = option(1, bounds=ANY_NUMBER, doc="devices with the same weights and rows of their own")
    fsdp: int = option(1, bounds=ANY_NUMBER, doc="devices that share weights and have rows of their own")
    context: int = option(-1, bounds=ANY_NUMBER, doc="devices that share the tokens of a row")
    tensor: int = option(1, bounds=ANY_NUMBER, doc="devices that share heads and hidden units of a layer")
    slices: int = option(
        0,
        bounds=NOT_NEGATIVE,
        doc="slices that the sizes above are for; with fewer attached, data and fsdp shrink and microbatches grow "
        "(0: as many as are attached)",
    )

    def sizes(self) -> dict[str, int]:
        """``{axis: devices}``, as ``sharding.make_mesh`` takes it."""
        return {axis: getattr(self, axis) for axis in MESH_AXES}


@dataclass(frozen=True)
class DataOptions:
    """Which trajectories, in which windows."""

    store: str = option("", doc="token store, local or gs://")
    split: str = option("train", doc='train, validation or test: the authors to learn from ("": all)')
    window: int = option(8192, bounds=POSITIVE, doc="tokens per row")
    batch_size: int = option(1, bounds=POSITIVE, doc="rows per optimizer step, over the whole mesh")
    overlong: Literal["error", "drop"] = option("error", doc="what to do with trajectories longer than the window")
    max_trajectories: int = option(
        0, bounds=NOT_NEGATIVE, doc="use only so many, evenly spread over the store (0: all)"
    )
    threads: int = option(4, bounds=POSITIVE, execution=True, doc="threads that read ahead")
    mix: tuple[tuple[str, float], ...] = option(
        (), doc="((store, weight), ...): rows from these stores too; data.store has weight 1"
    )
    curriculum: tuple[tuple[int, int, int], ...] = option(
        (), doc="((steps, window, batch_size), ...) before data.window and data.batch_size hold"
    )


@dataclass(frozen=True)
class LossOptions:
    """The loss."""

    chunk: int = option(512, bounds=POSITIVE, doc="tokens whose logits exist at once")
    z_loss: float = option(0.0, bounds=NOT_NEGATIVE, doc="weight of the squared log-partition")


@dataclass(frozen=True)
class OptimOptions:
    """The optimizer: Muon for matrices, AdamW for the rest."""

    precision: str = option("fp32_master", choices=RECIPES, execution=True, doc="how weights are held and rounded")
    schedule: str = option("cosine", choices=SCHEDULES, doc="of the learning rate after the warm-up")
    learning_rate: float = option(2e-5, bounds=POSITIVE, doc="peak; Muon updates have RMS 0.2 of it")
    warmup: int = option(25, bounds=NOT_NEGATIVE, doc="steps until the peak")
    adamw_scale: float = option(1.0, bounds=NOT_NEGATIVE, doc="AdamW's rate relative to Muon's")
    momentum: float = option(0.95, bounds=DECAY, doc="of Muon")
    newton_schulz_steps: int = option(5, bounds=POSITIVE, doc="iterations that make an update orthogonal")
    newton_schulz_dtype: Dtype = option("bfloat16", doc="of these iterations")
    b1: float = option(0.9, bounds=DECAY, doc="of AdamW's first moment")
    b2: float = option(0.95, bounds=DECAY, doc="of AdamW's second moment")
    weight_decay: float = option(0.0, bounds=NOT_NEGATIVE, doc="per step, times the learning rate")
    clip_norm: float = option(1.0, bounds=NOT_NEGATIVE, doc="largest norm of the gradients (0: no clipping)")
    state_dtype: Dtype = option("float32", execution=True, doc="of the momenta")
    reduce_dtype: Literal["auto"] | Dtype = option(
        "auto",
        execution=True,
        doc="in which the devices' gradients are added up; auto: over up to 64 devices their own dtype, else float32",
    )
    qk_clip: float = option(
        0.0, bounds=NOT_NEGATIVE, doc="largest attention logit a head may have (MuonClip; 0: no clipping)"
    )
    per_head: bool = option(False, doc="Muon orthogonalises every head's projection by itself")
    groups: tuple[tuple[str, str], ...] = option(
        (), doc=f"((path pattern, {' | '.join(GROUPS)}), ...), before the built-in rules"
    )


@dataclass(frozen=True)
class AdapterOptions:
    """An adapter (LoRA) in the place of full training: the model's own weights stay as they are."""

    rank: int = option(0, bounds=NOT_NEGATIVE, doc="of the two factors of a matrix's term (0: full training)")
    alpha: float = option(0.0, bounds=NOT_NEGATIVE, doc="a term is alpha / rank times its factors (0: twice the rank)")
    targets: tuple[str, ...] = option(
        (),
        doc="patterns, searched in paths (blocks/0/attention/q) and Hugging Face names (layers.0.self_attn.q_proj) of "
        "the layers' matrices; (): all of them",
    )
    ranks: tuple[tuple[str, int], ...] = option((), doc="((pattern, rank), ...) of targets with a rank of their own")
    embeddings: bool = option(False, doc="embedding and output matrix are trained too, whole: for new tokens")
    embeddings_from: int = option(
        0, bounds=NOT_NEGATIVE, doc="with embeddings: the first token whose rows learn, those before stay (0: all do)"
    )
    base: Held = option(
        "auto", doc="how the layers' frozen matrices are held: auto, in model.compute_dtype; int8 and nf4 (QLoRA)"
    )


@dataclass(frozen=True)
class EvalOptions:
    """The held-out loss."""

    every: int = option(0, bounds=NOT_NEGATIVE, doc="steps between evaluations (0: never)")
    split: str = option("validation", doc="the authors that were held out")
    rows: int = option(16, bounds=POSITIVE, doc="windows, the same ones every time")


@dataclass(frozen=True)
class TrainOptions:
    """How long, and what is written down."""

    steps: int = option(100, bounds=POSITIVE, doc="optimizer steps of the run")
    microbatches: int = option(1, bounds=POSITIVE, execution=True, doc="parts in which a step's rows are processed")
    checkpoint_every: int = option(
        50, bounds=POSITIVE, execution=True, doc="steps between checkpoints; the last step is always kept"
    )
    keep_checkpoints: int = option(2, bounds=POSITIVE, execution=True, doc="newest checkpoints that are kept")
    async_checkpoints: bool = option(
        True, execution=True, doc="write while training goes on (needs a second copy of the state in memory)"
    )
    grace_seconds: float = option(
        55.0, bounds=POSITIVE, execution=True, doc="from SIGTERM to the end at the latest (pods wait 60 to 90)"
    )
    max_skipped: int = option(
        5, bounds=POSITIVE, execution=True, doc="steps in a row without finite gradients before the run stops"
    )
    rounding_statistics: bool = option(False, execution=True, doc="report the share of weights that a step changed")
    tensorboard: bool = option(False, execution=True, doc="also write TensorBoard files")
    wandb: str = option("", execution=True, doc='project at Weights & Biases to report to ("": none)')
    profile_first: int = option(10, bounds=NOT_NEGATIVE, execution=True, doc="step at which a trace for xprof begins")
    profile_steps: int = option(0, bounds=NOT_NEGATIVE, execution=True, doc="steps of the trace (0: only on SIGUSR1)")
