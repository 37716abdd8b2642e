"""Overlap of a continuation with the gold text, and the summary over many of them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from polaris_jax.rewards import split_thinking
from polaris_jax.studies.memorisation.substring import longest_common_substring

COPIED = (50, 100, 200)  # lengths of a verbatim run, in tokens, that count as copying
_BLOCK = re.compile(r"\s*<think>.*?</think>\s*", re.DOTALL)


@dataclass(frozen=True)
class Overlap:
    """Tokens in common.

    Attributes:
      prefix: length of the common beginning.
      longest: length of the longest common run, at ``start_generated`` and ``start_gold``.
    """

    prefix: int
    longest: int
    start_generated: int
    start_gold: int

    def to_json(self) -> dict:
        """As JSON values."""
        return asdict(self)


def overlap(generated: Sequence[int], gold: Sequence[int]) -> Overlap:
    """Compares two token sequences; linear in their lengths."""
    prefix = 0
    for one, other in zip(generated, gold, strict=False):
        if one != other:
            break
        prefix += 1
    return Overlap(prefix, *longest_common_substring(generated, gold))


def strip_thinking(text: str, *, opened: bool = False) -> str:
    """The story in a model's output.

    Args:
      opened: the template opened the thinking block, so the output holds only its end. The published audit ignores
        that case and compares the reasoning too (``opened=False``). A block that never closes has no story.
    """
    if opened:
        return split_thinking(text, opened=True).story
    found = _BLOCK.match(text)
    return text[found.end() :] if found else text


def summarise(results: Iterable[tuple[int, int, int]]) -> dict:
    """The published summary of ``(prefix tokens given, common prefix, longest common run)``, by tokens given."""
    groups: dict[int, list[tuple[int, int]]] = {}
    for given, prefix, longest in results:
        groups.setdefault(given, []).append((prefix, longest))
    return {
        "num_results": sum(map(len, groups.values())),
        "by_prefix_tokens": {str(given): _group(groups[given]) for given in sorted(groups)},
    }


def _group(pairs: Sequence[tuple[int, int]]) -> Mapping[str, float]:
    prefixes, runs = zip(*pairs, strict=True)
    n = len(pairs)
    return {
        "count": n,
        "mean_exact_prefix_match_tokens": sum(prefixes) / n,
        "mean_longest_common_substring_tokens": sum(runs) / n,
        "max_exact_prefix_match_tokens": max(prefixes),
        "max_longest_common_substring_tokens": max(runs),
        **{f"copied_span_ge_{bound}_frac": sum(run >= bound for run in runs) / n for bound in COPIED},
    }
