"""Evaluation of our own checkpoints: they write the stories, and the audit measures what they have memorised."""

import json

import jax
import pytest
from judges import evaluate, longform, rows
from small_models import small_config

from polaris_jax.data import train_sentencepiece
from polaris_jax.models import Decoder, init_params, save_pretrained

TEXT = "A girl teaches the village clock to lie. He told the two about approximately long words: (10) 20 pear trees!\n"
CHAT = (
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random model of two layers with a vocabulary and a chat template, as a Hugging Face folder."""
    place = tmp_path_factory.mktemp("model") / "tiny"
    tokenizer = train_sentencepiece([TEXT] * 8, 360)
    config = small_config(tokenizer.vocab_size)
    save_pretrained(Decoder(config, init_params(config, jax.random.key(0))), str(place))
    tokenizer.save(place)
    (place / "chat_template.jinja").write_text(CHAT)
    return place


def test_a_checkpoint_writes_stories_once_and_is_judged(tmp_path, folder, judge_server):
    server, out = judge_server({"PROMPT": longform(10, 10)}), tmp_path / "out"
    flags = (
        f"--checkpoint=tiny={folder}",
        "--prompts=smoke",
        "--max-tokens=24",
        "--slots=2",
        f"--judge={server.judge}",
    )
    assert evaluate("eqbench-longform", out, *flags) == 0
    file = out / "generations" / "tiny.jsonl"
    written = rows(file)
    assert [row["id"] for row in written] == [f"smoke-{n}" for n in range(1, 5)]
    assert all(row["tokens"] <= 24 and row["model"] == "tiny" for row in written)
    assert len({row["story"] for row in written}) == 4
    assert {row["weighted"] for row in rows(out / "scores.jsonl")} <= {
        43.99,
        0.0,
    }  # forced poetry 20 * 0.5^1.7, five times
    # Stories that exist are kept; missing ones are written again, in the same words.
    file.write_text("".join(json.dumps(row) + "\n" for row in written[:2]))
    kept = file.stat().st_mtime_ns
    assert evaluate("eqbench-longform", out, *flags) == 0
    assert rows(file) == written
    assert file.stat().st_mtime_ns > kept


def test_length_without_a_judge(tmp_path, folder):
    out = tmp_path / "out"
    assert (
        evaluate(
            "length",
            out,
            f"--checkpoint=tiny={folder}",
            "--prompts=smoke",
            "--max-tokens=24",
            "--slots=2",
            "--write-as=continue",
            "--trained-words=50-90",
        )
        == 0
    )
    found = json.loads((out / "evaluation.json").read_text())
    quality, ratio, bands = found["sections"][0]["parts"]
    assert ratio["shade"] == quality["shade"] == [50, 90]
    assert [point[0] for point in ratio["curves"][0]["points"]] == [60, 80, 100, 120]
    assert bands["rows"][1][:2] == ["tiny", "length ratio"]
    assert bands["columns"][2:4] == ["60-120 words", "all"]


def test_memorisation_of_a_checkpoint(tmp_path, folder):
    training = tmp_path / "rows.jsonl"
    story = "".join(f"Line {n} of the story. " for n in range(20))
    training.write_text(
        json.dumps({"uid": "r1", "prompt": "Tell it.", "story": story, "ground_truth_reasoning": "I plan."})
        + "\n{broken\n"
    )
    out = tmp_path / "out"
    flags = (f"--checkpoint=tiny={folder}", f"--rows={training}", "--prefixes=5,10", "--continuation=12", "--slots=2")
    assert evaluate("memorisation", out, *flags) == 0
    attacks = rows(out / "attacks-tiny.jsonl")
    assert [(a["mode"], a["prefix_tokens"]) for a in attacks] == [
        ("gold_thinking", 5),
        ("gold_thinking", 10),
        ("prompt_only", 0),
    ]
    assert all(a["generated_tokens"] <= 12 for a in attacks)
    found = json.loads((out / "evaluation.json").read_text())
    assert [section["title"] for section in found["sections"]] == [
        "Prompt, gold reasoning and the first story tokens",
        "The prompt alone",
    ]
    first = (out / "attacks-tiny.jsonl").read_bytes()
    assert evaluate("memorisation", out, *flags) == 0
    assert (out / "attacks-tiny.jsonl").read_bytes() == first


def test_a_base_model_has_no_chat(tmp_path, folder, capsys):
    from shutil import copytree

    base = tmp_path / "base"
    copytree(folder, base)
    (base / "chat_template.jinja").unlink()
    assert evaluate("length", tmp_path / "out", f"--checkpoint={base}", "--prompts=smoke", "--max-tokens=8") == 2
    assert "chat template" in capsys.readouterr().err
