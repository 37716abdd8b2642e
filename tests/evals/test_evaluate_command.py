"""``polaris evaluate`` over stories: scores equal those computed by hand, failures stay single, stopped runs go on."""

import json
import subprocess
import sys
import time

import pytest
from judges import answer, creative, evaluate, longform, rows, score_lines, story_file
from servers import completion

from polaris_jax.evals.benches import eqbench_creative, longbench_write
from polaris_jax.evals.benches.eqbench_creative import EqBenchCreative
from polaris_jax.evals.generations import read_generations
from polaris_jax.llm import Request
from polaris_jax.llm.client import prompt_bound


def test_scores_bands_agreement_and_empty_stories(tmp_path, judge_server):
    """Two judges, one of them lenient; a story of each band, one of them empty."""
    stories = {"s1": "ALPHA " * 900, "s2": "BETA " * 3000, "s3": "GAMMA " * 4000, "s4": ""}
    strict = judge_server({"ALPHA": longform(16, 2), "BETA": longform(12, 4), "GAMMA": longform(8, 10)}, "strict")
    lenient = judge_server({"ALPHA": longform(18), "BETA": longform(14), "GAMMA": longform(9)}, "lenient")
    file = tmp_path / "m.jsonl"
    file.write_text(
        "".join(
            json.dumps({"id": name, "prompt": "P", "story": story, "target_words": target}) + "\n"
            for (name, story), target in zip(stories.items(), (1000, 3000, 8000, 10000), strict=True)
        )
    )
    out = tmp_path / "out"
    code = evaluate(
        "eqbench-longform",
        out,
        f"--generations=tuned={file}",
        f"--judge={strict.judge}",
        f"--judge={lenient.judge}",
        "--trained-words=1000-4000",
    )
    assert code == 0
    scores = {(row["judge"], row["id"]): row for row in rows(out / "scores.jsonl")}
    assert scores["openai/strict", "s1"]["weighted"] == 84.25  # the golden value of 16 and 2
    assert scores["openai/lenient", "s4"] | {"empty": True, "weighted": 0, "words": 0} == scores["openai/lenient", "s4"]
    assert scores["openai/strict", "s3"]["length_ratio"] == 0.5
    assert strict.calls == lenient.calls == 3  # no judge is asked about an empty story

    found = json.loads((out / "evaluation.json").read_text())
    titles = [section["title"] for section in found["sections"]]
    assert titles == ["Result", "Length generalisation", "Measures", "Judges", "Published"]
    lines = [part for part in found["sections"][1]["parts"] if part["kind"] == "lines"]
    assert [line["shade"] for line in lines] == [[1000, 4000]] * 2
    assert [point[0] for point in lines[1]["curves"][0]["points"]] == [1000, 3000, 8000, 10000]
    bands = found["sections"][1]["parts"][2]
    assert bands["columns"] == ["model", "measure", "1-4k", "4-8k", "8-12k", "all", "slope per bucket"]
    pair = found["sections"][3]["parts"][0]["values"][0]
    assert pair[:4] == ["openai/strict", "openai/lenient", 3, 1.0]  # an empty story says nothing about judges
    assert pair[5]["value"] < 0
    assert "1,000 to 10,000 words were requested" in found["sections"][1]["text"]
    assert "Krippendorff" in found["sections"][3]["parts"][0]["note"]

    page = (out / "evaluation.html").read_text()
    assert "<script" not in page
    assert "http" not in page.split("<body>")[1].replace("http://127.0.0.1", "")
    assert "trained on" in page
    assert r"\begin{tabular}" in (out / "tables.tex").read_text()
    assert "| tuned | openai/strict | 4 |" in (out / "tables.md").read_text()


def test_one_bad_record_never_stops_a_run(tmp_path, judge_server, capsys):
    server = judge_server({"GOOD": creative(15, 5), "REFUSED": "refusal", "BABBLE": completion("hello")})
    file = story_file(tmp_path / "m.jsonl", {"a": "GOOD", "b": "REFUSED", "c": "BABBLE", "d": "GOOD too"})
    file.write_text(file.read_text() + "{broken\n")
    out = tmp_path / "out"
    assert evaluate("eqbench-creative", out, f"--generations={file}", f"--judge={server.judge}") == 0
    records = {row["id"]: row for row in rows(out / "records.jsonl")}
    assert records["a"]["scores"]["score"] == 75.0
    assert records["b"]["error"]["kind"] == "refused"
    assert records["c"]["error"]["kind"] == "unusable"
    assert records["c"]["reply"] == "hello"
    assert server.calls == 5  # an answer without scores is asked for once more
    printed = capsys.readouterr()
    assert "| m | openai/judge | 4 | 2 | 0 | 2 | 75.0 |" in printed.out
    assert "m.jsonl:5" in printed.err


