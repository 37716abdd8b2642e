"""Flags of the judges: ``--judge`` once per judge, and the flags of a model's client."""

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from polaris_jax import storage
from polaris_jax.commands import client_flags
from polaris_jax.commands.flag_types import file_to_write
from polaris_jax.errors import InputError
from polaris_jax.llm.forecast import CHARACTERS_PER_TOKEN
from polaris_jax.llm.spec import ClientSpec

if TYPE_CHECKING:
    from polaris_jax.evals.judging import BenchJudge, JudgeQuestion

# Fields whose plain names are flags of the writing models; the judges' flags begin with ``--judge-``.
_PREFIXED = ("top_p",)


@dataclass(frozen=True)
class OpenJudge:
    """A judge, its client's spec, and the file that keeps its usage over all runs in this folder."""

    judge: "BenchJudge"
    spec: ClientSpec
    usage_file: str


def add_judge_flags(parser: argparse.ArgumentParser) -> None:
    """``--judge`` and its options."""
    parser.add_argument("--judge", action="append", metavar="JUDGE", help=f"{client_flags.NAMED}; may be repeated")
    parser.add_argument(
        "--judge-samples", type=int, default=1, help="answers per question, to measure a judge's variance"
    )
    parser.add_argument("--judge-temperature", type=float, default=0.2)
    parser.add_argument("--judge-seed", type=int, default=42)
    parser.add_argument("--judge-max-tokens", type=int, default=16_384, help="limit of an answer, including reasoning")
    parser.add_argument(
        "--batch-out",
        type=file_to_write,
        metavar="FILE",
        help="make no calls: write the questions as an OpenAI batch file",
    )
    parser.add_argument("--batch-in", metavar="FILE", help="first read the answers in a provider's batch output file")
    client_flags.add_flags(parser, {_flag(name): flag for name, flag in client_flags.IN_NAMED.items()})


def add_estimate_flag(parser: argparse.ArgumentParser) -> None:
    """``--estimate``, for benchmarks whose questions are known before the first answer."""
    parser.add_argument(
        "--estimate",
        action="store_true",
        help="print the cost of judging (calls, tokens, dollars, hours) and stop; asks and writes nothing",
    )


def print_estimate(
    arguments: argparse.Namespace, out: str, questions: "Sequence[JudgeQuestion]", answer_tokens: int
) -> int:
    """Prints the forecast of every judge; returns the exit code.

    Args:
      answer_tokens: tokens of a usual answer.

    Raises:
      InputError: no judge, or one that cannot be parsed.
    """
    from polaris_jax.evals.judging import question_request
    from polaris_jax.llm.forecast import forecast
    from polaris_jax.prices import read_prices

    specs = judge_specs(arguments, out)
    asked = [
        question_request(one, arguments.judge_temperature, arguments.judge_max_tokens, arguments.judge_seed)
        for one in questions
    ]
    found = [forecast(asked, spec, answer_tokens) for spec in specs]
    known = [one.usd for one in found if one.usd is not None]
    total = sum(known) if len(known) == len(found) else None
    if arguments.json:
        dated = read_prices().dates.get("models")
        rows = [one.to_json() for one in found]
        print(json.dumps({"judges": rows, "usd": total, "answer_tokens": answer_tokens, "prices_date": dated}))
        return 0
    print(*found, sep="\n")
    if len(found) > 1 and total is not None:
        print(f"together about ${total:,.2f}")
    print(
        f"Counted on the questions themselves, at {CHARACTERS_PER_TOKEN:g} characters per token and {answer_tokens:,} "
        "tokens per answer; repeated calls are not counted."
    )
    return 0


