"""A judge's answer has the same score in every form that judges write, or none."""

import json

import pytest

from polaris_jax.evals.benches import Unusable, eqbench_creative, eqbench_longform, longbench_write, open_bench
from polaris_jax.evals.benches.rubric_answer import NumberScale, read_rubric
from polaris_jax.evals.generations import Generation
from polaris_jax.rewards.dimensions import DIMENSIONS

STORY = Generation("1", "Tell of a ferry in 100 words.", "The ferry left.", 100, "m", {})
FULL_WIDTH = {48 + digit: 0xFF10 + digit for digit in range(10)}


def lines(form, heading="[Scores]\n"):
    """An answer of a line per criterion; ``form`` gets name, value, best value and number of the line."""
    return lambda names, v, best: heading + "\n".join(form(n, v, best, i) for i, n in enumerate(names, 1))


def key(name):
    return name.lower().replace("'", "").replace(" ", "_").replace("-", "_").replace("/", "_")


FORMS = {
    "as asked for": lines(lambda n, v, best, i: f"{n}: {v}", "[Analysis]\nGood: 3 of its acts.\n\n[Scores]\n"),
    "bold name": lines(lambda n, v, best, i: f"**{n}**: {v}", ""),
    "bold name and colon": lines(lambda n, v, best, i: f"**{n}:** {v}"),
    "bold lines in a list": lines(lambda n, v, best, i: f"- **{n}: {v}**", "### Scores\n"),
    "bold value under a rule": lines(lambda n, v, best, i: f"- {n}: **{v}**", "## Final Scores\n---\n"),
    "out of the best": lines(lambda n, v, best, i: f"- {n}: {v}/{best}", ""),
    "in words out of the best": lines(lambda n, v, best, i: f"{n}: {v} out of {best}.", ""),
    "numbered, with a dash": lines(lambda n, v, best, i: f"{i}. {n} – {v}", ""),
    "numbered, with an equals sign": lines(lambda n, v, best, i: f"({i}) {n} = {v} / {best}", ""),
    "lettered": lines(lambda n, v, best, i: f"{chr(96 + i)}) {n}: {v}", ""),
    "ticked": lines(lambda n, v, best, i: f"- [x] {n}: {v}", ""),
    "in brackets": lines(lambda n, v, best, i: f"{n}: [{v}]"),
    "in round brackets": lines(lambda n, v, best, i: f"* {n} ({v}/{best})", ""),
    "a note on the scale": lines(lambda n, v, best, i: f"* {n} (0-{best}): {v} points", ""),
    "an arrow": lines(lambda n, v, best, i: f"> {n} → {v}", ""),
    "dots": lines(lambda n, v, best, i: f"{n} ........ {v}", ""),
    "columns of blanks": lines(lambda n, v, best, i: f"{n:50s} {v}", ""),
    "a label": lines(lambda n, v, best, i: f"{n} - Score: {v}", ""),
    "remarks": lines(lambda n, v, best, i: f"{n}: {v} - for its 3 acts"),
    "remarks without a dash": lines(lambda n, v, best, i: f"{n}: {v} because of its 3 acts"),
    "capitals and decimals": lines(lambda n, v, best, i: f"{n.upper()}: {v}.0", "[SCORES]\n"),
    "decimal commas": lines(lambda n, v, best, i: f"{n}: {v},0", ""),
    "full-width": lines(lambda n, v, best, i: f"{n}：{str(v).translate(FULL_WIDTH)}", ""),
    "chinese": lines(lambda n, v, best, i: f"- {n}：{v}分", "## 评分\n"),
    "french": lines(lambda n, v, best, i: f"« {n} » : {v}", ""),
    "typographic apostrophes": lines(lambda n, v, best, i: f"{n}: {v}".replace("'", "’")),
    "a range": lines(lambda n, v, best, i: f"{n}: {v}-{best}"),
    "yaml": lines(lambda n, v, best, i: f"{n}:\n  score: {v}\n  reason: has 3 acts", ""),
    "headings": lines(lambda n, v, best, i: f"### {i}. {n}\nA job of 2 parts.\n**Score: {v}/{best}**\n", ""),
    "headings, then bare numbers": lines(lambda n, v, best, i: f"**{n}**\n{v}\n", ""),
    "tags": lines(lambda n, v, best, i: f"<{n}>{v}</{n}>", "<scores>\n"),
    "table": lines(lambda n, v, best, i: f"| {n} | {v} |", "| Criterion | Score |\n|---|---|\n"),
    "table with remarks": lines(
        lambda n, v, best, i: f"| {i} | **{n}** | good, 3 acts | {v}/{best} |",
        "| # | Criterion | Why | Score |\n|---|:--|---|--:|\n",
    ),
    "table without edges": lines(lambda n, v, best, i: f"{n} | {v}", "Criterion | Score\n--- | ---\n"),
    "table of one row": lambda names, v, best: (
        f"| {' | '.join(names)} |\n|{'---|' * len(names)}\n| {' | '.join([str(v)] * len(names))} |"
    ),
    "one line": lambda names, v, best: "; ".join(f"{n}: {v}" for n in names),
    "one line after a colon": lambda names, v, best: "Scores: " + ", ".join(f"{n}: {v}" for n in names),
    "json": lambda names, v, best: json.dumps(dict.fromkeys(names, v)),
    "json in a fence": lambda names, v, best: (
        f"Here it is:\n```json\n{json.dumps(dict.fromkeys(names, v), indent=1)}\n```\nDone: 1"
    ),
    "json with numbers as text": lambda names, v, best: json.dumps(dict.fromkeys(names, f"{v}/{best}")),
    "json of objects": lambda names, v, best: json.dumps(
        {"analysis": "x: 3", "scores": {key(n): {"score": v, "reason": "3 acts"} for n in names}}
    ),
    "json of records": lambda names, v, best: json.dumps([{"criterion": n, "score": v, "why": "r"} for n in names]),
    "python": lambda names, v, best: str(dict.fromkeys(names, v)),
    "after a draft": lambda names, v, best: (
        "<think>[Scores]\nCoherent: 1\n</think>" + "\n".join(f"{n}: {v}" for n in names)
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("bench", "names", "value", "best"),
    [
        ("eqbench-longform", list(eqbench_longform.CRITERIA), 12, 20),
        ("eqbench-creative", list(eqbench_creative.CRITERIA), 7, 20),
        ("longbench-write", list(longbench_write.CRITERIA), 4, 5),
    ],
)
def test_every_form_of_an_answer_gives_the_same_measures(bench, names, value, best, form):
    opened = open_bench(bench)
    plain = opened.read_answer(FORMS["as asked for"](names, value, best), STORY, "story")
    assert opened.read_answer(FORMS[form](names, value, best), STORY, "story") == plain
    assert (
        plain[opened.headline] == {"eqbench-longform": 41.58, "eqbench-creative": 47.27, "longbench-write": 0.0}[bench]
    )


def test_story_quality_is_read_in_lines_and_by_titles():
    bench = open_bench("story-quality", "brief")
    expected = bench.read_answer(json.dumps({d.id: 3 for d in DIMENSIONS}), STORY, "story")
    for form in (
        "\n".join(f"- **{d.id}**: 3/{d.most}" for d in DIMENSIONS),
        "\n".join(f"{d.id} {d.title}: 3" for d in DIMENSIONS),
        "| id | dimension | score |\n|--|--|--|\n" + "\n".join(f"| {d.id} | {d.title} | 3 |" for d in DIMENSIONS),
    ):
        assert bench.read_answer(form, STORY, "story") == expected


@pytest.mark.parametrize(
    "answer",
    [
        '{"score": 7}',
        "Score: 7/10",
        "**Score:** 7",
        "**Voice**: 7",
        'So: {"score": "7", "reason": "3 acts"}',
        "## Score\n7",
    ],
)
def test_one_criterion_is_read_under_its_name_or_as_the_score(answer):
    found = open_bench("writingbench").read_answer(answer, STORY, "Voice")
    assert found == {"score": 7, "criterion/voice": 7}


NAMES = list(eqbench_longform.CRITERIA)


def scores(form):
    return "[Scores]\n" + "\n".join(form(name) for name in NAMES)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("", "unusable"),
        ("hello", "unusable"),
        ("[" * 4000, "unusable"),
        (scores(lambda n: f"{n}: ★★★"), "unusable"),
        (scores(lambda n: f"{n}: 7½"), "unusable"),
        (scores(lambda n: f"{n}: >12"), "unusable"),
        ("\n".join(f"{n}: 3 acts, tidy." for n in NAMES), "unusable"),
        ("[Analysis]\nCoherent: 3 acts, tidy.\n\nNuanced Characters: 15\n", "incomplete"),
        (scores(lambda n: f"{n}: N/A" if n == "Coherent" else f"{n}: 12"), "incomplete"),
        ('{"Coherent": 12, "Weak', "incomplete"),
        (scores(lambda n: f"{n}: 12") + "\nCoherent: 13", "ambiguous"),
        (scores(lambda n: f"{n}: 7/10"), "ambiguous"),
        (scores(lambda n: f"{n}: 60%"), "ambiguous"),
        (scores(lambda n: f"{n}: 12 → 14"), "ambiguous"),
        (scores(lambda n: f"{n}: 12 or 13"), "ambiguous"),
        ("\n".join(f"| {n} | 5 | 12 |" for n in NAMES), "ambiguous"),
        (scores(lambda n: f"{n}: 25"), "out_of_range"),
        (scores(lambda n: f"{n}: -4"), "out_of_range"),
    ],
)
def test_what_is_not_one_whole_answer_is_none(answer, kind):
    with pytest.raises(Unusable) as refused:
        read_rubric(answer, NAMES, NumberScale(0, 20))
    assert refused.value.kind == kind


def test_the_last_scores_count_and_end_at_a_rule():
    draft = "Draft:\n" + "\n".join(f"{n}: 3" for n in NAMES)
    final = "\n\nFinal scores:\n" + "\n".join(f"{n}: 12" for n in NAMES) + "\n---\nCoherent: 2"
    assert set(read_rubric(draft + final, NAMES, NumberScale(0, 20)).values()) == {12}


@pytest.mark.parametrize(
    "text",
    [
        "-" * 5_000,
        "* " * 9_000,
        "1. " * 8_000,
        "(1) " * 3_000,
        "| " * 20_000,
        "Coherent " * 4_000,
        "Coherent: " * 4_000,
        "Coherent (a" * 3_000,
        "|" + "Coherent |" * 3_000,
        *(f"Coherent{mark * 5_000}x" for mark in (" ", ".", "*", " :", " -", "...…")),
    ],
)
def test_the_reader_ends_on_texts_that_invite_backtracking(text):
    with pytest.raises(Unusable):
        read_rubric(text, NAMES, NumberScale(0, 20))
