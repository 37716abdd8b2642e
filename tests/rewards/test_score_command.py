"""``polaris score``: JSON lines in, JSON lines out; a rerun asks nothing again, a mistake writes nothing."""

import json

import pytest
from rubric_replies import PROMPT, STORY, brief, reply
from servers import MODEL, completion

from polaris_jax.cli import main


@pytest.fixture
def stories(tmp_path):
    """``stories(rows)``: a file of them."""

    def write(*rows, name="stories.jsonl"):
        path = tmp_path / name
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        return str(path)

    return write


def row(number, **fields):
    return {"id": f"s{number}", "prompt": PROMPT, "story": f"{STORY} {number}"} | fields


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def model_flags(proxy):
    return ["--judge", "openai", "--model", MODEL, "--base-url", proxy.base_url, "--rubric", "brief"]


def test_stored_replies_are_scored_offline(stories, tmp_path, capsys):
    given = stories(row(1, judge=reply()), row(2, judge=json.loads(reply(positive=5))), row(3, target_words=4000))
    out = tmp_path / "scores.jsonl"
    assert main(["score", given, "--out", str(out)]) == 0
    assert "3 of 3 stories scored" in capsys.readouterr().out
    first, second, third = lines(out)
    assert [first["id"], second["id"], third["id"]] == ["s1", "s2", "s3"]
    assert first["components"]["story_quality"] == pytest.approx(0.4)
    assert second["scalar"] == pytest.approx(0.1)
    assert third["components"]["story_quality"] is None
    assert third["components"]["length_pen"] > 0
    assert first["diagnostics"]["words"] == 1001
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("stories.jsonl", "scores.jsonl")] == []


def test_standard_output_and_as_released(stories, capsys):
    given = stories(row(1, judge=reply(positive_total=90)), row(2, judge="no JSON"))
    assert main(["score", given, "--as-released"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["scalar"] == pytest.approx(0.7)
    assert second["scalar"] == 0
    assert main(["score", given, "--set", "quality.scale=0.5", "--set", "clip=0.1"]) == 1
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["components"]["story_quality"] == pytest.approx(0.2)
    assert first["scalar"] == 0.1
    assert (second["scalar"], second["failed"]) == (None, "invalid_json")


def test_a_rerun_asks_only_about_what_failed(stories, tmp_path, proxy, capsys):
    proxy.always = {" 2\\n": "refusal", "STORY": completion(brief())}
    given, out = stories(row(1), row(2), row(3, judge=reply())), tmp_path / "scores.jsonl"
    command = ["score", given, "--out", str(out), "--json", *model_flags(proxy)]
    assert main(command) == 1
    assert json.loads(capsys.readouterr().out)["failed"] == 1
    assert [line["failed"] for line in lines(out)] == [None, "refused", None]
    asked = proxy.calls
    assert asked == 2
    proxy.always = {"STORY": completion(brief())}
    assert main(command) == 0
    assert proxy.calls == asked + 1
    summary = json.loads(capsys.readouterr().out)
    assert (summary["scored"], summary["ledger"]["cached"]) == (3, 1)
    scored_again = stories(
        *(row(n) | {"judge": line["judge"]} for n, line in enumerate(lines(out)[:2], 1)), name="again.jsonl"
    )
    assert main(["score", scored_again, "--out", str(tmp_path / "again.out.jsonl")]) == 0
    assert [x["scalar"] for x in lines(tmp_path / "again.out.jsonl")] == [x["scalar"] for x in lines(out)[:2]]


def test_a_spent_budget_writes_nothing(stories, tmp_path, proxy, capsys):
    proxy.always = {"STORY": completion(brief())}
    out = tmp_path / "scores.jsonl"
    assert main(["score", stories(row(1)), "--out", str(out), "--budget-tokens", "10", *model_flags(proxy)]) == 1
    assert "budget of 10 tokens" in capsys.readouterr().err
    assert not out.exists()


def test_the_offline_judge_judges(stories, tmp_path):
    out = tmp_path / "scores.jsonl"
    assert main(["score", stories(row(1), row(2, story="")), "--judge", "offline", "--out", str(out)]) == 0
    first, second = lines(out)
    assert first["components"]["story_quality"] is not None
    assert (second["scalar"], second["diagnostics"]["no_story"]) == (-2, True)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{not JSON", "stories.jsonl line 2"),
        ("[1]", "stories.jsonl line 2"),
        ({"id": "s2", "prompt": "p"}, "stories.jsonl line 2: story"),
        ({"id": "s2", "prompt": 3, "story": "s"}, "stories.jsonl line 2: prompt=3"),
        ({"id": "s1", "prompt": "p", "story": "s"}, "line 2: id='s1': is the id of line 1 too"),
        ({"id": "s2", "prompt": "p", "story": "s", "target_words": "many"}, "line 2: target_words='many'"),
        ({"id": "s2", "prompt": "p", "story": "s", "judge": 7}, "line 2: judge=7"),
    ],
)
def test_a_bad_line_is_named_and_the_others_are_scored(stories, tmp_path, proxy, capsys, bad, message):
    proxy.always = {"STORY": completion(brief())}
    out = tmp_path / "scores.jsonl"
    assert main(["score", stories(row(1), bad), "--out", str(out), *model_flags(proxy)]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert [line["id"] for line in lines(out)] == ["s1"]
    assert proxy.calls == 1


def test_without_one_good_line_nothing_is_asked_or_written(stories, tmp_path, proxy, capsys):
    out = tmp_path / "scores.jsonl"
    assert main(["score", stories("{not JSON", "[1]"), "--out", str(out), *model_flags(proxy)]) == 2
    assert capsys.readouterr().err.count("\n") == 2
    assert not out.exists()
    assert proxy.calls == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--set", "clipp=1"], "--set.clipp=1: no such field"),
        (["--set", "clip"], "--set='clip'"),
        (["--model", "m"], "--model='m'"),
        (["--judge", "offline", "--samples", "2"], "--samples=2"),
        (["--judge", "openai"], "model=''"),
        (["--judge", "openai", "--model", "m", "--budget-usd", "1"], "budget_usd"),
    ],
)
def test_wrong_flags_are_one_line(stories, capsys, flags, message):
    assert main(["score", stories(row(1)), *flags]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_no_such_file(tmp_path, capsys):
    assert main(["score", str(tmp_path / "none.jsonl")]) == 2
    assert "no such file" in capsys.readouterr().err
