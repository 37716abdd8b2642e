"""Who judges: ``--judge`` as often as there are judges, with the flags of a model's client."""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polaris_jax import storage
from polaris_jax.commands import client_flags
from polaris_jax.errors import InputError

_SHARED = {name: flag for name, flag in client_flags.CLIENT.items() if name != "model"}
_ADVICE = "PROVIDER:MODEL[@BASE_URL][,field=value...], such as openai:gpt-5.4,prices=1.25/10 or openai:m@http://host/v1"


@dataclass(frozen=True)
class OpenJudge:
    """A judge with what it was made of; ``ledger_file`` keeps what it has cost over all runs in this folder."""

    judge: Any
    spec: Any
    ledger_file: str


def add_judge_flags(parser: argparse.ArgumentParser) -> None:
    """``--judge`` and what goes with it."""
    parser.add_argument("--judge", action="append", metavar="JUDGE", help=f"{_ADVICE}; may be repeated")
    parser.add_argument("--judge-samples", type=int, default=1, help="answers per question, to see how a judge wavers")
    parser.add_argument("--judge-temperature", type=float, default=0.2)
    parser.add_argument("--judge-seed", type=int, default=42)
    parser.add_argument("--judge-max-tokens", type=int, default=16_384, help="of an answer, hidden reasoning included")
    parser.add_argument("--batch-out", metavar="FILE", help="ask nothing: write the questions as an OpenAI batch file")
    parser.add_argument("--batch-in", metavar="FILE", help="first take the answers of a provider's batch output file")
    client_flags.add_flags(parser, _SHARED)


def open_judges(arguments: argparse.Namespace, out: str) -> list[OpenJudge]:
    """The judges of the command line, each with a cache and a ledger in ``out``.

    Raises:
      InputError: no judge, one that cannot be understood, or one named twice.
    """
    from polaris_jax.evals.judging import Judge, judge_name
    from polaris_jax.llm import Ledger, open_client

    if not arguments.judge:
        raise InputError("--judge", None, f"say who judges: {_ADVICE}")
    if arguments.judge_samples < 1:
        raise InputError("--judge-samples", arguments.judge_samples, "at least 1")
    judges = []
    for text in arguments.judge:
        spec = judge_spec(text, vars(arguments), storage.join(out, "replies"))
        name = judge_name(spec.identity)
        if any(name == judge_name(other.spec.identity) for other in judges):
            raise InputError("--judge", text, "is named twice; --judge-samples asks one judge several times")
        ledger_file = storage.join(out, "ledgers", f"{name}.json")
        ledger = Ledger(spec.budget_tokens, spec.budget_usd, spec.prices)
        _restore(ledger, ledger_file)
        judge = Judge(spec.identity, open_client(spec, ledger=ledger), spec.concurrency, arguments.judge_max_tokens,
                      arguments.judge_temperature, arguments.judge_seed)  # fmt: skip
        judges.append(OpenJudge(judge, spec, ledger_file))
    return judges


def judge_spec(text: str, values: Mapping[str, Any], cache: str):
    """The ``ClientSpec`` of one ``--judge``: its own fields, then the flags that all judges share.

    Raises:
      InputError: it cannot be understood.
    """
    head, *fields = text.split(",")
    provider, colon, model = head.partition(":")
    model, _, address = model.partition("@")
    if not colon or not model:
        raise InputError("--judge", text, _ADVICE)
    given = {name: values.get(name) for name in _SHARED} | {"model": model}
    if address:
        given["base_url"] = address
    for one in fields:
        name, equals, value = one.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in _SHARED:
            raise InputError("--judge", one, f"fields are {', '.join(_SHARED)}, written as field=value")
        try:
            given[name] = value.replace("/", ",") if name == "prices" else _SHARED[name][0](value)
        except ValueError:
            raise InputError("--judge", one, _SHARED[name][1]) from None
    return client_flags.client_spec(provider, given, cache)


def batch(arguments: argparse.Namespace, judges: Sequence[OpenJudge], questions: Sequence[Any]) -> bool:
    """Does what ``--batch-in`` and ``--batch-out`` ask for; True when there is nothing else to do now.

    Raises:
      InputError: batch mode with several judges, or with one that has none.
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
        found = read_batch(arguments.batch_in, requests, only.spec, only.judge.client.ledger)
        print(f"{found.kept} answers taken, {sum(found.unusable.values())} unusable {found.unusable or ''}, "
              f"{found.unknown} to other questions")
    if arguments.batch_out:
        files = write_batch(requests, only.spec, arguments.batch_out)
        print("\n".join(files) if files else "nothing to ask: every answer is in the cache")
        return True
    return False


def close_judges(judges: Sequence[OpenJudge]) -> dict[str, dict]:
    """Writes the ledgers and closes the clients; what each judge has cost, for the report."""
    costs = {}
    for one in judges:
        summary = one.judge.client.ledger.summary()
        storage.write_json(one.ledger_file, summary)
        one.judge.client.close()
        costs[one.judge.name] = {key: summary[key] for key in ("calls", "failed", "retries", "prompt_tokens",
                                                               "completion_tokens", "usd")}  # fmt: skip
    return costs


def _restore(ledger, address: str) -> None:
    content = storage.read(address)
    if content is not None:
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            ledger.restore(file.name)
