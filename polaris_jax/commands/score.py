"""``polaris score``: rewards of stories, JSON lines in and out.

Each line is ``{"id", "prompt", "story", "target_words"?, "judge"?}``; ``judge`` is a stored reply and makes scoring
reproducible offline. Each line out has the id, the scalar, the components, and diagnostics. The order is kept. Replies
of a model are cached, so the same command again asks only about what is not answered yet.
"""

import argparse
import json
import sys
from pathlib import Path

from polaris_jax.commands.client_flags import CLIENT, client_spec, refuse
from polaris_jax.commands.client_flags import add_flags as add_client_flags
from polaris_jax.errors import InputError

_KINDS = {"prompt": str, "story": str}
_LLM_FLAGS = {"samples": (int, "draws per story; their mean is the quality (default 1)"),
              "rubric": (str, "full (default), or brief for a small context window"),
              "temperature": (float, "of the draws (default 0.2)")}  # fmt: skip


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The verb's flags."""
    parser.add_argument("stories", metavar="STORIES", help="a .jsonl file, local or gs://; - is standard input")
    parser.add_argument("--out", help="where the scores go, .jsonl (default: standard output)")
    parser.add_argument("--judge", choices=("none", "offline", "openai", "gemini", "replay"), default="none",
                        help="who judges stories without a stored reply; offline measures the surface only and is no "
                             "measure of quality (default: nobody, programmatic components alone)")  # fmt: skip
    add_client_flags(parser, CLIENT | _LLM_FLAGS)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                        help="a number of the reward: length.min_words=50, quality.dq=true, repetition_weight=2")
    parser.add_argument("--as-released", action="store_true",
                        help="the released trainer's arithmetic, defects included")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON (with --out)")


def run(arguments: argparse.Namespace) -> int:
    """Scores the stories; returns 0, or 1 when a judgement failed or the budget is spent."""
    from polaris_jax.llm import BudgetSpent
    from polaris_jax.rewards import RewardSpec, open_judge, split_thinking

    a, values = arguments, vars(arguments)
    spec = RewardSpec.of(_settings(a.set), "--set")
    rows = _read(a.stories)
    judge = None if a.judge == "none" else open_judge(_judge_spec(a.judge, values, a.out))
    if judge is None:
        refuse(values, (*CLIENT, *_LLM_FLAGS), "is for a model: --judge=openai|gemini|replay")
    asked = [] if judge is None else [
        n for n, (_, row) in enumerate(rows)
        if row.get("judge") is None and split_thinking(row["story"], spec.thinking_opened).story.strip()
    ]  # fmt: skip
    try:
        found = _judge(judge, [rows[n][1] for n in asked], spec)
    except BudgetSpent as spent:
        print(f"polaris score: {spent}", file=sys.stderr)
        return 1
    judgements = dict(zip(asked, found, strict=True))
    scored = [_score(row, where, judgements.get(n), spec, a.as_released) for n, (where, row) in enumerate(rows)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in scored)
    failed = sum(row["failed"] is not None for row in scored)
    if a.out is None:
        sys.stdout.write(text)
    else:
        from polaris_jax import storage

        storage.write(a.out, text.encode())
        _report(scored, failed, judge, a)
    if judge is not None:
        judge.close()
    return 1 if failed else 0


def _read(place: str) -> list[tuple[str, dict]]:
    """(where, row) of every line, all of them checked before anything is asked or written."""
    from polaris_jax import storage
    from polaris_jax.data.prompt_story import read_json_lines
    from polaris_jax.rewards import of_stored

    content = sys.stdin.buffer.read() if place == "-" else storage.read(place)
    if content is None:
        raise InputError("STORIES", place, "no such file; give JSON lines, or - for standard input")
    name = "standard input" if place == "-" else Path(place).name
    rows, seen = [], {}
    for number, row in read_json_lines(content, name):
        where = f"{name} line {number}"
        for field, kind in _KINDS.items():
            if not isinstance(row.get(field), kind):
                raise InputError(f"{where}: {field}", row.get(field), "is needed, as text")
        target = row.get("target_words")
        if target is not None and (isinstance(target, bool) or not isinstance(target, int) or target < 1):
            raise InputError(f"{where}: target_words", target, "must be a whole number of words, 1 or more")
        key = row.setdefault("id", number)
        if not isinstance(key, (str, int)):
            raise InputError(f"{where}: id", key, "must be text or a number")
        if key in seen:
            raise InputError(f"{where}: id", key, f"is the id of line {seen[key]} too")
        seen[key] = number
        if row.get("judge") is not None:
            try:
                of_stored(row["judge"])
            except InputError as error:
                raise InputError(f"{where}: judge", row["judge"], error.advice) from None
        rows.append((where, row))
    if not rows:
        raise InputError("STORIES", place, "has no rows")
    return rows


def _settings(texts: list[str]) -> dict:
    """``a.b=1`` texts as nested values."""
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


def _judge_spec(kind: str, values: dict, out: str | None):
    from polaris_jax.rewards import JudgeSpec

    if kind == "offline":
        refuse(values, (*CLIENT, *_LLM_FLAGS), "is for a model: --judge=openai|gemini|replay")
        return JudgeSpec()
    own = {name: values[name] for name in _LLM_FLAGS if values.get(name) is not None}
    return JudgeSpec("llm", client_spec(kind, values, None if out is None else f"{out}.replies"), **own)


def _judge(judge, rows: list[dict], spec) -> list:
    if not rows:
        return []
    from rich.console import Console
    from rich.progress import Progress

    from polaris_jax.rewards import judge_all, split_thinking

    stories = [(row["prompt"], split_thinking(row["story"], spec.thinking_opened).story) for row in rows]
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"judging by {judge.identity}", total=len(stories))
        return judge_all(judge, stories, lambda done, total: bar.update(task, completed=done))


def _score(row: dict, where: str, judgement, spec, as_released: bool) -> dict:
    from polaris_jax.rewards import score

    breakdown = score(row["story"], row["prompt"], row.get("target_words"), spec=spec, as_released=as_released,
                      judgement=row["judge"] if row.get("judge") is not None else judgement)  # fmt: skip
    scored = {"id": row["id"], **breakdown.to_json()}
    if judgement is not None:
        scored["judge"] = judgement.to_json()  # with it the line can be scored again offline
    return scored


def _report(scored: list[dict], failed: int, judge, arguments: argparse.Namespace) -> None:
    scalars = [row["scalar"] for row in scored if row["scalar"] is not None]
    summary = {"rows": len(scored), "scored": len(scalars), "failed": failed, "out": arguments.out,
               "mean": sum(scalars) / len(scalars) if scalars else None,
               "judge": None if judge is None else judge.identity,
               "ledger": judge.client.ledger.summary() if hasattr(judge, "client") else None}  # fmt: skip
    if arguments.json:
        print(json.dumps(summary, ensure_ascii=False))
        return
    mean = "" if summary["mean"] is None else f", mean {summary['mean']:.4f}"
    print(f"{summary['scored']} of {len(scored)} stories scored{mean}, {arguments.out}")
    for row in scored:
        if row["failed"]:
            print(f"  no score for {row['id']}: {row['failed']}")
