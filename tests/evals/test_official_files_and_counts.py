"""Published prompt and rubric files in their own layouts, and lengths as the published code counts them."""

import json

import pytest
from judges import answer, creative, evaluate, rows, story_file, verdict
from servers import completion

from polaris_jax.errors import InputError
from polaris_jax.evals.benches import eqbench_creative, longbench_write, open_bench
from polaris_jax.evals.benches.longbench_write import length_score
from polaris_jax.evals.benches.pairwise import read_pair_rubric
from polaris_jax.evals.generations import Generation
from polaris_jax.evals.length import length_groups

CHECKLIST = [{"name": "Voice", "criteria_description": "d", "9-10": "best"}]
STORY = Generation("1", "Tell of {a} ferry.", "A {story} with $INST$ in it.", 100, "m", {"checklist": CHECKLIST})
# The layouts are those of the published files; the words are ours.
JUDGE_TXT = (
    'Rate this.\n<User Request>\n$INST$\n</User Request>\n<Response>\n$RESPONSE$\n</Response>\n{"Relevance": ...}'
)
EQ_TXT = (
    "Rate.\n{writing_prompt}\n---\n{test_model_response}\n---\nLower is better:\n{lower_is_better_criteria}\n"
    "[Scores]\nMetric 1 name: [Score 0-20]\nCriteria:\n{creative_writing_criteria}"
)
PROMPT_PY = (
    'evaluate_system = """\nYou judge.\n""".strip()\n\nevaluate_prompt = """\nCriteria: ```{criteria}```\n'
    'Query: {query}\nResponse: {response}\n{{"score": 1, "reason": ""}}\n""".strip()\n'
)
PAIR_TXT = "{writing_prompt}\n[WRITER A0493]\n{model_a_analysis}\n[WRITER A0488]\n{model_b_analysis}\n"


@pytest.fixture
def file(tmp_path):
    def write(name, text):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("他在雨夜里点起灯塔的灯。" * 100, 1100),
        ("The ferry left at six.", 5),
        ("Don't stop-gap: it's 12 o'clock", 8),  # don t stop gap it s o clock
        ("灯塔 keeper 的 logbook", 5),
        ("用Python写", 2),  # letters that touch a character of another script are no word
        ("café naïve x1 snake_case", 0),
        ("ひらがなと漢字", 2),  # kana are not counted
        ("", 0),
    ],
)
def test_longbench_write_counts_as_longwriter(text, words):
    assert open_bench("longbench-write").count_words(text) == words


@pytest.mark.parametrize(
    ("requested", "written", "score"),
    [
        (1000, 1100, 96.667),
        (1000, 1000, 100),
        (1000, 2500, 50),
        (1000, 4000, 0),
        (1000, 500, 50),
        (1000, 333, 0),
        (200, 1, 0),
    ],
)
def test_length_scores_of_longwriter(requested, written, score):
    assert length_score(requested, written) == pytest.approx(score, abs=0.16 if written == 333 else 1e-3)


def test_a_chinese_story_gets_its_length_score(tmp_path, judge_server):
    full = answer(analysis="a", **dict.fromkeys(longbench_write.KEYS.values(), 5))
    server, out = judge_server({"END OF TEXT": full}), tmp_path / "out"
    prompts = tmp_path / "longbench_write.jsonl"
    prompts.write_text(json.dumps({"prompt": "写一个一千字的故事", "type": "Literature", "length": 1000}) + "\n")
    stories = tmp_path / "m.jsonl"
    stories.write_text(json.dumps({"prompt": "写一个一千字的故事", "story": "他在雨夜里点起灯塔的灯。" * 100}) + "\n")
    flags = (f"--generations={stories}", f"--judge={server.judge}", f"--prompts={prompts}")
    assert evaluate("longbench-write", out, *flags) == 0
    [row] = rows(out / "scores.jsonl")
    assert (row["words"], row["target_words"]) == (1100, 1000)
    assert row["length"] == pytest.approx(96.667, abs=1e-3)
    facts = json.loads((out / "evaluation.json").read_text())["facts"]
    assert facts["prompts"].startswith("official prompts of LongBench-Write, from longbench_write.jsonl (SHA-256 ")
    assert facts["judge's prompt"].startswith("our own words")


def test_requested_lengths_are_shown_as_they_were():
    assert set(length_groups([60, 240, 100]).values()) == {"60-240 words"}
    assert list(length_groups([20_000, 300, 4_000, 1_000, 12_000, 5_000]).values()) == [
        "300 words",
        "1-4k",
        "1-4k",
        "4-8k",
        "8-12k",
        "20,000 words",
    ]


def test_nothing_is_said_about_the_training_of_a_model_that_is_not_known(tmp_path):
    stories = story_file(tmp_path / "m.jsonl", {"a": "Text " * 90}, target_words=100)
    assert evaluate("length", tmp_path / "out", f"--generations={stories}") == 0
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert "train" not in page.split("<body>")[1].split("Published")[0]
    assert '<th class="num">100 words</th>' in page


