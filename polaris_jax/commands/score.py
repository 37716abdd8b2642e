"""``polaris score``: rewards of stories, JSON lines in and out.

Each input line is ``{"id", "prompt", "story", "target_words"?, "judge"?}``; ``judge`` is a stored reply, with which
scoring is reproducible offline. Each output line has the id, the scalar, the components, and diagnostics. The order is
kept. Replies of a model are cached, so the same command run again asks only the questions without an answer.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polaris_jax import json_lines
from polaris_jax.commands.client_flags import CLIENT, client_spec, refuse
from polaris_jax.commands.client_flags import add_flags as add_client_flags
from polaris_jax.commands.flag_types import file_to_write
from polaris_jax.errors import InputError

if TYPE_CHECKING:
    from polaris_jax.rewards import Judge, Judgement, JudgeSpec, RewardSpec

_KINDS = {"prompt": str, "story": str}
_LLM_FLAGS = {
    "samples": (int, "judgements per story; their mean is the quality (default 1)"),
    "rubric": (str, "full (default), or brief for a small context window"),
    "temperature": (float, "temperature of the judgements (default 0.2)"),
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The verb's flags."""
    parser.add_argument("stories", metavar="STORIES", help="a .jsonl file, local or gs://; - is standard input")
    parser.add_argument("--out", type=file_to_write, help="where the scores go, .jsonl (default: standard output)")
    parser.add_argument(
        "--judge",
        choices=("none", "offline", "openai", "gemini", "replay"),
        default="none",
        help="judge of stories without a stored reply; offline counts surface features and does not measure "
        "quality (default: none, only programmatic components)",
    )
    add_client_flags(parser, CLIENT | _LLM_FLAGS)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the reward: length.min_words=50, quality.dq=true, repetition_weight=2",
    )
    parser.add_argument(
        "--as-released", action="store_true", help="the released trainer's arithmetic, defects included"
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON (with --out)")


def run(arguments: argparse.Namespace) -> int:
    """Scores the stories; returns 0, 1 when a judgement or record failed or the budget is spent, 2 without records."""
    from polaris_jax.llm import BudgetSpent
    from polaris_jax.rewards import RewardSpec, open_judge, split_thinking

    a, values = arguments, vars(arguments)
    spec = RewardSpec.of(_settings(a.set), "--set")
    judge = None if a.judge == "none" else open_judge(_judge_spec(a.judge, values, a.out))
    if judge is None:
        refuse(values, (*CLIENT, *_LLM_FLAGS), "is for a model: --judge=openai|gemini|replay")
    rows, bad = _read(a.stories)
    for line in bad:
        print(f"polaris score: {line}", file=sys.stderr)
    if not rows:
        return 2
    asked = (
        []
        if judge is None
        else [
            n
            for n, row in enumerate(rows)
            if row.get("judge") is None and split_thinking(row["story"], spec.thinking_opened).story.strip()
        ]
    )
    try:
        found = _judge(judge, [rows[n] for n in asked], spec)
    except BudgetSpent as spent:
        print(f"polaris score: {spent}", file=sys.stderr)
        return 1
    judgements = dict(zip(asked, found, strict=True))
    scored = [_score(row, judgements.get(n), spec, a.as_released) for n, row in enumerate(rows)]
    text = "".join(json_lines.written(row) + "\n" for row in scored)
    failed = sum(row["failed"] is not None for row in scored)
    if a.out is None:
        sys.stdout.write(text)
    else:
        from polaris_jax import storage

        storage.write(a.out, text.encode())
        _report(scored, len(bad), failed, judge, a)
    if judge is not None:
        judge.close()
    return 1 if failed or bad else 0


def _read(place: str) -> tuple[list[dict], list[str]]:
    """The valid rows, and one line per invalid record. Everything is checked before a judge is asked.

    Raises:
      InputError: no such file, or an empty one.
    """
    from polaris_jax import storage

    content = sys.stdin.buffer.read() if place == "-" else storage.read(place)
    if content is None:
        raise InputError("STORIES", place, "no such file; give JSON lines, or - for standard input")
    name = "standard input" if place == "-" else Path(place).name
    rows: list[dict] = []
    bad: list[str] = []
    seen: dict[str | int, int] = {}
    for number, row in json_lines.parse_bytes(content):
        try:
            rows.append(_checked(row, number, f"{name} line {number}", seen))
        except InputError as error:
            bad.append(str(error))
    if not rows and not bad:
        raise InputError("STORIES", place, "has no rows")
    return rows, bad


def _checked(row: Any, number: int, where: str, seen: dict[str | int, int]) -> dict:
    """Checks a row and adds its id to ``seen``.

    Raises:
      InputError: names the line, the field and the value.
    """
    from polaris_jax.rewards import read_stored
    from polaris_jax.rewards.requested_length import LONGEST

    if isinstance(row, json_lines.InvalidLine):
        raise InputError(where, None, f"is not JSON: {row.reason}")
    if not isinstance(row, dict):
        raise InputError(where, row, "is not a JSON object")
    for field, kind in _KINDS.items():
        if not isinstance(row.get(field), kind):
            raise InputError(f"{where}: {field}", row.get(field), "is needed, as text")
    target = row.get("target_words")
    if target is not None and (isinstance(target, bool) or not isinstance(target, int) or not 0 < target <= LONGEST):
        raise InputError(f"{where}: target_words", target, f"must be a whole number of words, 1 to {LONGEST:,}")
    key = row.setdefault("id", number)
    if not isinstance(key, (str, int)):
        raise InputError(f"{where}: id", key, "must be text or a number")
    if key in seen:
        raise InputError(f"{where}: id", key, f"is the id of line {seen[key]} too")
    if row.get("judge") is not None:
        try:
            read_stored(row["judge"])
        except InputError as error:
            raise InputError(f"{where}: judge", row["judge"], error.advice) from None
    seen[key] = number
    return row


def _settings(texts: list[str]) -> dict:
    """Parses ``a.b=1`` texts into nested values."""
    settings: dict = {}
    for text in texts:
        path, equals, value = text.partition("=")
        if not equals:
            raise InputError("--set", text, "is NAME=VALUE")
        *groups, name = path.split(".")
        inner = settings
        for group in groups:
            inner = inner.setdefault(group, {})
            if not isinstance(inner, dict):
                raise InputError("--set", text, f"{group} was given a value before")
        try:
            inner[name] = json.loads(value)
        except ValueError:
            raise InputError("--set", text, "the value must be a number, true, false or null") from None
    return settings


def _judge_spec(kind: str, values: dict, out: str | None) -> "JudgeSpec":
    from polaris_jax.rewards import JudgeSpec

    if kind == "offline":
        refuse(values, (*CLIENT, *_LLM_FLAGS), "is for a model: --judge=openai|gemini|replay")
        return JudgeSpec()
    own = {name: values[name] for name in _LLM_FLAGS if values.get(name) is not None}
    return JudgeSpec("llm", client_spec(kind, values, None if out is None else f"{out}.replies"), **own)


def _judge(judge: "Judge | None", rows: list[dict], spec: "RewardSpec") -> "list[Judgement]":
    if judge is None or not rows:
        return []
    from rich.console import Console
    from rich.progress import Progress

    from polaris_jax.rewards import ModelJudge, judge_all, split_thinking

    stories = [(row["prompt"], split_thinking(row["story"], spec.thinking_opened).story) for row in rows]
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"judging by {judge.identity}", total=len(stories))

        def show(done: int, total: int) -> None:
            spent = judge.client.usage.usd if isinstance(judge, ModelJudge) else None
            price = "" if spent is None else f", {spent:.2f} USD"
            bar.update(task, completed=done, description=f"judging by {judge.identity}{price}")

        return judge_all(judge, stories, show)


