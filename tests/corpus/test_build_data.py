"""``polaris build --data``: rows and manuscripts become a store; nothing is lost, and a broken row leaves no store."""

import json
from pathlib import Path

import numpy as np
import pytest

from polaris_jax.cli import main
from polaris_jax.data import TokenStore, load_tokenizer, train_sentencepiece

SAMPLES = Path(__file__).parents[1] / "data" / "formats"
TEMPLATE = (
    "{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|stop_header_id|>' + m.content + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|stop_header_id|>' }}{% endif %}"
)
CHATS = ("sharegpt.jsonl", "messages.jsonl", "alpaca.json", "completion.jsonl")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with a vocabulary and a chat template."""
    folder = tmp_path_factory.mktemp("model")
    texts = [(SAMPLES / "good" / name).read_text(encoding="utf-8") for name in (*CHATS, "trajectory.txt")]
    train_sentencepiece(texts, 500).save(folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.fixture(scope="module")
def tokenizer(model):
    return load_tokenizer(model)


def build(model, out, *arguments):
    return main(["build", "--tokenizer", str(model), "--out", str(out), "--data", *map(str, arguments)])


def learned_text(tokenizer, row):
    """The text of the learned tokens, turn by turn."""
    weights = row.weights.copy()
    weights[0] = 0
    cuts = 1 + np.flatnonzero(np.diff(weights))
    return [tokenizer.decode(part) for part in np.split(row.tokens, cuts)[int(weights[0] == 0) :: 2]]


def texts_in(value):
    """Every text of a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from texts_in(item)


def test_every_sample_becomes_trajectories_and_every_word_of_it_is_somewhere(model, tokenizer, tmp_path, capsys):
    pytest.importorskip("pypandoc", reason="pip install 'polaris-jax[documents]' to read .docx and .odt")
    names = [p for p in sorted((SAMPLES / "good").iterdir()) if p.name != "markdown" and "pairs" not in p.name]
    assert build(model, tmp_path / "store", *names, SAMPLES / "good" / "markdown", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    pairs = sorted((SAMPLES / "good").glob("*pairs.*"))  # these have a store of their own
    assert build(model, tmp_path / "pairs", *pairs, "--json") == 0
    report["files"] += json.loads(capsys.readouterr().out)["files"]
    assert len(report["files"]) == 12 + 3
    assert all(file["rows"] and file["trajectories"] and file["learned"] for file in report["files"])
    assert not any(file["left_out"] for file in report["files"])
    unused = {file["file"]: set(file["unused_fields"]) for file in report["files"] if file["unused_fields"]}
    assert unused == {
        "sharegpt.jsonl": {"id"},
        "alpaca.json": {"category"},
        "text.jsonl": {"source"},
        "pairs.jsonl": {"score_chosen"},
        "gutenberg_pairs.parquet": {"rejected_model"},
        "chapter 1.md": {"front matter"},
    }
    stored: dict[str, str] = {}
    for name in ("store", "pairs"):
        store = TokenStore.open(tmp_path / name, tokenizer)
        assert store.verify() == []
        for index in range(len(store)):
            file = store.meta(index)["where"].partition(":")[0].partition(" row ")[0]
            stored[file] = stored.get(file, "") + tokenizer.decode(store.read(index).tokens)
            stored[file] += json.dumps(store.meta(index), ensure_ascii=False)
    assert build(model, tmp_path / "mixed", pairs[0], SAMPLES / "good" / "text.jsonl") == 2
    assert "build one store of pairs and one of the rest" in capsys.readouterr().err
    for name in (*CHATS, "pairs.jsonl", "text.jsonl"):
        content = (SAMPLES / "good" / name).read_text(encoding="utf-8")
        rows = json.loads(content) if name.endswith(".json") else [json.loads(line) for line in content.splitlines()]
        labels = {"system", "human", "gpt", "user", "assistant", "text"}
        assert [text for text in texts_in(rows) if text not in stored[name] and text not in labels] == []


def test_of_chats_and_answers_only_what_the_model_writes_is_learned(model, tokenizer, tmp_path, capsys):
    assert build(model, tmp_path / "store", *(SAMPLES / "good" / name for name in CHATS)) == 0
    assert "not trained on: id (2)" in capsys.readouterr().out
    store = TokenStore.open(tmp_path / "store", tokenizer)
    found = {store.meta(index)["where"]: learned_text(tokenizer, store.read(index)) for index in range(len(store))}
    assert found["sharegpt.jsonl:1"] == ["The night's rain fell on.<|eot_id|>", "It rained.<|eot_id|>"]
    assert found["messages.jsonl:2"] == ["Lamps, <|eot_id|> and what they cost.<|eot_id|>"]
    assert found["alpaca.json:7"] == ["He mends nets, badly, and is paid in fish.<|eot_id|>"]
    assert found["completion.jsonl:1"] == ["The weir had been singing since Tuesday.<|eot_id|>"]
    everything = tmp_path / "everything"
    assert build(model, everything, SAMPLES / "good" / "sharegpt.jsonl", "--learn=all") == 0
    assert all((TokenStore.open(everything).read(index).weights[1:] == 1).all() for index in range(2))
    assert build(model, tmp_path / "joined", SAMPLES / "good" / "completion.jsonl", "--no-chat") == 0
    assert "a blank line was put between" in capsys.readouterr().out
    joined = TokenStore.open(tmp_path / "joined", tokenizer)
    assert learned_text(tokenizer, joined.read(0)) == ["The weir had been singing since Tuesday.<|eot_id|>"]
    assert "<|start_header_id|>" not in tokenizer.decode(joined.read(0).tokens)


@pytest.mark.parametrize("broken", sorted(path.name for path in (SAMPLES / "broken").iterdir()))
def test_a_broken_file_is_refused_and_nothing_is_written(broken, model, tmp_path, capsys):
    if broken.endswith((".docx", ".odt")):
        pytest.importorskip("pypandoc")
    out = tmp_path / "store"
    assert build(model, out, SAMPLES / "broken" / broken) == 2
    said = capsys.readouterr().err
    assert broken.split("/")[0] in said or "chapter 1.md" in said
    assert len(said.split("polaris build:")) == 2  # one error line
    assert not [path for path in out.rglob("*") if path.is_file()]


def test_all_broken_rows_are_named_and_an_older_store_stays(model, tokenizer, tmp_path, capsys):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "One."}\n{"text": 2}\n{"text": ""}\n')
    assert build(model, tmp_path / "store", SAMPLES / "good" / "text.jsonl") == 0
    before = sorted(path for path in (tmp_path / "store").rglob("*") if path.is_file())
    assert build(model, tmp_path / "store", rows) == 2
    said = capsys.readouterr().err
    assert "rows.jsonl:2: text" in said
    assert "rows.jsonl:3: text" in said
    # A row that only the template refuses is found later, and leaves nothing behind either.
    (tmp_path / "refused").mkdir()
    for path in model.iterdir():
        (tmp_path / "refused" / path.name).write_bytes(path.read_bytes())
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + TEMPLATE
    (tmp_path / "refused" / "chat_template.jinja").write_text(refuses)
    assert build(tmp_path / "refused", tmp_path / "store", SAMPLES / "good" / "sharegpt.jsonl") == 2
    assert "sharegpt.jsonl:1: messages" in capsys.readouterr().err
    assert sorted(path for path in (tmp_path / "store").rglob("*") if path.is_file()) == before
    assert len(TokenStore.open(tmp_path / "store", tokenizer)) == 2


