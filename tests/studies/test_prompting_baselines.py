"""Prompting methods on a real small model: they run, keep to the length, and can be repeated from the cache."""

import json

import pytest

from polaris_jax import cli
from polaris_jax.errors import InputError
from polaris_jax.evals.prompts import Prompt
from polaris_jax.llm import ClientSpec, open_client
from polaris_jax.studies.baselines import METHODS, StoryClient, write_baselines
from polaris_jax.studies.baselines.dynamic_outline import recall
from polaris_jax.studies.baselines.story_client import cut, tail

PROMPT = Prompt("ferry", "A story about a ferryman who must bury a rival.", 60)


@pytest.fixture(scope="module")
def replies(tmp_path_factory):
    return tmp_path_factory.mktemp("replies")


@pytest.fixture
def client(model_server, replies):
    with open_client(ClientSpec("openai", "smollm2", f"{model_server}/v1", cache=str(replies), timeout=300)) as opened:
        yield opened


@pytest.mark.parametrize(
    "method",
    [
        "direct",
        pytest.param("plan-and-write", marks=pytest.mark.slow),
        pytest.param("re3", marks=pytest.mark.slow),
        pytest.param("doc", marks=pytest.mark.slow),
        pytest.param("dynamic-outline", marks=pytest.mark.slow),
    ],
)
def test_a_method_writes_a_story_of_the_wanted_length_and_repeats_it(client, replies, tmp_path, method):
    [row] = write_baselines(client, [PROMPT], [method], tmp_path / "first.jsonl")
    assert "error" not in row
    assert 45 <= row["words"] <= 60
    assert row["calls"] >= 1
    assert row["model"] == f"{method}/openai/smollm2"
    with open_client(ClientSpec("replay", "openai/smollm2", cache=str(replies))) as recorded:
        [again] = write_baselines(recorded, [PROMPT], [method], tmp_path / "second.jsonl")
    assert again["story"] == row["story"]


def test_a_story_that_is_there_is_not_written_again(client, tmp_path):
    file, told = tmp_path / "stories.jsonl", []
    write_baselines(client, [PROMPT], ["direct"], file, on_story=told.append)
    write_baselines(client, [PROMPT], ["direct"], file, on_story=told.append)
    assert len(told) == 1
    write_baselines(client, [PROMPT], ["direct"], file, words=30, on_story=told.append)
    assert [row["target_words"] for row in told] == [60, 30]
    assert len(file.read_text().splitlines()) == 1


def test_a_failed_story_stops_nobody_and_is_tried_again(tmp_path):
    file = tmp_path / "stories.jsonl"
    with open_client(ClientSpec("replay", "openai/nobody", cache=str(tmp_path / "empty"))) as nobody:
        for _ in range(2):
            told = []
            rows = write_baselines(nobody, [PROMPT], list(METHODS), file, on_story=told.append)
            assert len(told) == len(rows) == len(METHODS)
            assert all(row["error"].startswith("not_recorded") and row["story"] == "" for row in rows)


def test_a_list_has_exactly_the_items_that_were_asked_for(client):
    writer = StoryClient(client)
    found = writer.points("Name three rivers, one per item.", 3, most_chars=30)
    assert len(found) == 3
    assert writer.calls == 1
    [rating] = writer.rate("Is this a greeting?", ["Good morning!"])
    assert 1 <= rating <= 10


def test_mistakes_are_named_before_anything_is_asked(tmp_path):
    with open_client(ClientSpec("replay", "openai/nobody", cache=str(tmp_path / "empty"))) as nobody:
        with pytest.raises(InputError, match="plan-and-write"):
            write_baselines(nobody, [PROMPT], ["magic"], tmp_path / "x.jsonl")
        with pytest.raises(InputError, match="length"):
            write_baselines(nobody, [Prompt("p", "A story.")], ["direct"], tmp_path / "x.jsonl")
    assert not (tmp_path / "x.jsonl").exists()


def test_texts_are_cut_at_sentences_and_remembered_from_sentences():
    text = "One two three. Four five six seven. Eight nine ten eleven twelve."
    assert cut(text, 9) == "One two three. Four five six seven."
    assert cut(text, 100) == text
    assert cut("word " * 50, 10) == "word word word word word word word word word word"
    assert tail(text, 8) == "Eight nine ten eleven twelve."
    assert tail(text, 100) == text
    # Words are counted as rewards and benches count them: two in a contraction, one per character of Chinese.
    assert cut("I can't go on. I'll go on.", 6) == "I can't go on."
    assert tail("She wept. I can't go on.", 5) == "I can't go on."
    chinese = "船夫等了一夜。他不说话，也不哭。天亮了。"
    assert cut(chinese, 13) == "船夫等了一夜。他不说话，也不哭。"
    assert tail(chinese, 4) == "天亮了。"


def test_memory_recalls_what_an_event_is_about_in_the_order_it_was_told():
    memory = ["The bridge was burnt.", "Martha keeps the ferry.", "It rained.", "The ferry sank with Martha."]
    assert recall(memory, "Martha looks for the ferry", 2) == [memory[1], memory[3]]


def test_the_command_writes_generations_that_can_be_judged(model_server, replies, tmp_path, capsys):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(json.dumps({"id": "ferry", "prompt": PROMPT.text, "target_words": 60}) + "\n")
    assert (
        cli.main(
            [
                "evaluate",
                "baselines",
                f"--prompts={prompts}",
                "--methods=direct",
                "--model=smollm2",
                f"--base-url={model_server}/v1",
                f"--cache={replies}",
                f"--out={tmp_path / 'out'}",
            ]
        )
        == 0
    )
    from polaris_jax.evals import read_generations

    [one], bad = read_generations(tmp_path / "out" / "generations.jsonl")
    assert (one.id, one.target_words, bad) == ("ferry", 60, [])
    assert 45 <= one.words <= 60
