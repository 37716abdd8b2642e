"""Facts before a run starts: the lengths that its prompts ask for, their sources, and what its judge will cost."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from polaris_jax.errors import InputError
from polaris_jax.llm import ClientSpec
from polaris_jax.llm.forecast import CHARACTERS_PER_TOKEN, duration, hours
from polaris_jax.rewards import JudgeSpec, LengthSpec, LengthTarget, find_target, rubric
from polaris_jax.rl.config import RlConfig
from polaris_jax.rl.tasks import RlTask

WORD_CHARACTERS = 5.7  # mean per word in English fiction, space included


@dataclass(frozen=True)
class LengthReport:
    """The requested lengths of a run's tasks: shortest, longest, and counts per source."""

    shortest: int | None
    longest: int | None
    sources: dict[str, int]
    guessed: int

    def __str__(self) -> str:
        if self.shortest is None or self.longest is None:
            return f"no targets, {self.guessed} guessed"
        span = _short(self.shortest)
        span += "" if self.longest == self.shortest else f"-{_short(self.longest)}"
        from_where = ", ".join(f"{count} from the {name}" for name, count in self.sources.items())
        return f"targets {span} words ({from_where}), {self.guessed} guessed"


@dataclass(frozen=True)
class JudgeForecast:
    """The expected cost of judging a run; ``usd`` is None without ``judge.prices``.

    Attributes:
      calls: questions to the judge, one per sample. A human reference counts once, because its judgement is kept.
      hours: time of the judge alone, with ``judge.concurrency`` calls always in flight.
      tokens: prompt and completion together.
    """

    calls: int
    prompt_tokens: int
    completion_tokens: int
    usd: float | None
    hours: float

    @property
    def tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens

    def __str__(self) -> str:
        price = "unknown without config.judge.prices" if self.usd is None else f"about {self.usd:,.2f} USD"
        return f"{self.calls:,} questions, about {self.tokens / 1e6:,.1f} M tokens, {price}, {duration(self.hours)}"


def target_of(task: RlTask, spec: LengthSpec) -> LengthTarget:
    """The target length of a task's responses."""
    return find_target(task.request, spec, task.target_words, task.human_reference_words)


def length_report(tasks: Sequence[RlTask], config: RlConfig) -> LengthReport:
    """The lengths that ``tasks`` ask for.

    Raises:
      InputError: some are guessed, and the config refuses guesses.
    """
    targets = [(task, target_of(task, config.rewards.length)) for task in tasks]
    numbers = [target.words for _, target in targets if target.words is not None]
    guessed = [task for task, target in targets if target.guessed]
    report = LengthReport(
        min(numbers, default=None),
        max(numbers, default=None),
        dict(Counter(target.source for _, target in targets if target.words is not None).most_common()),
        len(guessed),
    )
    if config.data.guessed_lengths == "refuse" and guessed:
        raise InputError(
            "config.data.train",
            guessed[0].request[:80],
            f"{len(guessed)} of {len(tasks)} prompts name no length, or one to be guessed ({guessed[0].uid} is one); "
            "give target_word_count, say it as 'N words long', or set config.data.guessed_lengths=warn",
        )
    return report


def judge_forecast(
    spec: JudgeSpec | None, config: RlConfig, tasks: Sequence[RlTask], validation: Sequence[RlTask], done: int = 0
) -> JudgeForecast | None:
    """The cost of judging the steps after ``done`` if responses are as long as asked; None if no model judges.

    Without tasks, every response is assumed to have the largest allowed length, and every human reference to be new.
    """
    if spec is None or not isinstance(spec.client, ClientSpec) or config.rl.objective == "orpo":
        return None
    steps = max(0, config.train.steps - done)
    rows = steps * config.rl.prompts_per_step * config.rl.group_size
    again = 0
    if config.rl.human_reference.peak > 0:  # in later epochs a reference's judgement is in the cache
        human = sum(task.human_reference is not None for task in tasks)
        shown = steps * config.rl.prompts_per_step * human // max(1, len(tasks))
        again = max(0, shown - human)
    times = steps // config.validation.every + bool(steps % config.validation.every) + config.validation.first
    calls = spec.samples * (max(0, rows - again) + len(validation) * times)
    words = [target_of(task, config.rewards.length).words or config.rollout.max_tokens / 1.3 for task in tasks]
    most = config.rollout.max_tokens * CHARACTERS_PER_TOKEN
    characters = sum(len(task.request) + min(most, WORD_CHARACTERS * n) for task, n in zip(tasks, words, strict=True))
    if not tasks:
        characters = most
    fixed = len(rubric.instructions(spec.rubric)) + len(rubric.schema(spec.rubric))
    prompt = int(calls * (fixed + characters / max(1, len(tasks))) / CHARACTERS_PER_TOKEN)
    completion = calls * rubric.ANSWER_TOKENS[spec.rubric]
    prices = spec.client.known_prices
    usd = None if prices is None else (prompt * prices[0] + completion * prices[1]) / 1e6
    return JudgeForecast(calls, prompt, completion, usd, hours(calls, completion, spec.client.concurrency))


def _short(words: int) -> str:
    return f"{words / 1000:g}k" if words >= 1000 and words % 100 == 0 else f"{words:,}"