def test_the_same_command_again_asks_only_what_failed(tmp_path, judge_server):
    server = judge_server({"ONE": creative(10, 10), "TWO": "refusal"})
    file, out = story_file(tmp_path / "m.jsonl", {"a": "ONE", "b": "TWO"}), tmp_path / "out"
    flags = (f"--generations={file}", f"--judge={server.judge}", "--prices=1,2")
    assert evaluate("eqbench-creative", out, *flags) == 0
    assert server.calls == 2
    server.always = {"ONE": "500", "TWO": creative(20)}
    assert evaluate("eqbench-creative", out, *flags) == 0
    assert server.calls == 3
    first = {name: (out / name).read_bytes() for name in ("records.jsonl", "scores.jsonl")}
    assert evaluate("eqbench-creative", out, *flags) == 0
    assert server.calls == 3
    assert first == {name: (out / name).read_bytes() for name in first}
    ledger = json.loads((out / "ledgers" / "openai_judge.json").read_text())
    assert (ledger["calls"], ledger["cached"], ledger["failed"]) == (3, 3, 1)
    assert ledger["usd"] == pytest.approx(3 * (10 * 1 + 5 * 2) / 1e6)  # a refusal is charged too


def test_a_killed_run_goes_on(tmp_path, judge_server):
    """Killed without warning while it asks: the next run asks only the rest."""
    server = judge_server({"P": creative(10)})
    server.delay = 0.3
    file, out = story_file(tmp_path / "m.jsonl", {str(n): f"Story {n}" for n in range(6)}), tmp_path / "out"
    flags = (f"--generations={file}", f"--judge={server.judge}", "--concurrency=1")
    command = [sys.executable, "-m", "polaris_jax.cli", "evaluate", "eqbench-creative", f"--out={out}", *flags]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while server.calls < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.kill()
    answered = sum(1 for _ in (out / "replies").rglob("*.json"))
    assert 1 <= answered <= 3
    calls, server.delay = server.calls, 0
    assert evaluate("eqbench-creative", out, *flags) == 0
    assert server.calls == calls + 6 - answered
    assert len(rows(out / "scores.jsonl")) == 6


def test_a_spent_budget_stops_the_asking_but_not_the_report(tmp_path, judge_server, capsys):
    server = judge_server({"P": creative(10)})
    file, out = story_file(tmp_path / "m.jsonl", {str(n): f"Story {n}" for n in range(6)}), tmp_path / "out"
    flags = (f"--generations={file}", f"--judge={server.judge}", "--judge-max-tokens=50", "--concurrency=1")
    # Budget for the upper bound of one call beside the 15 tokens that each of two calls really took.
    [prompt] = EqBenchCreative().judge_prompts(read_generations(file)[0][0])
    budget = prompt_bound(Request(prompt.messages)) + 50 + 2 * 15
    assert evaluate("eqbench-creative", out, *flags, f"--budget-tokens={budget}") == 1
    assert "budget" in capsys.readouterr().err
    assert server.calls == 3
    records = rows(out / "records.jsonl")
    assert ["scores" in record for record in records] == [True] * 3 + [False] * 3
    assert "stopped early" in (out / "evaluation.html").read_text()
    assert evaluate("eqbench-creative", out, *flags) == 0
    assert server.calls == 6


def test_a_judge_who_cannot_be_reached_is_given_up_early(tmp_path, judge_server):
    server = judge_server({"P": "echo the key"})  # 401
    file, out = story_file(tmp_path / "m.jsonl", {str(n): f"Story {n}" for n in range(40)}), tmp_path / "out"
    assert evaluate("eqbench-creative", out, f"--generations={file}", f"--judge={server.judge}", "--concurrency=1") == 1
    assert server.calls == 3
    kinds = [record["error"]["kind"] for record in rows(out / "records.jsonl")]
    assert kinds.count("auth") == 3
    assert kinds.count("not_asked") == 37


def test_repeated_answers_show_how_a_judge_wavers(tmp_path, judge_server):
    server = judge_server({})
    server.faults = [creative(10, 10), creative(14, 6)]
    file, out = story_file(tmp_path / "m.jsonl", {"a": "Text"}), tmp_path / "out"
    assert (
        evaluate(
            "eqbench-creative",
            out,
            f"--generations={file}",
            f"--judge={server.judge}",
            "--judge-samples=2",
            "--concurrency=1",
        )
        == 0
    )
    [score] = rows(out / "scores.jsonl")
    assert score["score"] == pytest.approx(60)
    assert score["spread"] == pytest.approx(2**0.5 * 10)


