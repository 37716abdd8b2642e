"""Chats and manuscripts are trained on from their store: packed rows, exact masks, a loss that falls."""

import json
import shutil

import jax
import numpy as np
import pytest

from polaris_jax.cli import main
from polaris_jax.data import load_tokenizer
from polaris_jax.errors import InputError
from polaris_jax.sharding import make_mesh
from polaris_jax.training import read_metrics, train, train_config
from polaris_jax.training.input_pipeline import open_training_data

TEMPLATE = (
    "{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|stop_header_id|>' + m.content + '<|eot_id|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|stop_header_id|>' }}{% endif %}"
)
ANSWERS = ["The lamp was lit.", "Nobody came down to the quay.", "He wrote the hour in the wrong column."]


@pytest.fixture(scope="module")
def model(material, tmp_path_factory):
    folder = tmp_path_factory.mktemp("chat") / "model"
    shutil.copytree(material / "model", folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.fixture(scope="module")
def store(model):
    """48 chats of one to three turns."""
    rows = []
    for number in range(48):
        turns = [
            message
            for turn in range(1 + number % 3)
            for message in (
                {"from": "human", "value": f"What of {number}?"},
                {"from": "gpt", "value": ANSWERS[(number + turn) % 3]},
            )
        ]
        rows.append({"conversations": turns})
    file = model.parent / "chats.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = model.parent / "store"
    assert main(["build", "--data", str(file), "--tokenizer", str(model), "--out", str(out), "--window=256"]) == 0
    return out


def test_packed_batches_learn_the_answers_and_nothing_else(make_config, model, store):
    config = make_config()
    config.model.path, config.data.store = str(model), str(store)
    config.data.update({"window": 256, "batch_size": 2})
    config.mesh.update({"fsdp": 1, "context": 2})
    data = open_training_data(train_config(config), make_mesh({"context": 2}, devices=jax.devices()[:2]))
    tokenizer = load_tokenizer(model)
    batch = data.batch(0)
    assert batch["segment_ids"].max() > 2  # several chats share a row
    for row in range(2):
        order = np.lexsort((batch["positions"][row], batch["segment_ids"][row]))
        segments, targets, weights = (batch[name][row][order] for name in ("segment_ids", "targets", "weights"))
        for segment in range(1, segments.max() + 1):
            here = segments == segment
            learned = tokenizer.decode(targets[here & (weights > 0)])
            turns = [turn for turn in learned.split("<|eot_id|>") if turn]
            assert turns
            assert set(turns) <= set(ANSWERS)
            assert learned.endswith("<|eot_id|>")
            # Tokens without loss: the rest of the rendering, also the line end after the last end token.
            said = tokenizer.decode(targets[here & (weights == 0)][:-1])
            assert not any(answer in said for answer in ANSWERS)


def test_a_run_on_chats_and_a_manuscript_lowers_the_loss(make_config, model, store, tmp_path):
    manuscript = tmp_path / "book.txt"
    manuscript.write_text(
        "\n\n".join(f"The clerk wrote the hour. It was {hour}, and nobody read it." for hour in range(60))
    )
    texts = tmp_path / "texts"
    assert (
        main(["build", "--data", str(manuscript), "--tokenizer", str(model), "--out", str(texts), "--window=256"]) == 0
    )
    config = make_config()
    config.model.path, config.data.store = str(model), str(store)
    config.data.update({"mix": ((str(texts), 1.0),), "window": 256, "batch_size": 4})
    config.train.update({"steps": 6, "checkpoint_every": 6})
    assert train(config, tmp_path / "run").finished
    records = read_metrics(tmp_path / "run")
    assert records[-1]["loss/prose"] < 0.8 * records[0]["loss/prose"]
    assert records[-1]["supervised"] < records[-1]["tokens"]


def test_a_store_of_pairs_is_for_post_training(make_config, model, tmp_path):
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    arguments = ["--data", str(tmp_path / "pairs.jsonl"), "--tokenizer", str(model), "--out", str(tmp_path / "store")]
    assert main(["build", *arguments]) == 0
    config = make_config()
    config.model.path, config.data.store = str(model), str(tmp_path / "store")
    with pytest.raises(InputError, match="preference pairs"):
        train(config, tmp_path / "run")
