"""Orbax folders: Orbax restores what we write, and a run's checkpoint becomes a Hugging Face folder again."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax.traverse_util import flatten_dict

from polaris_jax.cli import main
from polaris_jax.converting import convert
from polaris_jax.data import load_tokenizer
from polaris_jax.errors import InputError
from polaris_jax.models import Decoder, from_pretrained, init_params, save_pretrained
from polaris_jax.models import tensors as tensors_module
from polaris_jax.models.orbax_folder import read_orbax
from polaris_jax.models.saving import hf_tensors
from polaris_jax.models.weights import abstract_params
from polaris_jax.sharding import make_mesh
from polaris_jax.training.checkpoint import Checkpoints
from polaris_jax.training.state import TrainState

from .conftest import few_families, tiny


def same(a, b):
    for (path, ours), (_, theirs) in zip(flatten_dict(a).items(), flatten_dict(b).items(), strict=True):
        assert ours.dtype == theirs.dtype, path
        assert np.asarray(ours).tobytes() == np.asarray(theirs).tobytes(), path


@pytest.fixture(name="small_pieces")
def _small_pieces(monkeypatch):
    """Makes pieces so small that even tiny tensors are copied in several, with a remainder."""
    monkeypatch.setattr(tensors_module, "PIECE_BYTES", 700)


@few_families
@pytest.mark.usefixtures("small_pieces")
def test_there_and_back_is_bit_equal(config, tmp_path):
    model = Decoder(config, init_params(config, jax.random.key(0), jnp.bfloat16))
    save_pretrained(model, tmp_path / "hf")
    (tmp_path / "hf" / "tokenizer.json").write_text("{}")
    convert(str(tmp_path / "hf"), str(tmp_path / "orbax"))
    same(from_pretrained(tmp_path / "orbax").params, model.params)
    convert(str(tmp_path / "orbax"), str(tmp_path / "again"))
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "hf" / name).read_bytes(), name


@few_families
@pytest.mark.usefixtures("small_pieces")
def test_orbax_restores_it_spread_over_a_mesh(config, tmp_path):
    model = Decoder(config, init_params(config, jax.random.key(0)))
    save_pretrained(model, tmp_path / "hf")
    convert(str(tmp_path / "hf"), str(tmp_path / "orbax"))
    mesh = make_mesh({"fsdp": 2, "tensor": 2}, devices=jax.devices()[:4])
    abstract = abstract_params(config, mesh=mesh)
    restored = ocp.StandardCheckpointer().restore(tmp_path / "orbax" / "params", abstract)
    same(restored, model.params)
    for leaf, told in zip(jax.tree.leaves(restored), jax.tree.leaves(abstract), strict=True):
        assert leaf.sharding.is_equivalent_to(told.sharding, leaf.ndim)


@few_families
def test_what_orbax_saved_is_read_in_pieces(config, tmp_path):
    params = init_params(config, jax.random.key(0), jnp.bfloat16)
    saver = ocp.StandardCheckpointer()
    saver.save(tmp_path / "step", params)
    saver.wait_until_finished()
    found, want = read_orbax(tmp_path / "step", config), hf_tensors(params, config)
    assert found.keys() == want.keys()
    for name, tensor in found.items():
        np.testing.assert_array_equal(tensor.rows(1, 3), want[name].rows(1, 3))
        assert tensor.read().tobytes() == np.ascontiguousarray(want[name].read()).tobytes(), name


def test_a_tree_that_does_not_fit_is_named_and_leaves_nothing(tmp_path):
    config = tiny("llama")
    save_pretrained(Decoder(config, init_params(config, jax.random.key(0))), tmp_path / "hf")
    convert(str(tmp_path / "hf"), str(tmp_path / "orbax"))
    with pytest.raises(InputError, match=r"embed\.embedding .*head\.kernel missing"):
        read_orbax(tmp_path / "orbax" / "params", replace(config, vocab_size=98, tie_embeddings=False))
    (tmp_path / "hf" / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError):
        convert(str(tmp_path / "hf"), str(tmp_path / "broken"))
    assert sorted(item.name for item in tmp_path.iterdir()) == ["hf", "orbax"]
    with pytest.raises(InputError, match="not empty"):
        convert(str(tmp_path / "hf"), str(tmp_path / "orbax"))


def test_a_training_run_becomes_a_folder_that_transformers_loads(tmp_path):
    """The newest checkpoint of a run, with the optimizer's state beside it; float32 masters released in bfloat16."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    config = tiny("qwen3_5_text")
    old, new = (init_params(config, jax.random.key(seed)) for seed in (0, 1))
    save_pretrained(Decoder(config, old), tmp_path / "run" / "model")
    (tmp_path / "run" / "model" / "model.safetensors").unlink()
    checkpoints = Checkpoints(tmp_path / "run")
    for step, params in ((2, old), (4, new)):
        checkpoints.save(step, TrainState(jnp.int32(step), params, {"momentum": params}), {"step": step})
    checkpoints.wait()
    checkpoints.close()
    assert main(["convert", str(tmp_path / "run"), str(tmp_path / "hf"), "--dtype", "bfloat16"]) == 0
    theirs, told = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "hf", output_loading_info=True, dtype=torch.float32
    )
    assert not any(told.values()), told
    tokens = np.arange(3, 43)[None]
    rounded = jax.tree.map(lambda w: w.astype(jnp.bfloat16).astype(jnp.float32), new)
    kept = new["blocks"]["0"]["linear_attention"]
    rounded["blocks"]["0"]["linear_attention"] |= {name: kept[name] for name in ("A_log", "norm")}
    with torch.no_grad():
        want = theirs(torch.from_numpy(tokens)).logits.numpy()
    np.testing.assert_allclose(Decoder(config, rounded)(tokens), want, atol=2e-3)


@pytest.mark.parametrize("to", ["hf", "orbax"])
def test_stage_tokens_come_with_a_mean_row_each(to, tmp_path):
    """A tokenizer smaller than the embedding, as in released models: a spare row is used, the others are new."""
    from tokenizers import Tokenizer, models

    config = tiny("qwen3", tie_word_embeddings=False)
    model = Decoder(config, init_params(config, jax.random.key(0)))
    save_pretrained(model, tmp_path / "hf")
    letters = bytes_to_unicode()
    Tokenizer(models.BPE({c: i for i, c in enumerate(letters[:96])}, [])).save(str(tmp_path / "hf" / "tokenizer.json"))
    assert main(["convert", str(tmp_path / "hf"), str(tmp_path / "out"), "--to", to, "--stage-tokens"]) == 0
    grown = from_pretrained(tmp_path / "out")
    assert grown.config.vocab_size == 99
    assert load_tokenizer(str(tmp_path / "out")).eot_id == grown.config.eos_token_ids[0] == 98
    for old, new in (
        (model.params["embed"]["embedding"], grown.params["embed"]["embedding"]),
        (model.params["head"]["kernel"].T, grown.params["head"]["kernel"].T),
    ):
        np.testing.assert_array_equal(new[:96], old[:96])
        np.testing.assert_allclose(new[96:], np.repeat(np.asarray(old[:96]).mean(0)[None], 3, 0), atol=1e-6)


def bytes_to_unicode() -> list[str]:
    """Ninety-six printable letters of the byte-level alphabet."""
    return [chr(n) for n in range(33, 127)] + ["Ġ", "Ċ"]
