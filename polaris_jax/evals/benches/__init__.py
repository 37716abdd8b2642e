"""The benchmarks: the judge's prompts about a story, how an answer is read, and the score of a story.

``open_bench`` finds one by its name on the command line. Criteria, scales and formulas are the published ones; the
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

# Every benchmark over single stories: ``polaris evaluate`` and ``validation.benches`` know those that stand here.
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
    """The benchmark of that name.

    Args:
      rubric: ``full``: the judge's prompt is our own. ``brief`` asks Story Quality in few words, for judges with a
        small context window. Anything else is the address of the published prompt (``judge_template``).

    Raises:
      InputError: there is none, or the rubric cannot be used.
    """
    if name not in BENCHES:
        raise InputError("bench", name, f"one of {', '.join(BENCHES)}")
    if name == StoryQuality.name:
        return StoryQuality(rubric)
    if rubric == "brief":
        raise InputError("--rubric", rubric, "only story-quality has a brief rubric")
    make: Any = BENCHES[name]
    return make() if rubric == "full" else make(rubric)
