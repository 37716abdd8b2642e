"""Pictures of how a row is spread over devices: the mesh, the zigzag order, and the ring's hops, as inline SVG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from polaris_jax.data import zigzag_order
from polaris_jax.sharding import MESH_AXES

# Larger sizes are described in words only.
MOST_DEVICES = 64
MOST_SHARDS = 16
MOST_HOPS = 8


@dataclass(frozen=True)
class ChunkPair:
    """A query chunk of shard ``shard`` and a key chunk that the shard holds at this hop.

    ``diagonal`` pairs are causal (half the work); all others are full.
    """

    shard: int
    query: int
    key: int

    @property
    def diagonal(self) -> bool:
        return self.query == self.key


def shard_chunks(shards: int) -> list[tuple[int, ...]]:
    """The chunks of the row that each context shard holds, from the data pipeline's own permutation."""
    if shards == 1:
        return [(0,)]
    order = zigzag_order(2 * shards, shards).reshape(shards, 2)
    return [tuple(int(chunk) for chunk in held) for held in order]


def ring_hops(shards: int) -> list[list[ChunkPair]]:
    """Chunk pairs computed at each hop of zigzag ring attention.

    At hop ``r`` shard ``i`` holds the keys of shard ``i - r``. Attention is causal, so only pairs whose key chunk is
    not later than the query chunk are computed (Ring Attention, arXiv 2310.01889, with the load-balanced order).
    """
    held = shard_chunks(shards)
    return [
        [
            ChunkPair(shard, query, key)
            for shard in range(shards)
            for query in held[shard]
            for key in held[(shard - hop) % shards]
            if key <= query
        ]
        for hop in range(shards)
    ]


def hue(shard: int, shards: int) -> int:
    """Colour of a context shard in degrees, the same in all three pictures."""
    return round(250 + 360 * shard / max(shards, 1)) % 360


def mesh_picture(sizes: Mapping[str, int]) -> Markup:
    """The devices: context shards side by side, each split by ``tensor``; one row per (``data``, ``fsdp``) replica.

    The numbering is the mesh's own, row-major over ``(data, fsdp, context, tensor)``.
    """
    data, fsdp, context, tensor = (sizes[axis] for axis in MESH_AXES)
    side, gap, left, top = 54, 12, 76, 28
    block = tensor * side + gap
    width = max(left + context * block + 10, 360)
    height = top + data * fsdp * (side + gap) + 6
    parts = []
    for shard in range(context):
        x = left + shard * block + (tensor * side) / 2
        parts.append(f'<text class="axis-name" x="{x}" y="{top - 12}" text-anchor="middle">context {shard}</text>')
    device = 0
    for replica in range(data * fsdp):
        y = top + replica * (side + gap)
        parts.append(
            f'<text class="axis-name" x="{left - 14}" y="{y + side / 2 - 3}" text-anchor="end">'
            f'data {replica // fsdp}</text><text class="axis-name" x="{left - 14}" '
            f'y="{y + side / 2 + 13}" text-anchor="end">fsdp {replica % fsdp}</text>'
        )
        for shard in range(context):
            for slot in range(tensor):
                x = left + shard * block + slot * side
                name = f"tensor {slot}" if tensor > 1 else ""
                parts.append(_cell(x, y, side, side, hue(shard, context), str(device), name))
                device += 1
    return _svg(width, height, parts, "The device mesh", natural=True)


def zigzag_picture(shards: int, window: int | None) -> Markup:
    """The row cut in ``2N`` chunks, coloured by the shard that holds them, and each shard's two chunks."""
    chunks = 2 * shards
    held = shard_chunks(shards)
    owner = {chunk: shard for shard, pair in enumerate(held) for chunk in pair}
    width, left, tall = 720, 8, 34
    cell = (width - 2 * left) / chunks
    parts = [
        f'<text class="axis-title" x="{left}" y="14">the row, cut in {chunks} chunks'
        f"{f' of {window // chunks:,} tokens' if window and window % chunks == 0 else ''}</text>"
    ]
    for chunk in range(chunks):
        parts.append(_cell(left + chunk * cell, 22, cell, tall, hue(owner[chunk], shards), str(chunk)))
    for shard, pair in enumerate(held):
        group = (width - 2 * left) / shards
        x = left + shard * group
        for place, chunk in enumerate(pair):
            centre = left + (chunk + 0.5) * cell
            target = x + group / 2 + (place - 0.5) * group * 0.42
            parts.append(
                f'<path class="thread" style="--h:{hue(shard, shards)}" d="M{centre:.1f} {22 + tall}'
                f'C{centre:.1f} {22 + tall + 34} {target:.1f} {96 - 24} {target:.1f} 98"/>'
            )
            parts.append(_cell(target - group * 0.21, 98, group * 0.42, tall, hue(shard, shards), str(chunk)))
        parts.append(
            f'<text class="axis-name" x="{x + group / 2:.1f}" y="150" text-anchor="middle">shard {shard}</text>'
        )
    return _svg(width, 158, parts, "Zigzag order: which chunks of the row each context shard holds")


def hop_picture(shards: int, hops: Sequence[Sequence[ChunkPair]], hop: int) -> Markup:
    """Query chunks down, key chunks across: pairs computed at this hop (solid) and before it (faint)."""
    chunks, side = 2 * shards, 150
    cell = side / chunks
    parts = [f'<rect class="empty" x="0" y="0" width="{side}" height="{side}"/>']
    for earlier, pairs in enumerate(hops[: hop + 1]):
        for pair in pairs:
            x, y = pair.key * cell, pair.query * cell
            css = "shard" if earlier == hop else "shard done"
            shape = (
                f'<path d="M{x:.1f} {y:.1f}v{cell:.1f}h{cell:.1f}z"'
                if pair.diagonal
                else f'<rect x="{x:.1f}" y="{y:.1f}" width="{cell:.1f}" height="{cell:.1f}"'
            )
            parts.append(f'{shape} class="{css}" style="--h:{hue(pair.shard, shards)}"/>')
    for line in range(chunks + 1):
        at = f"{line * cell:.1f}"
        parts.append(f'<path class="grid" d="M{at} 0V{side}M0 {at}H{side}"/>')
    return _svg(side, side, parts, f"Chunk pairs computed at ring hop {hop}", margin=1)


def _cell(x: float, y: float, width: float, height: float, degrees: int, label: str, name: str = "") -> str:
    """A coloured cell with a label and, if given, a small name below it."""
    middle, line = x + width / 2, y + height / 2 + (1 if name else 5)
    below = f'<text class="on-shard small" x="{middle:.1f}" y="{y + height - 12}" text-anchor="middle">{name}</text>'
    return (
        f'<g style="--h:{degrees}"><rect class="shard" x="{x + 1:.1f}" y="{y}" width="{width - 2:.1f}" '
        f'height="{height}" rx="5"/><text class="on-shard" x="{middle:.1f}" y="{line}" '
        f'text-anchor="middle">{label}</text>{below if name else ""}</g>'
    )


def _svg(width, height, parts: list[str], label: str, *, margin: int = 0, natural: bool = False) -> Markup:
    box = f"{-margin} {-margin} {width + 2 * margin} {height + 2 * margin}"
    size = f' style="max-width:{width}px"' if natural else ""
    return Markup(
        f'<svg class="picture"{size} viewBox="{box}" role="img" aria-label="{label}"><title>{label}</title>'
        f"{''.join(parts)}</svg>"
    )
