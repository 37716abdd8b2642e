"""The benchmarks of ``polaris evaluate`` during ``polaris rl`` (``config.validation.benches``)."""

from polaris_jax import storage
from polaris_jax.errors import InputError
from polaris_jax.evals import BENCHES, BenchJudge, Generation, evaluate, jsonl, open_bench, read_prompts
from polaris_jax.llm import Client
from polaris_jax.rl.benches import Writer

_SETS = {"writingbench": "writingbench-d4"}  # benchmark → its packaged prompts, if the names differ
FOLDER = "benches"


def check_names(names: tuple[str, ...]) -> None:
    """Refuses an unknown benchmark, and one that does not judge single stories.

    Raises:
      InputError: names the known benchmarks.
    """
    for name in names:
        if name not in BENCHES:
            raise InputError("config.validation.benches", name, f"choose of {', '.join(BENCHES)}")


def run_bench(name: str, limit: int, write: Writer, judge: Client, step: int, workdir: str) -> dict[str, float]:
    """See ``rl.benches.BenchRunner``; writes ``benches/NAME-000020.jsonl``: stories with their scores."""
    bench = open_bench(name)
    prompts = read_prompts(_SETS.get(name, name))[0]
    if 0 < limit < len(prompts):
        prompts = [prompts[index * len(prompts) // limit] for index in range(limit)]
    stories = write([prompt.text for prompt in prompts])
    generations = [
        Generation(prompt.id, prompt.text, story, prompt.target_words, "policy", prompt.meta, prompt.unit)
        for prompt, story in zip(prompts, stories, strict=True)
    ]
    result = evaluate(bench, generations, [BenchJudge(judge.identity, judge)])
    rows = [
        score.to_json() | {"prompt": one.prompt, "story": one.story}
        for score, one in zip(result.scores, generations, strict=True)
    ]
    jsonl.write(storage.join(workdir, FOLDER, f"{name}-{step:06d}.jsonl"), rows)
    found = [score.measures[bench.headline] for score in result.scores if bench.headline in score.measures]
    means = {"stories": float(len(found)), "failed": float(sum(score.failed for score in result.scores))}
    return means | ({"score": sum(found) / len(found)} if found else {})
