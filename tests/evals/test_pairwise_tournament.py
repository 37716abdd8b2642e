"""``polaris evaluate pairwise``: ratings from judgements in both orders, without a judge's position bias."""

import json

import pytest
from judges import evaluate, rows, story_file, verdict
from published_scores import published_verdict

from polaris_jax.evals.benches.bench import Unusable
from polaris_jax.evals.benches.pairwise import CRITERIA, games, position_bias, read_verdict


@pytest.fixture
def three_models(tmp_path):
    """Files of a good, a middling and a bad model on the same prompts."""
    ids = [f"p{n}" for n in range(8)]
    names = ("good", "fair", "bad")
    return [story_file(tmp_path / f"{name}.jsonl", dict.fromkeys(ids, name.upper())) for name in names]


def better_first(a, b):
    """The beginning of the judge's prompt with ``a`` in position A and ``b`` in position B."""
    return json.dumps(f"PIECE A\n{a}\n\nEND OF PIECE A\n\nPIECE B\n{b}\n")[1:-1]


def honest():
    """A judge that prefers the better story in either position."""
    ranks = ["GOOD", "FAIR", "BAD"]
    answers = {}
    for i, a in enumerate(ranks):
        for j, b in enumerate(ranks):
            if i != j:
                answers[better_first(a, b)] = verdict("A" if i < j else "B", 1 if abs(i - j) == 1 else 3)
    return answers


def test_an_honest_judge_ranks_the_models(tmp_path, three_models, judge_server):
    server, out = judge_server(honest()), tmp_path / "out"
    files = [f"--generations={file}" for file in three_models]
    assert evaluate("pairwise", out, *files, f"--judge={server.judge}", "--anchor=fair=1500", "--bootstrap=50") == 0
    assert server.calls == 8 * 3 * 2
    found = json.loads((out / "evaluation.json").read_text())
    ratings = found["sections"][0]["parts"][0]
    assert [row[0] for row in ratings["values"]] == ["good", "fair", "bad"]
    assert ratings["values"][1][1] == {"value": 1500, "low": 1500, "high": 1500}
    assert "fair at 1500" in found["sections"][0]["text"]
    results, judges = found["sections"][2]["parts"]
    # One plus per criterion is nine: a narrow win; three are a clear one.
    assert results["values"] == [["bad", 0, 32, 0, -18.0], ["fair", 16, 16, 0, 0.0], ["good", 32, 0, 0, 18.0]]
    assert judges["values"][0][3]["value"] == 0
    assert judges["values"][0][4] == 1
    assert {round(game["score"], 3) for game in rows(out / "games.jsonl")} == {0.0, 0.25}  # of "bad", then of "fair"


def test_a_judge_who_loves_the_first_place_decides_nothing(tmp_path, three_models, judge_server):
    server, out = judge_server({"PIECE A": verdict("A", 5)}), tmp_path / "out"
    files = [f"--generations={file}" for file in three_models]
    assert evaluate("pairwise", out, *files, f"--judge={server.judge}", "--bootstrap=20") == 0
    found = json.loads((out / "evaluation.json").read_text())
    assert all(row[1]["value"] == pytest.approx(1500) for row in found["sections"][0]["parts"][0]["values"])
    _, judges = found["sections"][2]["parts"]
    assert judges["values"][0][3]["value"] == 0.5
    assert judges["values"][0][4] == 0


def test_a_pair_with_one_lost_order_is_left_out(tmp_path, judge_server):
    a, b = story_file(tmp_path / "a.jsonl", {"p": "GOOD"}), story_file(tmp_path / "b.jsonl", {"p": "BAD"})
    server, out = judge_server({better_first("GOOD", "BAD"): verdict("A", 2), "PIECE A": "refusal"}), tmp_path / "out"
    assert evaluate("pairwise", out, f"--generations={a}", f"--generations={b}", f"--judge={server.judge}") == 0
    assert rows(out / "games.jsonl") == []
    assert [("error" in record) for record in rows(out / "records.jsonl")] == [False, True]


def test_an_empty_story_loses_unasked(tmp_path, judge_server):
    a, b = story_file(tmp_path / "a.jsonl", {"p": "TEXT"}), story_file(tmp_path / "b.jsonl", {"p": ""})
    server, out = judge_server({}), tmp_path / "out"
    assert evaluate("pairwise", out, f"--generations={a}", f"--generations={b}", f"--judge={server.judge}") == 0
    assert server.calls == 0
    [game] = rows(out / "games.jsonl")
    assert (game["a"], game["score"]) == ("a", 1.0)


def test_nothing_to_compare_is_said(tmp_path, judge_server, capsys):
    a, b = story_file(tmp_path / "a.jsonl", {"p": "TEXT"}), story_file(tmp_path / "b.jsonl", {"q": "TEXT"})
    server = judge_server({})
    assert (
        evaluate("pairwise", tmp_path / "out", f"--generations={a}", f"--generations={b}", f"--judge={server.judge}")
        == 2
    )
    assert "nothing to compare" in capsys.readouterr().err


def test_verdicts():
    nine = dict.fromkeys(CRITERIA, "A+")
    assert (read_verdict(nine).verdict, read_verdict(nine).score_a) == ("A>B", 0.75)
    assert read_verdict(nine | {"coherence": "A++"}).verdict == "A>>B"
    assert read_verdict(nine | {"coherence": "b ++"}).plus_diff == 8 - 2
    in_lines = "\n".join(f"{n}. **{name.replace('_', ' ')}**: B+++" for n, name in enumerate(CRITERIA, 1))
    assert read_verdict(in_lines).plus_diff == -27
    assert published_verdict("garbage").verdict == "tie"
    assert published_verdict({"coherence": "b ++", "writing_quality": "A+"}).plus_diff == -1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("garbage", "unusable"),
        ({"coherence": "b ++", "writing_quality": "A+"}, "incomplete"),
        (dict.fromkeys(CRITERIA, "A+") | {"coherence": "A"}, "incomplete"),
        (dict.fromkeys(CRITERIA, "A+") | {"coherence": "tie"}, "incomplete"),
        (dict.fromkeys(CRITERIA, "A+") | {"coherence": "A" + 400 * "+"}, "out_of_range"),
    ],
)
def test_a_verdict_needs_a_grade_for_every_criterion(answer, kind):
    with pytest.raises(Unusable) as refused:
        read_verdict(answer)
    assert refused.value.kind == kind


def test_games_average_judges_and_orders():
    rows_ = [
        {"id": "p", "a": "x", "b": "y", "score": 1.0},
        {"id": "p", "a": "x", "b": "y", "score": 0.5},
        {"id": "p", "a": "y", "b": "x", "score": 0.25},
        {"id": "q", "a": "y", "b": "x", "score": 0.0},
    ]
    [game] = games(rows_)
    assert (game.a, game.score, game.prompt) == ("x", 0.75, "p")
    assert [g.score for g in games(rows_, orders="any")] == [0.75, 1.0]
    assert position_bias(rows_[:3]) == pytest.approx(1.75 / 3 - 0.5)