def test_writingbench_asks_every_criterion_and_averages(tmp_path, judge_server):
    checklist = [{"name": f"C{n}", "criteria_description": "d", "9-10": "best"} for n in range(5)]
    server = judge_server(
        {f"CRITERION: C{n}": answer(score=n + 4, reason="r") for n in range(4)} | {"CRITERION: C4": "refusal"}
    )
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(json.dumps({"index": 1, "query": "Write.", "checklist": checklist}) + "\n")
    file, out = tmp_path / "m.jsonl", tmp_path / "out"
    file.write_text(json.dumps({"id": "1", "story": "Text"}) + "\n" + json.dumps({"id": "2", "story": "Stray"}) + "\n")
    flags = (f"--generations={file}", f"--judge={server.judge}", f"--prompts={prompts}")
    assert evaluate("writingbench", out, *flags) == 0
    known, stray = rows(out / "scores.jsonl")
    assert (known["score"], known["failed"]) == (5.5, 1)
    assert stray["failed"] == 1
    assert "checklist" in rows(out / "records.jsonl")[-1]["error"]["detail"]


def test_longbench_counts_an_empty_story_as_nothing(tmp_path, judge_server):
    full = answer(analysis="a", **dict.fromkeys(longbench_write.KEYS.values(), 5))
    server = judge_server({"WRITTEN": full})
    file, out = story_file(tmp_path / "m.jsonl", {"a": "WRITTEN " * 100, "b": ""}, target_words=100), tmp_path / "out"
    assert evaluate("longbench-write", out, f"--generations={file}", f"--judge={server.judge}") == 0
    assert [row["combined"] for row in rows(out / "scores.jsonl")] == [100.0, 0.0]


def test_batch_files_go_out_and_come_back(tmp_path, judge_server):
    """The test plays the provider's batch: it answers every line, one with an error, and adds one of another run."""
    server = judge_server({})
    file = story_file(tmp_path / "m.jsonl", {"a": "Alpha", "b": "Beta", "c": "Gamma"})
    out, asked, answered = tmp_path / "out", tmp_path / "batch.jsonl", tmp_path / "answers.jsonl"
    flags = (f"--generations={file}", f"--judge={server.judge}", "--prices=1,1")
    assert evaluate("eqbench-creative", out, *flags, f"--batch-out={asked}") == 0
    lines = rows(asked)
    assert [line["url"] for line in lines] == ["/v1/chat/completions"] * 3
    assert "Alpha" in lines[0]["body"]["messages"][-1]["content"]
    replies = [
        {"custom_id": line["custom_id"], "response": {"status_code": 200, "body": creative(10 + n)}}
        for n, line in enumerate(lines)
    ]
    replies[2] = {"custom_id": lines[2]["custom_id"], "response": {"status_code": 500, "body": {}}}
    replies.append({"custom_id": "unknown", "response": {"status_code": 200, "body": creative(1)}})
    answered.write_text("".join(json.dumps(reply) + "\n" for reply in replies) + "{cut")
    server.always = {"Gamma": creative(20)}
    assert evaluate("eqbench-creative", out, *flags, f"--batch-in={answered}") == 0
    assert server.calls == 1  # the one that failed
    assert [row["adherence_to_instructions"] for row in rows(out / "scores.jsonl")] == [10, 11, 20]
    assert json.loads((out / "ledgers" / "openai_judge.json").read_text())["tokens"] == 3 * 15


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ((), "--judge"),
        (("--judge=gpt",), "PROVIDER:MODEL"),
        (("--judge=openai:m@http://x/v1", "--judge=openai:m@http://x/v1"), "named twice"),
        (("--judge=openai:m,color=red",), "color"),
        (("--judge=openai:m@http://x/v1", "--trained-words=many"), "1000-4000"),
        (("--judge=openai:m@http://x/v1", "--generations=absent.jsonl"), "no such file"),
    ],
)
def test_a_callers_mistake_is_one_line(tmp_path, capsys, flags, says):
    file = story_file(tmp_path / "m.jsonl", {"a": "Text"})
    assert evaluate("eqbench-longform", tmp_path / "out", f"--generations={file}", *flags) == 2
    error = capsys.readouterr().err
    assert says in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out" / "evaluation.json").exists()


