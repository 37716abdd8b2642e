"""Estimates the cost of a language model's plans for a library, before the first call."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from polaris_jax.corpus.stage_timer import StageTimer
from polaris_jax.corpus.steps import Job, NovelRow, choose, novel_of, survey_all
from polaris_jax.corpus.trajectories import NovelRefused, plan_novel, refuse_hopeless, token_counter
from polaris_jax.data import Tokenizer
from polaris_jax.llm.usage import cost
from polaris_jax.scaffold import ForecastClient, LLMAnnotator

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class BookForecast:
    """The estimated cost of one novel's plans.

    Attributes:
      file, title, words: of the novel.
      calls, prompt_tokens, answer_tokens: counted on its questions; 0 for a book that is left out.
      cached_tokens: how many of the prompt tokens would come from a provider's prompt cache.
      usd: at the model's prices; None if they are unknown.
      reason: why it is left out, or empty.
    """

    file: str
    title: str
    words: int
    calls: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    cached_tokens: int = 0
    usd: float | None = None
    reason: str = ""


def forecast_library(
    job: Job, addresses: Sequence[str], tokenizer: Tokenizer, progress: Progress | None = None
) -> tuple[BookForecast, ...]:
    """The price of every novel's plans, in the order of the store. Asks no model; keeps the surveys for the build.

    Args:
      job: its annotator must use a model.
      progress: called with (what, done, of how many).
    """
    chosen, found = choose(job, survey_all(job, addresses, progress)), []
    for number, row in enumerate(chosen):
        if progress:
            progress("counting", number, len(chosen))
        found.append(_forecast(job, row, tokenizer))
    return tuple(found)


def _forecast(job: Job, row: NovelRow, tokenizer: Tokenizer) -> BookForecast:
    book = BookForecast(row.file, row.title, row.words, reason=row.reason)
    if row.status != "read":
        return book
    spec = job.annotator
    assert spec.client is not None
    client = ForecastClient(spec.client.identity, spec.thinking_tokens)
    annotator = LLMAnnotator(client, spec.samples, spec.temperature, spec.context_tokens, spec.thinking_tokens)
    novel, measure = novel_of(job, row, StageTimer()), token_counter(tokenizer)
    try:
        if job.options.profile == "full" and job.options.window:
            refuse_hopeless(novel, job.options, measure)
        # A book's four requests are asked together, so further prompts per book cost nothing.
        plan_novel(novel, annotator, job.options, measure)
    except NovelRefused as refusal:
        return BookForecast(row.file, row.title, row.words, reason=str(refusal))
    usage, prices = client.usage, spec.client.known_prices
    prompt, answer, cached = usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens
    usd = None if prices is None else cost(prices, prompt, answer, cached)
    return BookForecast(row.file, row.title, row.words, usage.calls, prompt, answer, cached, usd)


def totals(books: Sequence[BookForecast]) -> dict[str, Any]:
    """Sums over the library: books that are planned and left out, calls, tokens, US dollars (None without prices)."""
    planned = [book for book in books if not book.reason]
    prices = [book.usd for book in planned if book.usd is not None]
    return {
        "books": len(planned),
        "left_out": len(books) - len(planned),
        "calls": sum(book.calls for book in planned),
        "prompt_tokens": sum(book.prompt_tokens for book in planned),
        "answer_tokens": sum(book.answer_tokens for book in planned),
        "cached_tokens": sum(book.cached_tokens for book in planned),
        "usd": sum(prices) if len(prices) == len(planned) else None,
    }
