"""One benchmark over many stories and judges: the questions, the records, and every story's score."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from polaris_jax.evals.benches import Ask, Bench, Unusable
from polaris_jax.evals.generations import Generation
from polaris_jax.evals.judging import Judge, Judged, Question, ask_judge
from polaris_jax.evals.length import length_score

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class StoryScore:
    """One story under one judge.

    Attributes:
      measures: by name, the benchmark's headline among them; empty when no answer could be used.
      spread: standard deviation of the headline over repeated samples of the judge; None with one.
      failed: answers that could not be had or used.
      empty: the model wrote nothing; the headline is the least of the scale and no judge was asked.
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
        """Words written over words asked for."""
        return self.words / self.target_words if self.target_words else None

    def to_json(self) -> dict:
        """As JSON values, with the published length score beside."""
        asked = self.target_words
        return {
            "model": self.model, "id": self.id, "judge": self.judge, "words": self.words, "target_words": asked,
            "length_ratio": self.length_ratio, "length_score": length_score(asked, self.words) if asked else None,
            "empty": self.empty, "failed": self.failed, "spread": self.spread, **self.measures,
        }  # fmt: skip


@dataclass(frozen=True)
class Evaluation:
    """What came of a benchmark: ``records`` of every call in a fixed order, ``scores`` of every story and judge.

    Attributes:
      stopped: judge → why it could not be asked everything.
    """

    bench: Bench
    records: list[dict]
    scores: list[StoryScore]
    stopped: Mapping[str, str]


def evaluate(
    bench: Bench, generations: Sequence[Generation], judges: Sequence[Judge], *, samples: int = 1,
    progress: Progress = lambda what, done, total: None,
) -> Evaluation:  # fmt: skip
    """Has every judge judge every story.

    Args:
      samples: answers per question, drawn with seeds of their own, to see how much a judge wavers.

    Raises:
      InputError: a judge cannot be asked at all (no key, no cache).
    """
    records, scores, stopped = [], [], {}
    for judge in judges:
        asked, left_out = questions(bench, generations, samples)
        judged = ask_judge(asked, judge, lambda done, total, name=judge.name: progress(name, done, total))
        if judged.stopped:
            stopped[judge.name] = judged.stopped
        rows = _in_order(generations, judged, left_out, judge)
        records += rows
        scores += story_scores(bench, generations, rows, judge.name)
    return Evaluation(bench, records, scores, stopped)


def questions(bench: Bench, generations: Sequence[Generation], samples: int = 1) -> tuple[list[Question], list[dict]]:
    """What to ask, and records of the stories that nothing can be asked about."""
    asked, left_out = [], []
    for generation in generations:
        about = {"bench": bench.name, "model": generation.model, "id": generation.id}
        try:
            if not generation.story.strip():
                raise Unusable("the story is empty")
            asked += [
                Question(about | {"unit": ask.unit}, ask, _reader(bench, generation, ask), bench.name, bench.version, n)
                for ask in bench.asks(generation)
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
    headlines = [h for readings in by_sample.values()
                 if (h := bench.story(readings).get(bench.headline)) is not None]  # fmt: skip
    readings = [reading for sample in by_sample.values() for reading in sample]
    measures = dict(bench.story(readings)) if readings else {bench.headline: bench.scale[0]} if empty else {}
    spread = None
    if len(headlines) > 1:
        mean = sum(headlines) / len(headlines)
        spread = (sum((h - mean) ** 2 for h in headlines) / (len(headlines) - 1)) ** 0.5
    failed = 0 if empty else sum("error" in record for record in records)
    return StoryScore(one.model, one.id, judge, one.words, one.target_words, measures, spread, failed, empty)


def _reader(bench: Bench, generation: Generation, ask: Ask) -> Callable[[str], dict]:
    return lambda text: bench.read(text, generation, ask.unit)


def _in_order(generations: Sequence[Generation], judged: Judged, left_out: Sequence[dict], judge: Judge) -> list[dict]:
    """Records story by story, those without a question among them."""
    place = {(one.model, one.id): n for n, one in enumerate(generations)}
    rows = [*judged.records, *({**row, "judge": judge.name, "sample": 0} for row in left_out)]
    return sorted(rows, key=lambda row: place[row["model"], row["id"]])
