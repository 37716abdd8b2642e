"""``polaris score`` of random files: strict JSON, one line about each bad record, never a traceback or a lost file."""

import json
import random

import pytest

from polaris_jax.cli import main
from polaris_jax.rewards.dimensions import DIMENSIONS

SHEET = {d.id: 0 for d in DIMENSIONS}
WHOLE_LINES = ["", "{", "[]", "null", "NaN", "\ufeff{}", '{"story":"x","prompt":"y","story":"z"}']


def anything(draw, depth=0):
    """A random JSON value."""
    plain = [None, True, False, 0, -1, 10**400, 1e308, float("nan"), "", "x" * 40, "NaN", "\ud800", [], {}]
    if depth > 2 or draw.random() < 0.85:
        return draw.choice(plain)
    if draw.random() < 0.5:
        return [anything(draw, depth + 1) for _ in range(3)]
    return {draw.choice("abc"): anything(draw, depth + 1)}


def stored_reply(draw):
    """A judge's reply as a row may hold it, good or bad."""
    return draw.choice(
        [
            lambda: json.dumps(SHEET | {"P1": draw.randrange(-2, 30)}),
            lambda: {name: draw.choice([0, 1, 5, 99, -1, None, "3", 1.5, True, 10**400]) for name in SHEET},
            lambda: f"```json\n{json.dumps(SHEET)}\n```",
            lambda: {"raw": [json.dumps(SHEET), "{}", "", "[" * 4000][: draw.randrange(1, 5)]},
            lambda: {"raw": [anything(draw)], "failed": anything(draw), "unusable": anything(draw)},
            lambda: draw.choice([["", "x"], ["x", False, None], ["", "x", {}], [None, True, 3], '{"a":' * 3000]),
            lambda: anything(draw),
        ]
    )()


def row(draw):
    found = {
        "id": draw.choice([1, "a", None, 1.5, True, [], "é\n"]),
        "prompt": draw.choice(["p", "x 10 words long", None, 3, "\u0000", "9" * 26 + " words long"]),
        "story": draw.choice(
            ["s", "", "<think>a", "</think>", "<think></think>x", "\u0000", "word " * 400, None, 5, "a\n" * 200]
        ),
    }
    if draw.random() < 0.4:
        found["target_words"] = draw.choice([1, 0, -3, 10**30, 1.0, "5", True, None])
    if draw.random() < 0.6:
        found["judge"] = stored_reply(draw)
    if draw.random() < 0.3:
        found[draw.choice(["id", "prompt", "story", "target_words", "more"])] = anything(draw)
    return found


def score_lines(lines, folder, capsys, *flags):
    """Exit code and standard output and error of ``polaris score`` on these lines."""
    file = folder / "stories.jsonl"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogatepass")
    code = main(["score", str(file), *flags])
    return code, *capsys.readouterr()


def refuse_constant(name):
    raise AssertionError(f"{name} is no JSON")


@pytest.mark.parametrize("seed", range(4))
def test_random_rows(seed, tmp_path, capsys):
    """Every record is scored or has its line; a file is refused only if no record can be scored."""
    draw = random.Random(seed)
    codes = []
    for _ in range(60):
        lines = [
            json.dumps(row(draw)) if draw.random() < 0.93 else draw.choice(WHOLE_LINES)
            for _ in range(draw.randrange(1, 4))
        ]
        flags = [flag for flag in ("--as-released", "--judge=offline") if draw.random() < 0.35]
        code, out, error = score_lines(lines, tmp_path, capsys, *flags)
        scored = [json.loads(line, parse_constant=refuse_constant) for line in out.splitlines()]
        bad = error.count("\n")
        records = sum(bool(line.strip()) for line in lines)
        assert len(scored) + bad == max(1, records), error
        failed = any(line["failed"] for line in scored)
        assert code == (2 if not scored else 1 if bad or failed else 0)
        codes.append(code)
    assert set(codes) == {0, 1, 2}


@pytest.mark.parametrize("value", [3, None, [], [10**400]], ids=["number", "null", "list", "list of a number"])
def test_raw_replies_that_are_not_text_are_named_with_their_line(value, tmp_path, capsys):
    line = json.dumps({"id": 1, "prompt": "p", "story": "a b c", "judge": {"raw": [value]}})
    code, _, error = score_lines([line], tmp_path, capsys)
    assert code == 2
    assert "line 1: judge" in error


def test_bytes_that_are_no_text_are_one_bad_record(tmp_path, capsys):
    file = tmp_path / "stories.jsonl"
    file.write_bytes(b'{"prompt": "p", "story": "caf\xe9"}\n{"prompt": "p", "story": "caf\xc3\xa9"}\n')
    assert main(["score", str(file)]) == 1
    out, error = capsys.readouterr()
    assert [json.loads(line)["id"] for line in out.splitlines()] == [2]
    assert "line 1" in error
    assert "is not UTF-8" in error


def test_an_id_that_is_half_a_character_comes_back_as_it_was(tmp_path, capsys):
    code, out, _ = score_lines([json.dumps({"id": "\ud800", "prompt": "p", "story": "s"})], tmp_path, capsys)
    assert code == 0
    assert json.loads(out)["id"] == "\ud800"


@pytest.mark.parametrize("reply", ['{"a":' * 3000, "[" * 4000], ids=["objects", "arrays"])
def test_a_reply_nested_without_end_is_no_json(reply, tmp_path, capsys):
    line = json.dumps({"id": 1, "prompt": "p", "story": "a b c", "judge": reply})
    code, out, _ = score_lines([line], tmp_path, capsys)
    assert code == 1
    assert json.loads(out)["failed"] == "invalid_json"


@pytest.mark.parametrize("reply", [1, [], True])
def test_a_reply_that_timed_out_is_text_or_nothing(reply, tmp_path, capsys):
    line = json.dumps({"id": 1, "prompt": "p", "story": "a b c", "judge": [reply, True, "late"]})
    for flags in ((), ("--as-released",)):
        code, _, error = score_lines([line], tmp_path, capsys, *flags)
        assert (code, error.count("\n")) == (2, 1)
