"""Estimates the cost of a library's language models, before the first call: plans, and the judge of plans."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from polaris_jax.corpus.stage_timer import StageTimer
from polaris_jax.corpus.steps import Job, NovelRow, choose, novel_of, survey_all
from polaris_jax.corpus.trajectories import NovelRefused, plan_novel, refuse_hopeless, review_books, token_counter
from polaris_jax.data import Tokenizer
from polaris_jax.llm import ClientSpec
from polaris_jax.llm.usage import cost, merged
from polaris_jax.scaffold import Annotator, ForecastClient, LLMAnnotator, ModelEntailment, OfflineAnnotator

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class BookForecast:
    """The estimated cost of one novel's plans and of judging them.

    Attributes:
      file, title, words: of the novel.
      calls, prompt_tokens, answer_tokens: counted on its questions; 0 for a book that is left out.
      judge_calls: how many of the calls go to the judge.
      cached_tokens: how many of the prompt tokens would come from a provider's prompt cache.
      usd: at the models' prices; None if one of them is unknown.
      reason: why it is left out, or empty.
    """

    file: str
    title: str
    words: int
    calls: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    judge_calls: int = 0
    cached_tokens: int = 0
    usd: float | None = None
    reason: str = ""


def forecast_library(
    job: Job, addresses: Sequence[str], tokenizer: Tokenizer, progress: Progress | None = None
) -> tuple[BookForecast, ...]:
    """The price of every novel's plans, in the order of the store. Asks no model; keeps the surveys for the build.

    A judge's questions are counted on the plans of the forecast: as many bullets as a model writes, of other words.

    Args:
      job: its annotator or its judge uses a language model.
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
    spec, asked = job.annotator, list[tuple[ForecastClient, ClientSpec]]()
    annotator: Annotator = OfflineAnnotator()
    if spec.client is not None:
        client = ForecastClient(spec.client.identity, spec.thinking_tokens)
        annotator = LLMAnnotator(client, spec.samples, spec.temperature, spec.context_tokens, spec.thinking_tokens)
        asked.append((client, spec.client))
    novel, measure = novel_of(job, row, StageTimer()), token_counter(tokenizer)
    try:
        if job.options.profile == "full" and job.options.window:
            refuse_hopeless(novel, job.options, measure)
        # A book's four requests are asked together, so further prompts per book cost nothing.
        books = plan_novel(novel, annotator, job.options, measure)
    except NovelRefused as refusal:
        return BookForecast(row.file, row.title, row.words, reason=str(refusal))
    judge_calls = 0
    if job.judge.client is not None:
        client = ForecastClient(job.judge.client.identity)
        review_books(books, novel, job.options, ModelEntailment(client))
        asked.append((client, job.judge.client))
        judge_calls = client.usage.calls
    total = merged([client.usage for client, _ in asked])
    return BookForecast(
        row.file,
        row.title,
        row.words,
        total["calls"],
        total["prompt_tokens"],
        total["completion_tokens"],
        judge_calls,
        total["cached_tokens"],
        _price(asked),
    )


def _price(asked: Sequence[tuple[ForecastClient, ClientSpec]]) -> float | None:
    usd = 0.0
    for client, spec in asked:
        if spec.known_prices is None:
            return None
        used = client.usage
        usd += cost(spec.known_prices, used.prompt_tokens, used.completion_tokens, used.cached_tokens)
    return usd


def totals(books: Sequence[BookForecast]) -> dict[str, Any]:
    """Sums over the library: books that are planned and left out, calls, tokens, US dollars (None without prices)."""
    planned = [book for book in books if not book.reason]
    prices = [book.usd for book in planned if book.usd is not None]
    return {
        "books": len(planned),
        "left_out": len(books) - len(planned),
        "calls": sum(book.calls for book in planned),
        "judge_calls": sum(book.judge_calls for book in planned),
        "prompt_tokens": sum(book.prompt_tokens for book in planned),
        "answer_tokens": sum(book.answer_tokens for book in planned),
        "cached_tokens": sum(book.cached_tokens for book in planned),
        "usd": sum(prices) if len(prices) == len(planned) else None,
    }
