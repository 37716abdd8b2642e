"""Hugging Face folders in and out."""

import json
import logging

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import load_file, save_file

from polaris_jax.errors import InputError
from polaris_jax.models import Decoder, from_pretrained, init_params, save_pretrained
from polaris_jax.sharding import make_mesh

from .conftest import few_families, tiny, weights


def made(family="llama", dtype=jnp.float32, **changes) -> Decoder:
    config = tiny(family, **changes)
    return Decoder(config, init_params(config, jax.random.key(0), dtype))


@pytest.fixture(name="folder")
def _folder(tmp_path):
    save_pretrained(made("qwen3"), tmp_path / "model")
    return tmp_path / "model"


def rewrite(folder, change):
    """Applies ``change`` to the tensors of ``model.safetensors``."""
    tensors = load_file(folder / "model.safetensors")
    save_file(change(tensors) or tensors, folder / "model.safetensors")


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_round_trip_is_bit_equal(config, dtype, tmp_path):
    model = Decoder(config, init_params(config, jax.random.key(0), dtype))
    save_pretrained(model, tmp_path / "model")
    again = from_pretrained(tmp_path / "model")
    assert again.config == config
    for (path, a), (_, b) in zip(flatten_dict(model.params).items(), flatten_dict(again.params).items(), strict=True):
        assert a.dtype == b.dtype, path
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes(), path


