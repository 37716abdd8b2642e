"""The benchmarks: what a judge is asked about a story, how its answer is read, and the score of a story.

``open_bench`` finds one by its name on the command line. Criteria, scales and formulas are the published ones; the
words of the rubrics are ours. ``pairwise`` compares two stories and is a module of its own beside them.
"""

from polaris_jax.errors import InputError
from polaris_jax.evals.benches.bench import Ask, Bench, Unusable
from polaris_jax.evals.benches.eqbench_creative import EqBenchCreative
from polaris_jax.evals.benches.eqbench_longform import EqBenchLongform
from polaris_jax.evals.benches.longbench_write import LongBenchWrite
from polaris_jax.evals.benches.story_quality import StoryQuality
from polaris_jax.evals.benches.writingbench import WritingBench

BENCHES = {cls.name: cls for cls in (StoryQuality, EqBenchLongform, EqBenchCreative, WritingBench, LongBenchWrite)}

__all__ = ["BENCHES", "Ask", "Bench", "Unusable", "open_bench"]


def open_bench(name: str, rubric: str = "full") -> Bench:
    """The benchmark of that name.

    Args:
      rubric: ``brief`` asks Story Quality in few words, for judges with a small context window.

    Raises:
      InputError: there is none.
    """
    if name not in BENCHES:
        raise InputError("bench", name, f"one of {', '.join(BENCHES)}")
    return StoryQuality(rubric) if name == StoryQuality.name else BENCHES[name]()