def _score(row: dict, judgement: "Judgement | None", spec: "RewardSpec", as_released: bool) -> dict:
    from polaris_jax.rewards import score

    breakdown = score(
        row["story"],
        row["prompt"],
        row.get("target_words"),
        spec=spec,
        as_released=as_released,
        judgement=row["judge"] if row.get("judge") is not None else judgement,
    )
    scored = {"id": row["id"], **breakdown.to_json()}
    if judgement is not None:
        scored["judge"] = judgement.to_json()  # with it the line can be scored again offline
    return scored


def _report(scored: list[dict], bad: int, failed: int, judge: "Judge | None", arguments: argparse.Namespace) -> None:
    from polaris_jax.rewards import ModelJudge

    scalars = [row["scalar"] for row in scored if row["scalar"] is not None]
    summary: dict[str, Any] = {
        "rows": len(scored),
        "bad_records": bad,
        "scored": len(scalars),
        "failed": failed,
        "out": arguments.out,
        "mean": sum(scalars) / len(scalars) if scalars else None,
        "judge": None if judge is None else judge.identity,
        "ledger": judge.client.usage.summary() if isinstance(judge, ModelJudge) else None,
    }
    if arguments.json:
        print(json.dumps(summary, ensure_ascii=False))
        return
    mean = "" if summary["mean"] is None else f", mean {summary['mean']:.4f}"
    print(f"{summary['scored']} of {len(scored)} stories scored{mean}, {arguments.out}")
    for row in scored:
        if row["failed"]:
            print(f"  no score for {row['id']!r}: {row['failed']}")
