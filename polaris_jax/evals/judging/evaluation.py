"""One benchmark over many stories and judges: the questions, the records, and every story's score."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from polaris_jax.evals.benches import Bench, JudgePrompt, Unusable
from polaris_jax.evals.generations import Generation
from polaris_jax.evals.judging.ask import BenchJudge, JudgeQuestion, JudgeRecords, ask_judge
from polaris_jax.evals.length import length_score

Progress = Callable[[str, int, int], None]  # judge, answered questions, all questions


@dataclass(frozen=True)
class StoryScore:
    """One story under one judge.

    Attributes:
      words: as the benchmark counts them.
      measures: measures by name, including the benchmark's headline measure; empty without a usable answer.
      spread: standard deviation of the headline measure over repeated samples of the judge; None with one sample.
      failed: number of answers that failed or are unusable.
      empty: whether the model wrote nothing. Then the headline measure is the minimum of the scale, without a call.
    """

    model: str
    id: str
    judge: str
    words: int
    target_words: int | None
    measures: Mapping[str, float]
    spread: float | None = None
    failed: int = 0
    empty: bool = False

    @property
    def length_ratio(self) -> float | None:
        """Words written divided by words requested."""
        return self.words / self.target_words if self.target_words else None

    def to_json(self) -> dict:
        """The score as JSON values, with the published length score."""
        requested = self.target_words
        return {
            "model": self.model,
            "id": self.id,
            "judge": self.judge,
            "words": self.words,
            "target_words": requested,
            "length_ratio": self.length_ratio,
            "length_score": length_score(requested, self.words) if requested else None,
            "empty": self.empty,
            "failed": self.failed,
            "spread": self.spread,
            **self.measures,
        }


@dataclass(frozen=True)
class BenchResult:
    """The result of a benchmark.

    Attributes:
      records: one per question, story by story, judge by judge.
      scores: one per story and judge.
      stopped: judge → why it was not asked every question.
    """

    bench: Bench
    records: list[dict]
    scores: list[StoryScore]
    stopped: Mapping[str, str]


def evaluate(
    bench: Bench,
    generations: Sequence[Generation],
    judges: Sequence[BenchJudge],
    *,
    samples: int = 1,
    progress: Progress = lambda judge, done, total: None,
) -> BenchResult:
    """Asks every judge about every story.

    Args:
      samples: answers per question, each with its own seed, to measure a judge's variance.

    Raises:
      InputError: a judge cannot be asked at all (no key, no cache).
    """
    records: list[dict] = []
    scores: list[StoryScore] = []
    stopped: dict[str, str] = {}
    for judge in judges:
        asked, left_out = questions(bench, generations, samples)
        answered = ask_judge(asked, judge, partial(progress, judge.name))
        if answered.stopped:
            stopped[judge.name] = answered.stopped
        rows = _in_order(generations, answered, left_out, judge)
        records += rows
        scores += story_scores(bench, generations, rows, judge.name)
    return BenchResult(bench, records, scores, stopped)


def questions(
    bench: Bench, generations: Sequence[Generation], samples: int = 1
) -> tuple[list[JudgeQuestion], list[dict]]:
    """The questions about every story, and records of the stories without a question."""
    asked: list[JudgeQuestion] = []
    left_out: list[dict] = []
    for generation in generations:
        about = {"bench": bench.name, "model": generation.model, "id": generation.id}
        try:
            if not generation.story.strip():
                raise Unusable("the story is empty")
            asked += [
                JudgeQuestion(
                    about | {"unit": prompt.unit},
                    prompt,
                    _reader(bench, generation, prompt),
                    bench.name,
                    bench.version,
                    n,
                )
                for prompt in bench.judge_prompts(generation)
                for n in range(samples)
            ]
        except Unusable as error:
            kind = "unusable" if generation.story.strip() else "empty_story"
            left_out.append(about | {"error": {"kind": kind, "detail": str(error)}})
    return asked, left_out


def story_scores(
    bench: Bench, generations: Sequence[Generation], records: Sequence[Mapping], judge: str
) -> list[StoryScore]:
    """Every story's measures from its records under one judge."""
    grouped: dict[tuple[str, str], list[Mapping]] = {}
    for record in records:
        grouped.setdefault((record["model"], record["id"]), []).append(record)
    return [_score(bench, one, grouped.get((one.model, one.id), []), judge) for one in generations]


def _score(bench: Bench, one: Generation, records: Sequence[Mapping], judge: str) -> StoryScore:
    empty = not one.story.strip()
    by_sample: dict[int, list[Mapping[str, float]]] = {}
    for record in records:
        if "scores" in record:
            by_sample.setdefault(record["sample"], []).append(record["scores"])
    headlines = [
        headline
        for readings in by_sample.values()
        if (headline := bench.story_measures(readings).get(bench.headline)) is not None
    ]
    readings = [reading for sample in by_sample.values() for reading in sample]
    measures = dict(bench.story_measures(readings)) if readings else {bench.headline: bench.scale[0]} if empty else {}
    spread = None
    if len(headlines) > 1:
        mean = sum(headlines) / len(headlines)
        spread = (sum((h - mean) ** 2 for h in headlines) / (len(headlines) - 1)) ** 0.5
    failed = 0 if empty else sum("error" in record for record in records)
    words = one.length(bench.count_words)
    return StoryScore(one.model, one.id, judge, words, one.target_words, measures, spread, failed, empty)


def _reader(bench: Bench, generation: Generation, prompt: JudgePrompt) -> Callable[[str], dict]:
    return lambda text: bench.read_answer(text, generation, prompt.unit)


def _in_order(
    generations: Sequence[Generation], answered: JudgeRecords, left_out: Sequence[dict], judge: BenchJudge
) -> list[dict]:
    """The records story by story, including those without a question."""
    place = {(one.model, one.id): n for n, one in enumerate(generations)}
    rows = [*answered.records, *({**row, "judge": judge.name, "sample": 0} for row in left_out)]
    return sorted(rows, key=lambda row: place[row["model"], row["id"]])