def test_a_real_model_judges_through_a_bad_network(tmp_path, proxy):
    """SmolLM2 fills in the brief Story Quality rubric; the network fails, and one story is always refused."""
    stories = {"a": "The ferry left at six.", "b": "He sang POISON to the sea."}
    file, out = story_file(tmp_path / "m.jsonl", stories), tmp_path / "out"
    proxy.faults, proxy.always = ["429", "half JSON"], {"POISON": "refusal"}
    flags = (
        f"--generations={file}",
        f"--judge={proxy.judge}",
        "--rubric=brief",
        "--judge-max-tokens=400",
        "--concurrency=2",
    )
    assert evaluate("story-quality", out, *flags) == 0
    scores = {row["id"]: row for row in rows(out / "scores.jsonl")}
    assert scores["b"]["failed"] == 1
    assert "overall" not in scores["b"]
    one = scores["a"]
    assert one["overall"] == min(one["positive"] - one["negative"] + one["bonus"], 100)
    assert one["positive"] == sum(one[f"P{n}"] for n in range(1, 7))
    calls = proxy.calls
    proxy.always = {}
    assert evaluate("story-quality", out, *flags) == 0
    assert proxy.calls == calls + 1
    assert all("overall" in row for row in rows(out / "scores.jsonl"))


def test_a_judge_that_dies_in_the_middle_costs_nothing_twice(tmp_path, judge_server, capsys):
    """Thirty-six of a hundred answers, then 503 for ever: one line, the report is made, and the rest is asked later."""
    server = judge_server({})
    server.faults = [creative(10)] * 36 + ["503 in HTML"] * 1000
    file, out = story_file(tmp_path / "m.jsonl", {str(n): f"Story {n}" for n in range(100)}), tmp_path / "out"
    flags = (f"--generations={file}", f"--judge={server.judge}", "--concurrency=1", "--attempts=1")
    assert evaluate("eqbench-creative", out, *flags) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("stopped early: openai/judge after 36 of 100 answers: server after 1 attempt")
    assert sum("scores" in record for record in rows(out / "records.jsonl")) == 36
    assert server.calls == 36 + 3
    server.faults = [creative(10)] * 64
    assert evaluate("eqbench-creative", out, *flags) == 0
    assert server.calls == 36 + 3 + 64
    assert len(rows(out / "scores.jsonl")) == 100
    ledger = json.loads((out / "ledgers" / "openai_judge.json").read_text())
    assert ledger["prompt_tokens"] == 100 * 10


def test_an_unusable_answer_is_asked_once_more_and_counted_by_kind(tmp_path, judge_server, capsys):
    half = score_lines(list(EqBenchCreative().virtues), 10)
    cut = completion("[Scores]\nCoherent: 10", finish="length")
    out_of = completion("\n".join(f"{name}: 7/10" for name in eqbench_creative.CRITERIA))
    server = judge_server({"HALF": half, "CUT": cut, "TENS": out_of, "GOOD": creative(10)})
    stories = {"a": "HALF", "b": "CUT", "c": "TENS", "d": "GOOD", "e": "HALF 2"}
    file, out = story_file(tmp_path / "m.jsonl", stories), tmp_path / "out"
    flags = (f"--generations={file}", f"--judge={server.judge}")
    assert evaluate("eqbench-creative", out, *flags) == 0
    assert server.calls == 4 * 2 + 1
    kinds = [record.get("error", {}).get("kind") for record in rows(out / "records.jsonl")]
    assert kinds == ["incomplete", "truncated", "ambiguous", None, "incomplete"]
    assert "failed answers: 1 ambiguous, 2 incomplete, 1 truncated" in capsys.readouterr().err
    found = json.loads((out / "evaluation.json").read_text())
    table = found["sections"][0]["parts"][1]
    assert (table["title"], table["columns"]) == (
        "Failed answers by kind",
        ["judge", "ambiguous", "incomplete", "truncated"],
    )
    assert table["values"] == [["openai/judge", 1, 2, 1]]
    assert evaluate("eqbench-creative", out, *flags) == 0  # what was paid for is not paid again
    assert server.calls == 4 * 2 + 1


def test_a_limit_takes_the_first_stories(tmp_path, judge_server):
    server = judge_server({"Story": creative(10)})
    file, out = story_file(tmp_path / "m.jsonl", {str(n): f"Story {n}" for n in range(9)}), tmp_path / "out"
    assert evaluate("eqbench-creative", out, f"--generations={file}", f"--judge={server.judge}", "--limit=2") == 0
    assert [row["id"] for row in rows(out / "scores.jsonl")] == ["0", "1"]
    with pytest.raises(SystemExit) as refused:
        evaluate("eqbench-creative", out, f"--generations={file}", f"--judge={server.judge}", "--limit=0")
    assert refused.value.code == 2