def test_a_long_manuscript_is_cut_at_paragraphs_and_loses_no_token(model, tokenizer, tmp_path):
    paragraphs = [f"The clerk wrote the hour {number}. Nobody read it. " * 3 for number in range(40)]
    (tmp_path / "long.txt").write_text("\n\n".join(paragraphs))
    assert build(model, tmp_path / "whole", tmp_path / "long.txt") == 0
    assert build(model, tmp_path / "cut", tmp_path / "long.txt", "--window=256", "--split=50/25/25") == 0
    whole, cut = TokenStore.open(tmp_path / "whole", tokenizer), TokenStore.open(tmp_path / "cut", tokenizer)
    assert len(whole) == 1
    parts = [cut.read(index) for index in range(len(cut))]
    assert max(map(len, parts)) <= 256
    assert min(map(len, parts[:-1])) >= 128
    begin = [tokenizer.bos_id]
    assert [part.tokens[0] for part in parts] == begin * len(parts)
    np.testing.assert_array_equal(np.concatenate([begin, *(part.tokens[1:] for part in parts)]), whole.read(0).tokens)
    assert all(tokenizer.decode(part.tokens[1:]).startswith("The clerk") for part in parts)
    assert all((part.weights[1:] == 1).all() for part in parts)
    splits = [cut.meta(index)["split"] for index in range(len(cut))]  # one manuscript: its last parts are held out
    assert splits == sorted(splits, key=["train", "validation", "test"].index)
    assert set(splits) == {"train", "validation", "test"}


