"""LoRA (Hu et al. 2021) and QLoRA (arXiv 2305.14314) as rows of the table of weights: what learns, and what does not.

``split_table`` cuts the table in two. Rows that learn: two factors per target, ``(..., "q", "lora_a")`` and
``(..., "q", "lora_b")``, stacked over layers and spread over a mesh like the weight itself (and the embedding and the
output matrix, if asked for). The other rows are the frozen base, of which the matrices of the layers may be quantised:
``(..., "q", "values")`` and ``(..., "q", "scales")``. ``join`` makes one tree of both again, in which a target is an
``ops.linear.LowRank``; the forward pass takes it as any other weight.

A run without adapter is the same with an empty base: everything learns.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from polaris_jax.errors import InputError
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.tensors import HFTensor
from polaris_jax.models.weights import Path, Table, Weight, weight_table
from polaris_jax.ops.linear import LowRank
from polaris_jax.ops.quantized import BLOCK, Quantized, block_of, block_scales, quantize_rows

Held = Literal["auto", "int8", "nf4"]
A, B = "lora_a", "lora_b"
VALUES, SCALES = "values", "scales"
WHOLE = (("embed", "embedding"), ("head", "kernel"))  # what ``embeddings`` trains
INSIDE = ("attention", "linear_attention", "mlp")  # the parts of a layer that hold matrices


@dataclass(frozen=True)
class Lora:
    """What an adapter is.

    Attributes:
      rank: of a target's two factors. alpha: the term is ``alpha / rank * x A B``.
      targets: patterns, searched in a matrix's path (``blocks/0/attention/q``) and in its Hugging Face name
        (``model.layers.0.self_attn.q_proj``), which must mean all layers of a stack; () is every matrix of the layers.
      ranks: ``(pattern, rank)``, the first that is found before ``rank``.
      embeddings: embedding and output matrix are trained whole.
      base: how the layers' frozen matrices are held: ``auto`` in the dtype of the others, or quantised.
    """

    rank: int
    alpha: float
    targets: tuple[str, ...] = ()
    ranks: tuple[tuple[str, int], ...] = ()
    embeddings: bool = False
    base: Held = "auto"


@dataclass(frozen=True)
class SplitTable:
    """Which weights learn and which are frozen; ``join`` makes the forward pass's tree of both kinds' trees."""

    trained: Table
    frozen: Table
    alpha: float = 0.0

    def join(self, trained: Any, frozen: Any) -> Any:
        """The tree, or the part of it, whose leaves are ``trained`` and ``frozen``."""
        return _join(trained, frozen, self.alpha)


def split_table(config: ModelConfig, lora: Lora | None) -> SplitTable:
    """The table of weights in its two halves; without ``lora`` everything learns.

    Raises:
      InputError: a pattern that finds no matrix.
    """
    table = weight_table(config)
    if lora is None:
        return SplitTable(table, {})
    targets = target_ranks(config, lora)
    trained: Table = {}
    frozen: Table = {}
    for path, weight in table.items():
        if lora.embeddings and path in WHOLE:
            trained[path] = weight
            continue
        if path in targets:
            trained[*path, A], trained[*path, B] = _factors(weight, targets[path])
        frozen |= _held_rows(path, weight, lora.base, BLOCK)
    return SplitTable(trained, frozen, lora.alpha)


def held_table(config: ModelConfig, held: Held) -> Table:
    """The table of all weights of a model that only writes, the layers' matrices held in the given way.

    ``int8`` has one scale per column, which leaves the sum: the product then reads the codes themselves, where with
    several blocks the TPU compiler first writes a matrix's numbers to memory. ``nf4`` would lose too much by it.
    """
    most = None if held == "int8" else BLOCK
    rows = [_held_rows(path, weight, held, most) for path, weight in weight_table(config).items()]
    return {path: weight for row in rows for path, weight in row.items()}


def _held_rows(path: Path, weight: Weight, held: Held, most: int | None) -> Table:
    """The rows of a frozen weight: its own, or its codes and scales, ``most`` numbers (None: a column) to a scale."""
    if held == "auto" or not is_matrix(path, weight) or block_of(weight.shape[1]) == 1:
        return {path: weight}
    values, scales = _quantized(weight, held, most)
    return {(*path, VALUES): values, (*path, SCALES): scales}


def target_ranks(config: ModelConfig, lora: Lora) -> dict[Path, int]:
    """The rank of every matrix that gets a term, by path.

    Raises:
      InputError: a pattern that finds no matrix of the layers or only some layers of a stack, or is none.
    """
    matrices = {path: weight for path, weight in weight_table(config).items() if is_matrix(path, weight)}
    chosen = {
        path: lora.rank
        for pattern in lora.targets or ("",)
        for path in _found(pattern, matrices, "config.adapter.targets")
    }
    for pattern, rank in reversed(lora.ranks):
        own = [path for path in _found(pattern, matrices, "config.adapter.ranks") if path in chosen]
        if not own:
            raise InputError("config.adapter.ranks", pattern, "finds no matrix that config.adapter.targets chose")
        chosen |= dict.fromkeys(own, rank)
    return {path: chosen[path] for path in matrices if path in chosen}


def _found(pattern: str, matrices: Table, field: str) -> list[Path]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(field, pattern, f"is no regular expression ({error})") from None

    found = []
    for path, weight in matrices.items():
        named = [bool(expression.search(name.removesuffix(".weight"))) for name, _ in weight.hf_tensors()]
        if expression.search("/".join(path)) or all(named):
            found.append(path)
        elif any(named):
            raise InputError(
                field,
                pattern,
                f"finds some layers of {'/'.join(path)} only, and a stack of layers gets its terms as one; leave the "
                "number of the layer out",
            )
    if not found:
        known = ", ".join(dict.fromkeys(path[-1] for path in matrices))
        raise InputError(field, pattern, f"finds no matrix of the layers; they have {known}")
    return found


def is_matrix(path: Path, weight: Weight) -> bool:
    """Whether a weight is a matrix of a layer that activations are multiplied by (a convolution's taps are none)."""
    return weight.layers is not None and path[2] in INSIDE and weight.transpose and len(weight.shape) == 3


def _factors(weight: Weight, rank: int) -> tuple[Weight, Weight]:
    """The rows of ``A [layers, in, r]``, which starts as PEFT's does, and ``B [layers, r, out]``, which starts at 0."""
    layers, width, out = weight.shape
    stack, rows, columns = weight.axes
    stem = weight.hf_name.removesuffix(".weight")
    a = replace(
        weight,
        shape=(layers, width, rank),
        axes=(stack, rows, None),
        hf_name=f"{stem}.lora_A.weight",
        init="uniform",
        fan_in=width,
        heads=(),
    )
    b = replace(
        weight,
        shape=(layers, rank, out),
        axes=(stack, None, columns),
        hf_name=f"{stem}.lora_B.weight",
        init="zeros",
        fan_in=rank,
    )
    return a, b


def _quantized(weight: Weight, kind: Held, most: int | None) -> tuple[Weight, Weight]:
    layers, width, out = weight.shape
    block = width if most is None else block_of(width, most)
    values = replace(
        weight,
        shape=(layers, width // (2 if kind == "nf4" else 1), out),
        hf_name=f"{weight.hf_name}.{VALUES}",
        whole_numbers="uint8" if kind == "nf4" else "int8",
    )
    scales = replace(weight, shape=(layers, width // block, out), hf_name=f"{weight.hf_name}.{SCALES}", float32=True)
    return values, scales


def quantized_tensors(tensors: Mapping[str, HFTensor], table: Table, kind: Held) -> dict[str, HFTensor]:
    """The tensors that a frozen table names, quantised run by run while they are read.

    Args:
      tensors: of the base model, by their Hugging Face names.
    """
    found = dict(tensors)
    for path, weight in table.items():
        if path[-1] != VALUES:
            continue
        blocks = table[*path[:-1], SCALES].shape[1]
        for name, _ in weight.hf_tensors():
            stem = name.removesuffix(f".{VALUES}")
            found |= {f"{stem}.{part}": _part(tensors[stem], part, kind, blocks) for part in (VALUES, SCALES)}
    return found


def _part(whole: HFTensor, part: str, kind: Held, blocks: int) -> HFTensor:
    out, width = whole.shape
    block = width // blocks
    dtype: np.dtype
    make: Callable[[np.ndarray, str, int], np.ndarray]
    if part == SCALES:
        shape, dtype, make = (out, width // block), np.dtype(np.float32), block_scales
    elif kind == "nf4":
        shape, dtype, make = (out, width // 2), np.dtype(np.uint8), quantize_rows
    else:
        shape, dtype, make = (out, width), np.dtype(np.int8), quantize_rows
    return HFTensor(shape, dtype, lambda start, stop: make(whole.rows(start, stop), kind, block))


def _join(trained: Any, frozen: Any, alpha: float) -> Any:
    if isinstance(frozen, Mapping) and VALUES in frozen:
        frozen = Quantized(frozen[VALUES], frozen[SCALES])
    if isinstance(trained, Mapping) and A in trained:
        return LowRank(frozen, trained[A], trained[B], alpha)
    if isinstance(trained, Mapping) and isinstance(frozen, Mapping):
        names = dict.fromkeys((*trained, *frozen))
        return {name: _join(trained.get(name, {}), frozen.get(name, {}), alpha) for name in names}
    absent = isinstance(trained, Mapping) and not trained
    return frozen if absent else trained
