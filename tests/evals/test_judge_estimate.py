"""``polaris evaluate --estimate``: the calls, tokens and cost of judges, without a call and without a file."""

import json

import pytest
from judges import evaluate, longform, story_file, verdict

from polaris_jax.evals import open_bench, read_generations
from polaris_jax.llm.forecast import CHARACTERS_PER_TOKEN

PRICES = "prices=1/10"


def estimate(capsys, bench, out, *flags):
    capsys.readouterr()
    assert evaluate(bench, out, "--estimate", "--json", *flags) == 0
    return json.loads(capsys.readouterr().out)


def test_calls_tokens_and_dollars_are_those_of_the_questions(tmp_path, capsys):
    file = story_file(tmp_path / "m.jsonl", {"a": "ALPHA " * 400, "b": "BETA " * 100, "c": ""})
    judge = f"--judge=openai:m@http://127.0.0.1:1/v1,{PRICES}"
    out = tmp_path / "out"
    found = estimate(capsys, "eqbench-longform", out, f"--generations={file}", judge, "--judge-samples=2")
    [row] = found["judges"]
    assert (row["calls"], row["cached"]) == (4, 0)  # an empty story is not asked about
    bench = open_bench("eqbench-longform")
    stories = [story for story in read_generations(file)[0] if story.story]
    sizes = [
        sum(len(text) for _, text in prompt.messages) + len(prompt.schema or "")
        for story in stories
        for prompt in bench.judge_prompts(story)
    ]
    assert row["prompt_tokens"] == pytest.approx(2 * sum(sizes) / CHARACTERS_PER_TOKEN, abs=4)
    assert row["answer_tokens"] == 4 * bench.answer_tokens
    assert row["usd"] == pytest.approx((row["prompt_tokens"] + 10 * row["answer_tokens"]) / 1e6)
    assert row["hours"] > 0
    assert not out.exists()
    assert evaluate("eqbench-longform", out, "--estimate", f"--generations={file}", judge) == 0
    shown = capsys.readouterr().out.splitlines()
    assert "2 calls" in shown[0]
    assert "$" in shown[0]
    assert "min" in shown[0]
    assert evaluate("eqbench-longform", out, "--estimate", f"--generations={file}") == 2


def test_what_is_in_the_cache_costs_nothing_and_the_calls_are_those_of_the_run(tmp_path, capsys, judge_server):
    file = story_file(tmp_path / "m.jsonl", {"a": "ALPHA " * 400, "b": "BETA " * 100})
    server = judge_server({"ALPHA": longform(16), "BETA": longform(12)})
    flags = (f"--generations={file}", f"--judge={server.judge},{PRICES}")
    before = estimate(capsys, "eqbench-longform", tmp_path / "out", *flags)["judges"][0]
    assert server.calls == 0
    assert evaluate("eqbench-longform", tmp_path / "out", *flags) == 0
    assert server.calls == before["calls"] == 2
    after = estimate(capsys, "eqbench-longform", tmp_path / "out", *flags)["judges"][0]
    assert (after["calls"], after["cached"], after["usd"]) == (0, 2, 0)
    assert server.calls == 2


def test_pairs_and_stories_that_are_still_to_be_written(tmp_path, capsys, judge_server):
    files = [story_file(tmp_path / f"{name}.jsonl", {"a": f"{name} " * 90, "b": f"{name} " * 50}) for name in "xy"]
    server = judge_server({"x": verdict("A", 2)})
    flags = (*(f"--generations={file}" for file in files), f"--judge={server.judge}")
    found = estimate(capsys, "pairwise", tmp_path / "out", *flags)["judges"][0]
    assert (found["calls"], found["usd"]) == (4, None)  # two prompts, both orders; no price is known
    # The checkpoint need not exist: its stories count as long as the packaged prompts ask.
    found = estimate(
        capsys, "story-quality", tmp_path / "out", "--checkpoint=later", f"--judge={server.judge}", "--limit=3"
    )["judges"][0]
    assert found["calls"] == 3
    assert found["prompt_tokens"] > 3 * 1000
    assert server.calls == 0
    assert not (tmp_path / "out").exists()