def judge_specs(arguments: argparse.Namespace, out: str) -> list[ClientSpec]:
    """The clients of the command line's judges; their caches are in ``out``.

    Raises:
      InputError: no judge, one that cannot be parsed, or one named twice.
    """
    from polaris_jax.evals.judging import judge_name

    if not arguments.judge:
        raise InputError("--judge", None, f"say who judges: {client_flags.NAMED}")
    if arguments.judge_samples < 1:
        raise InputError("--judge-samples", arguments.judge_samples, "at least 1")
    specs: list[ClientSpec] = []
    for text in arguments.judge:
        spec = judge_spec(text, vars(arguments), storage.join(out, "replies"))
        if any(judge_name(spec.identity) == judge_name(other.identity) for other in specs):
            raise InputError("--judge", text, "is named twice; --judge-samples asks one judge several times")
        specs.append(spec)
    return specs


def open_judges(arguments: argparse.Namespace, out: str) -> list[OpenJudge]:
    """The judges of the command line, each with a cache and a usage file in ``out``.

    Raises:
      InputError: no judge, one that cannot be parsed, or one named twice.
    """
    from polaris_jax.evals.judging import BenchJudge, judge_name
    from polaris_jax.llm import UsageTracker, open_client

    judges: list[OpenJudge] = []
    for spec in judge_specs(arguments, out):
        name = judge_name(spec.identity)
        usage_file = storage.join(out, "ledgers", f"{name}.json")
        usage = UsageTracker(spec.budget_tokens, spec.budget_usd, spec.known_prices)
        if storage.read(usage_file) is not None:
            usage.restore(usage_file)
        judge = BenchJudge(
            spec.identity,
            open_client(spec, usage=usage),
            spec.concurrency,
            arguments.judge_max_tokens,
            arguments.judge_temperature,
            arguments.judge_seed,
        )
        judges.append(OpenJudge(judge, spec, usage_file))
    return judges


def judge_spec(text: str, values: Mapping[str, Any], cache: str) -> ClientSpec:
    """The client of one ``--judge``: its own fields, then the flags that all judges share.

    Raises:
      InputError: it cannot be parsed.
    """
    shared = {name: values.get(_flag(name)) for name in client_flags.IN_NAMED}
    return client_flags.named_client("--judge", text, shared, cache)


def _flag(name: str) -> str:
    return f"judge_{name}" if name in _PREFIXED else name


def batch(arguments: argparse.Namespace, judges: Sequence[OpenJudge], questions: "Sequence[JudgeQuestion]") -> bool:
    """Reads ``--batch-in`` and writes ``--batch-out``; True when the command ends after that.

    Raises:
      InputError: batch mode with several judges, or with a provider that has no batches.
    """
    if not (arguments.batch_out or arguments.batch_in):
        return False
    from polaris_jax.evals.judging import request_of
    from polaris_jax.llm.batch import read_batch, write_batch

    if len(judges) != 1:
        raise InputError("--judge", len(judges), "batch files are made for one judge at a time")
    [only] = judges
    requests = [request_of(question, only.judge) for question in questions]
    if arguments.batch_in:
        found = read_batch(arguments.batch_in, requests, only.spec, only.judge.client.usage)
        print(
            f"{found.kept} answers taken, {sum(found.unusable.values())} unusable {found.unusable or ''}, "
            f"{found.unknown} to other questions"
        )
    if arguments.batch_out:
        files = write_batch(requests, only.spec, arguments.batch_out)
        print("\n".join(files) if files else "nothing to ask: every answer is in the cache")
        return True
    return False


def usage_keeper(judges: Sequence[OpenJudge], every: float = 2.0) -> Callable[[], None]:
    """A function that writes the usage files, at most every ``every`` seconds, so that a killed run keeps its costs."""
    last = time.monotonic()

    def keep() -> None:
        nonlocal last
        if time.monotonic() - last >= every:
            for one in judges:
                one.judge.client.usage.write(one.usage_file)
            last = time.monotonic()

    return keep


def close_judges(judges: Sequence[OpenJudge]) -> dict[str, dict]:
    """Writes the usage files and closes the clients; returns the cost of each judge, for the report."""
    costs = {}
    for one in judges:
        summary = one.judge.client.usage.summary()
        storage.write_json(one.usage_file, summary)
        one.judge.client.close()
        costs[one.judge.name] = {
            key: summary[key] for key in ("calls", "failed", "retries", "prompt_tokens", "completion_tokens", "usd")
        }
    return costs