@pytest.mark.parametrize(
    ("bench", "name", "text", "shown"),
    [
        ("longbench-write", "judge.txt", JUDGE_TXT, "<Response>\nA {story} with $INST$ in it.\n</Response>"),
        ("eqbench-creative", "creative_writing_judging_prompt.txt", EQ_TXT, "---\nA {story} with $INST$ in it.\n---"),
        (
            "eqbench-longform",
            "final.txt",
            EQ_TXT.replace("test_model_response", "full_story"),
            "Tell of {a} ferry.\n---",
        ),
        ("writingbench", "prompt.py", PROMPT_PY, 'A {story} with $INST$ in it.\n{"score": 1, "reason": ""}'),
        ("story-quality", "rubric.txt", "P1 0-15 premise", "A {story} with $INST$ in it."),
        ("story-quality", "whole.txt", "Rate: {prompt} / {story}", "Rate: Tell of {a} ferry. / A {story} with"),
    ],
)
def test_a_published_prompt_is_filled_in_and_named(file, bench, name, text, shown):
    opened = open_bench(bench, file(name, text))
    [prompt] = opened.judge_prompts(STORY)
    assert shown in prompt.messages[-1][1]
    assert prompt.schema is None
    assert opened.rubric_source.startswith(f"official prompt, from {name} (SHA-256 ")
    assert opened.version != open_bench(bench).version


def test_the_places_of_the_published_prompts_hold_what_the_published_code_puts_there(file):
    [prompt] = open_bench("eqbench-creative", file("eq.txt", EQ_TXT)).judge_prompts(STORY)
    text = prompt.messages[0][1]
    assert "- Adherence to Instructions\n" in text
    assert ", ".join(eqbench_creative.FAULTS) in text
    [prompt] = open_bench("writingbench", file("prompt.py", PROMPT_PY)).judge_prompts(STORY)
    assert prompt.messages[0] == ("system", "You judge.")
    assert "```{'name': 'Voice', 'criteria_description': 'd', '9-10': 'best'}```" in prompt.messages[1][1]


@pytest.mark.parametrize(
    ("bench", "name", "text", "says"),
    [
        ("longbench-write", "judge.txt", "Rate $INST$", r"no \$RESPONSE\$"),
        ("eqbench-creative", "p.txt", EQ_TXT + "{lexical_stats}", "lexical_stats"),
        ("writingbench", "prompt.py", "def f(:", "not Python"),
        ("writingbench", "prompt.py", "import os\nx = 1", "evaluate_prompt"),
        ("story-quality", "absent", None, "full, brief, or a file"),
        ("longbench-write", "absent", None, "no such file"),
    ],
)
def test_another_file_is_refused(tmp_path, file, bench, name, text, says):
    address = file(name, text) if text is not None else str(tmp_path / name)
    with pytest.raises(InputError, match=says):
        open_bench(bench, address)


def test_the_brief_rubric_is_of_story_quality_alone():
    with pytest.raises(InputError, match="story-quality"):
        open_bench("eqbench-longform", "brief")


def test_the_report_names_the_official_prompt(tmp_path, judge_server, file):
    server, out = judge_server({"Text": creative(10)}), tmp_path / "out"
    stories = story_file(tmp_path / "m.jsonl", {"a": "Text"})
    flags = (f"--generations={stories}", f"--judge={server.judge}", f"--rubric={file('judging.txt', EQ_TXT)}")
    assert evaluate("eqbench-creative", out, *flags) == 0
    assert "official prompt, from judging.txt" in (out / "evaluation.html").read_text()
    assert "Metric 1 name" in server.requests[0]["messages"][-1]["content"]


def test_a_published_comparison_names_its_writers(tmp_path, judge_server, file):
    address = file("pairwise_prompt.txt", PAIR_TXT)
    assert read_pair_rubric(address).scale.labels == {"a0493": "A", "a0488": "B"}
    good, bad = story_file(tmp_path / "g.jsonl", {"p": "GOOD"}), story_file(tmp_path / "b.jsonl", {"p": "BAD"})
    text = verdict("A0493", 3)["choices"][0]["message"]["content"]
    server = judge_server(
        {"[WRITER A0493]\\nGOOD": completion(text), "WRITER": completion(text.replace("0493", "0488"))}
    )
    out = tmp_path / "out"
    flags = (f"--generations={good}", f"--generations={bad}", f"--judge={server.judge}", f"--rubric={address}")
    assert evaluate("pairwise", out, *flags) == 0
    [game] = rows(out / "games.jsonl")
    assert (game["a"], game["score"]) == ("b", 0.0)
    assert "official prompt, from pairwise_prompt.txt" in (out / "evaluation.html").read_text()