def test_what_does_not_fit_is_cut_after_a_turn_or_left_out_and_said(model, tokenizer, tmp_path, capsys):
    turns = [{"role": role, "content": "It rained on the ferry. " * 4} for role in ("user", "assistant") * 3]
    rows = [{"messages": turns}, {"messages": turns[:1] * 4 + turns[1:2]}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert build(model, tmp_path / "all", tmp_path / "rows.jsonl") == 0
    sizes = TokenStore.open(tmp_path / "all").lengths
    turn = int(sizes[0]) // 6
    assert build(model, tmp_path / "store", tmp_path / "rows.jsonl", f"--window={4 * turn + turn // 2}") == 0
    store = TokenStore.open(tmp_path / "store", tokenizer)
    assert [store.meta(index)["where"] for index in range(len(store))] == ["rows.jsonl:1"]
    assert len(learned_text(tokenizer, store.read(0))) == 2
    assert store.read(0).tokens[-1] == tokenizer.eot_id
    said = capsys.readouterr().out
    assert "cut after the last turn that fits" in said
    assert "left out: rows.jsonl:2 has" in said


def test_rows_with_one_prompt_stay_in_one_split_and_a_folder_can_be_one_document(model, tokenizer, tmp_path):
    rows = [{"prompt": f"Q{n % 30}", "completion": f"A{n}"} for n in range(60)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for out in ("one", "two"):
        assert build(model, tmp_path / out, tmp_path / "rows.jsonl", "--split=70/20/10", "--seed=3") == 0
    store = TokenStore.open(tmp_path / "one")
    assert store.content_hash == TokenStore.open(tmp_path / "two").content_hash
    splits = [store.meta(index)["split"] for index in range(60)]
    assert splits[:30] == splits[30:]
    assert [splits.count(name) for name in ("train", "validation", "test")] == [42, 12, 6]
    assert build(model, tmp_path / "book", SAMPLES / "good" / "markdown", "--join") == 0
    book = TokenStore.open(tmp_path / "book", tokenizer)
    assert len(book) == 1
    text = tokenizer.decode(book.read(0).tokens)
    assert text.index("Chapter 1\n") < text.index("Chapter 2\n") < text.index("Chapter 10\n")


def test_a_row_is_shown_with_what_is_learned_of_it(model, tmp_path, capsys):
    assert build(model, tmp_path / "store", SAMPLES / "good" / "sharegpt.jsonl") == 0
    capsys.readouterr()
    show = ["inspect", str(tmp_path / "store"), "--row=0", "--tokenizer", str(model)]
    page = tmp_path / "row.html"
    assert main([*show, "--json", "--html", str(page)]) == 0
    shown = json.loads(capsys.readouterr().out)
    learned = [span["text"] for span in shown["spans"] if span["weight"] > 0]
    assert learned == ["The night's rain fell on.<|eot_id|>", "It rained.<|eot_id|>"]
    assert sum(span["tokens"] for span in shown["spans"]) == shown["tokens"]
    assert "<|start_header_id|>system" in shown["spans"][0]["text"]
    assert page.read_text().count("<mark>") == 3  # two turns and the legend
    assert main(show) == 0
    said = capsys.readouterr().out
    assert "[only read, " in said
    assert "[learned, " in said
    assert f"{shown['learned']} of {shown['tokens']} tokens are learned" in said
    assert main(["inspect", str(tmp_path / "store")]) == 0
    assert "sharegpt.jsonl:1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--profile=full"], "--profile"),
        (["--window=-1"], "--window"),
        (["--split=1/2"], "--split"),
        (["--estimate"], "--estimate"),
    ],
)
def test_flags_that_mean_nothing_here_are_refused(arguments, said, model, tmp_path, capsys):
    assert build(model, tmp_path / "store", SAMPLES / "good" / "text.jsonl", *arguments) == 2
    assert said in capsys.readouterr().err


def test_a_chat_needs_a_template_and_pairs_of_texts_do_not(tmp_path, capsys):
    train_sentencepiece(["the lamp was lit"] * 9, 280, tmp_path / "base")
    assert build(tmp_path / "base", tmp_path / "store", SAMPLES / "good" / "sharegpt.jsonl") == 2
    assert "--chat-template=FILE" in capsys.readouterr().err
    (tmp_path / "t.jinja").write_text(TEMPLATE)
    given = ["--chat-template", str(tmp_path / "t.jinja")]
    assert build(tmp_path / "base", tmp_path / "store", SAMPLES / "good" / "sharegpt.jsonl", *given) == 0
    assert build(tmp_path / "base", tmp_path / "pairs", SAMPLES / "good" / "gutenberg_pairs.parquet") == 0
    assert "no chat template" in capsys.readouterr().out
    assert main(["build", "--tokenizer", "x", "--out", str(tmp_path / "y"), "--books", "z", "--join"]) == 2
    assert "is for --data" in capsys.readouterr().err
