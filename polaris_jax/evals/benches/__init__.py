"""The benchmarks: prompts for the judge, the reading of its answers, and the score of a story.

``open_bench`` opens a benchmark by its command-line name. Criteria, scales and formulas are the published ones; the
rubrics are in our own words. ``pairwise`` compares two stories and is a separate module.
"""

from typing import Any

from polaris_jax.errors import InputError
from polaris_jax.evals.benches.bench import Bench, JudgePrompt, Unusable
from polaris_jax.evals.benches.eqbench_creative import EqBenchCreative
from polaris_jax.evals.benches.eqbench_longform import EqBenchLongform
from polaris_jax.evals.benches.longbench_write import LongBenchWrite
from polaris_jax.evals.benches.story_quality import StoryQuality
from polaris_jax.evals.benches.writingbench import WritingBench

# Every benchmark over single stories; ``polaris evaluate`` and ``validation.benches`` offer exactly these.
_CLASSES: tuple[type[Bench], ...] = (
    StoryQuality,
    EqBenchLongform,
    EqBenchCreative,
    WritingBench,
    LongBenchWrite,
)
BENCHES: dict[str, type[Bench]] = {cls.name: cls for cls in _CLASSES}

__all__ = ["BENCHES", "Bench", "JudgePrompt", "Unusable", "open_bench"]


def open_bench(name: str, rubric: str = "full") -> Bench:
    """Opens the benchmark with this name.

    Args:
      rubric: ``full`` uses our own prompt. ``brief`` is a short prompt for Story Quality, for judges with a small
        context window. Any other value is the address of the published prompt (``judge_template``).

    Raises:
      InputError: no such benchmark, or an unusable rubric.
    """
    if name not in BENCHES:
        raise InputError("bench", name, f"one of {', '.join(BENCHES)}")
    if name == StoryQuality.name:
        return StoryQuality(rubric)
    if rubric == "brief":
        raise InputError("--rubric", rubric, "only story-quality has a brief rubric")
    make: Any = BENCHES[name]
    return make() if rubric == "full" else make(rubric)