def test_transformers_computes_the_same(config, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = Decoder(config, weights(config))
    save_pretrained(model, tmp_path / "model")
    theirs, told = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not any(told.values()), told
    tokens = np.asarray(jax.random.randint(jax.random.key(1), (2, 40), 0, config.vocab_size))
    with torch.no_grad():
        want = theirs(torch.from_numpy(tokens).long()).logits.numpy()
    np.testing.assert_allclose(model(tokens), want, atol=2e-3)


@few_families
def test_shards_split_and_join(config, tmp_path):
    model = Decoder(config, weights(config))
    save_pretrained(model, tmp_path / "model", shard_bytes=20_000)
    index = json.loads((tmp_path / "model" / "model.safetensors.index.json").read_text())
    files = sorted(p.name for p in (tmp_path / "model").glob("*.safetensors"))
    assert len(files) > 2
    assert sorted(set(index["weight_map"].values())) == files
    for file in files:
        named = [tensor for tensor, place in index["weight_map"].items() if place == file]
        assert sorted(load_file(tmp_path / "model" / file)) == sorted(named)
    jax.tree.map(np.testing.assert_array_equal, from_pretrained(tmp_path / "model").params, model.params)


@pytest.mark.parametrize(
    ("body", "head"),
    [
        ("language_model.model.", "language_model.lm_head."),
        ("model.language_model.", "lm_head."),
    ],
)
def test_nested_prefixes_are_accepted_and_decoys_said_aloud(folder, body, head, caplog):
    want = from_pretrained(folder).params

    def nest(tensors):
        renamed = {
            (head + n.removeprefix("lm_head.") if n.startswith("lm_head.") else body + n.removeprefix("model.")): t
            for n, t in tensors.items()
        }
        decoys = [
            "vision_tower.transformer.layers.0.self_attn.q_proj.weight",
            "mtp.layers.0.self_attn.q_proj.weight",
            "model.visual.blocks.0.mlp.up.weight",
            "multi_modal_projector.linear_1.weight",
        ]
        return renamed | dict.fromkeys(decoys, np.zeros((3, 3), np.float32))

    rewrite(folder, nest)
    with caplog.at_level(logging.WARNING):
        got = from_pretrained(folder).params
    jax.tree.map(np.testing.assert_array_equal, got, want)
    assert len(caplog.messages) == 1
    assert "skipped 4 tensors" in caplog.messages[0]


def test_every_wrong_tensor_is_named_in_one_error(folder):
    def spoil(tensors):
        del tensors["model.layers.1.mlp.up_proj.weight"], tensors["model.norm.weight"]
        tensors["model.layers.2.mlp.down_proj.weight"] = np.zeros((4, 4), np.float32)
        tensors["model.layers.9.mlp.up_proj.weight"] = np.zeros((4, 4), np.float32)

    rewrite(folder, spoil)
    with pytest.raises(InputError) as error:
        from_pretrained(folder)
    told = str(error.value)
    for name in ("layers.1.mlp.up_proj", "model.norm", "layers.2.mlp.down_proj", "layers.9.mlp.up_proj"):
        assert name in told
    assert "\n" not in told


@pytest.mark.parametrize("spoil", ["missing", "truncated", "garbage", "config", "shard"])
def test_a_broken_folder_is_one_clear_line(folder, spoil):
    file = folder / "model.safetensors"
    if spoil == "missing":
        file.unlink()
    elif spoil == "truncated":
        file.write_bytes(file.read_bytes()[:-100])
    elif spoil == "garbage":
        file.write_bytes(b"\xff" * 64)
    elif spoil == "config":
        (folder / "config.json").write_text("{")
    else:
        index = {"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError):
        from_pretrained(folder)


def test_a_tied_model_ignores_a_stored_head(tmp_path):
    model = made("qwen3", tie_word_embeddings=True)
    save_pretrained(model, tmp_path / "model")
    assert "lm_head.weight" not in load_file(tmp_path / "model" / "model.safetensors")
    rewrite(tmp_path / "model", lambda tensors: tensors.update({"lm_head.weight": np.zeros((97, 32), np.float32)}))
    jax.tree.map(np.testing.assert_array_equal, from_pretrained(tmp_path / "model").params, model.params)


def test_mixed_dtypes_and_the_float32_exception(tmp_path):
    save_pretrained(made("qwen3_5_text", jnp.bfloat16), tmp_path / "model")
    stored = from_pretrained(tmp_path / "model").params["blocks"]["0"]
    assert stored["linear_attention"]["A_log"].dtype == jnp.float32
    assert stored["mlp"]["up"].dtype == jnp.bfloat16
    rewrite(tmp_path / "model", lambda tensors: {n: t.astype(ml_dtypes.bfloat16) for n, t in tensors.items()})
    cast = from_pretrained(tmp_path / "model", dtype=jnp.float16).params["blocks"]["0"]
    assert cast["linear_attention"]["A_log"].dtype == jnp.float32
    assert cast["mlp"]["up"].dtype == jnp.float16


def test_an_odd_vocabulary_is_spread_by_padding(tmp_path):
    mesh = make_mesh({"fsdp": 2, "tensor": 2}, devices=jax.devices()[:4])
    model = made("mistral", jnp.bfloat16)
    save_pretrained(model, tmp_path / "model")
    spread = from_pretrained(tmp_path / "model", dtype=jnp.float32, mesh=mesh, vocab_multiple=8)
    assert spread.params["embed"]["embedding"].shape == (104, 32)
    assert spread.params["embed"]["embedding"].addressable_shards[0].data.shape == (52, 16)
    tokens = jnp.arange(20).reshape(2, 10)
    want = from_pretrained(tmp_path / "model", dtype=jnp.float32)(tokens)
    assert spread(tokens).shape == (2, 10, 97)
    np.testing.assert_allclose(spread(tokens), want, atol=1e-4)
    save_pretrained(spread, tmp_path / "again")
    again = load_file(tmp_path / "again" / "model.safetensors")
    for name, tensor in load_file(tmp_path / "model" / "model.safetensors").items():
        np.testing.assert_array_equal(again[name], tensor.astype(np.float32))


def test_saving_over_a_folder_leaves_no_stale_shard_and_keeps_other_files(tmp_path):
    target = tmp_path / "model"
    save_pretrained(made("llama"), target, shard_bytes=20_000)
    (target / "tokenizer.json").write_text("{}")
    save_pretrained(made("llama"), target)
    assert sorted(p.name for p in target.iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_failed_save_leaves_nothing(tmp_path):
    model = made("llama")
    params = jax.tree.map(lambda w: w, model.params)
    params["norm"] = {"scale": params["norm"]["scale"].astype(jnp.float8_e4m3fn)}
    with pytest.raises(InputError, match=r"model\.norm\.weight"):
        save_pretrained(Decoder(model.config, params), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_tokenizer_files_come_along(folder, tmp_path):
    (folder / "tokenizer.json").write_text("{}")
    save_pretrained(made("qwen3"), tmp_path / "out", tokenizer_from=folder)
    assert (tmp_path / "out" / "tokenizer.json").read_text() == "{}"
