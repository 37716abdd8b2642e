"""Folders as published for the families, quantised, adapted, damaged or hostile: loaded, or refused in one line."""

import json
import shutil
import struct

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from polaris_jax.errors import InputError
from polaris_jax.models import Decoder, ModelConfig, from_pretrained, save_pretrained
from polaris_jax.models.checkpoint import read_checkpoint
from polaris_jax.models.folder import open_folder
from polaris_jax.models.model_folder import find_model_folder
from polaris_jax.models.orbax_folder import open_model

from .conftest import tiny, weights

Q = "model.layers.1.self_attn.q_proj"  # [32, 32] in the tiny models


@pytest.fixture(name="folder")
def _folder(tmp_path):
    config = tiny("llama", tie_word_embeddings=False)
    save_pretrained(Decoder(config, weights(config)), tmp_path / "model")
    return tmp_path / "model"


def rewrite(folder, tensors=None, **config):
    """Changes tensors (None deletes one) and fields of ``config.json``."""
    stored = load_file(folder / "model.safetensors") | (tensors or {})
    save_file({name: value for name, value in stored.items() if value is not None}, folder / "model.safetensors")
    described = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps(described))


def read(folder, name=f"{Q}.weight"):
    found = find_model_folder(folder)
    _, tensors = open_model(open_folder(found.weights), found.hf_config)
    tensor = tensors[name]
    half = tensor.shape[0] // 2
    values = np.concatenate([tensor.rows(0, half), tensor.rows(half, tensor.shape[0])])
    return np.asarray(values, np.float32)


def read_all(folder):
    found = find_model_folder(folder)
    _, tensors = open_model(open_folder(found.weights), found.hf_config)
    for tensor in tensors.values():
        tensor.read()


def refused(folder):
    with pytest.raises(InputError) as error:
        read_all(folder)
    told = str(error.value).replace(str(folder), "FOLDER")
    assert len(told) <= 300
    assert "\n" not in told
    return told


@pytest.mark.parametrize("blocks", [None, [12, 20]])
def test_fp8_is_expanded_with_one_scale_or_one_per_block(folder, blocks):
    want = load_file(folder / "model.safetensors")[f"{Q}.weight"]
    small = (want * 100).astype(ml_dtypes.float8_e4m3fn)
    # Rows of 12, 12 and 8; columns of 20 and 12.
    scale = np.array(0.01, np.float32) if blocks is None else np.arange(1, 7, dtype=np.float32).reshape(3, 2)
    beside = {f"{Q}.weight_scale_inv": scale, f"{Q}.activation_scale": np.float32([1.0])}
    how = {"quant_method": "fp8", "weight_block_size": blocks}
    rewrite(folder, {f"{Q}.weight": small} | beside, quantization_config=how)
    scales = scale if blocks is None else np.repeat(np.repeat(scale, 12, 0), 20, 1)[:32, :32]
    np.testing.assert_array_equal(read(folder), small.astype(np.float32) * scales)


def test_a_nested_release_in_fp8_loads_in_its_own_dtype(folder):
    stored = load_file(folder / "model.safetensors")
    text = json.loads((folder / "config.json").read_text())
    renamed = {f"language_model.{name}": value.astype(ml_dtypes.bfloat16) for name, value in stored.items()}
    renamed[f"language_model.{Q}.weight"] = stored[f"{Q}.weight"].astype(ml_dtypes.float8_e4m3fn)
    renamed[f"language_model.{Q}.weight_scale_inv"] = np.ones((), ml_dtypes.bfloat16)
    save_file(renamed, folder / "model.safetensors")
    outer = {"text_config": text, "dtype": "bfloat16", "quantization_config": {"quant_method": "fp8"}}
    (folder / "config.json").write_text(json.dumps(outer | {"model_type": "mistral3"}))
    text.pop("dtype")
    (folder / "config.json").write_text(json.dumps(outer | {"model_type": "mistral3", "text_config": text}))
    assert {leaf.dtype for leaf in jax.tree.leaves(from_pretrained(folder).params)} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize("bits", [4, 8])
def test_compressed_tensors_packed(folder, bits):
    numbers = np.random.default_rng(0).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (32, 32))
    scale = np.random.default_rng(1).uniform(0.5, 2, (32, 4)).astype(np.float32)  # groups of 8 columns
    each = 32 // bits
    words = (numbers + 2 ** (bits - 1)).astype(np.uint32).reshape(32, -1, each) << np.arange(
        0, 32, bits, dtype=np.uint32
    )
    packed = {
        f"{Q}.weight": None,
        f"{Q}.weight_packed": np.bitwise_or.reduce(words, axis=-1).view(np.int32),
        f"{Q}.weight_scale": scale,
        f"{Q}.weight_shape": np.array([32, 32], np.int64),
    }
    rewrite(folder, packed, quantization_config={"quant_method": "compressed-tensors", "format": "pack-quantized"})
    np.testing.assert_array_equal(read(folder), numbers.astype(np.float32) * np.repeat(scale, 8, axis=1))


def test_compressed_tensors_int8_with_a_scale_per_row(folder):
    numbers = np.random.default_rng(0).integers(-127, 128, (32, 32)).astype(np.int8)
    scale = np.random.default_rng(1).uniform(0.5, 2, (32, 1)).astype(np.float32)
    how = {"quant_method": "compressed-tensors", "format": "int-quantized"}
    rewrite(folder, {f"{Q}.weight": numbers, f"{Q}.weight_scale": scale}, compression_config=how)
    np.testing.assert_array_equal(read(folder), numbers.astype(np.float32) * scale)


def test_other_quantisations_are_refused_for_what_they_are(folder):
    rewrite(folder, quantization_config={"quant_method": "awq", "bits": 4})
    assert "awq" in refused(folder)
    rewrite(folder, quantization_config={"quant_method": "fp8"})
    rewrite(folder, {f"{Q}.weight": np.zeros((32, 32), ml_dtypes.float8_e4m3fn)})
    assert "weight_scale" in refused(folder)


@pytest.mark.parametrize("beside", [False, True])
def test_lora_is_merged_into_its_base(folder, tmp_path, beside):
    random = np.random.default_rng(0)
    a, b = (random.standard_normal(shape).astype(np.float32) for shape in ((4, 32), (32, 4)))
    table = [random.standard_normal(shape).astype(np.float32) for shape in ((4, 97), (32, 4))]
    head = random.standard_normal((97, 32)).astype(np.float32)
    adapter = folder if beside else tmp_path / "adapter"
    adapter.mkdir(exist_ok=True)
    settings = {"peft_type": "LORA", "base_model_name_or_path": str(folder), "r": 4, "lora_alpha": 8}
    settings |= {"alpha_pattern": {"q_proj": 2}, "use_rslora": True}
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    prefix = "base_model.model."
    tensors = {
        f"{prefix}{Q}.lora_A.weight": a,
        f"{prefix}{Q}.lora_B.weight": b,
        f"{prefix}model.embed_tokens.lora_embedding_A": table[0],
        f"{prefix}model.embed_tokens.lora_embedding_B": table[1],
        f"{prefix}lm_head.weight": head,
    }
    save_file(tensors, adapter / "adapter_model.safetensors")
    base = load_file(folder / "model.safetensors")
    np.testing.assert_allclose(read(adapter), base[f"{Q}.weight"] + 2 / 2 * b @ a, atol=1e-5)
    embedded = base["model.embed_tokens.weight"] + 8 / 2 * (table[1] @ table[0]).T
    np.testing.assert_allclose(read(adapter, "model.embed_tokens.weight"), embedded, atol=1e-4)
    np.testing.assert_array_equal(read(adapter, "lm_head.weight"), head)
    (adapter / "adapter_config.json").write_text(json.dumps(settings | {"use_dora": True}))
    assert "use_dora" in refused(adapter)


def test_tying_may_be_said_at_either_level(folder):
    text = json.loads((folder / "config.json").read_text()) | {"tie_word_embeddings": False}
    rewrite(folder, {"lm_head.weight": None})
    outer = {"model_type": "mistral3", "text_config": text, "tie_word_embeddings": True}
    config, _ = read_checkpoint(open_folder(folder), outer)
    assert config.tie_embeddings
    with pytest.raises(InputError, match=r"lm_head\.weight"):
        read_checkpoint(open_folder(folder), outer | {"tie_word_embeddings": False})


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("pytorch_model.bin", "PyTorch"),
        ("consolidated.safetensors", "Mistral's own layout"),
        ("model-00001-of-00002.safetensors", "no model.safetensors.index.json"),
        ("nothing", "holds no weights"),
    ],
)
def test_a_folder_without_safetensors_is_told_what_it_is(folder, file, says):
    (folder / "model.safetensors").rename(folder / file)
    assert says in refused(folder)


def test_addresses_that_are_no_folder():
    with pytest.raises(InputError, match="hf://mistralai/Ministral-3-3B-Base-2512"):
        from_pretrained("mistralai/Ministral-3-3B-Base-2512")
    with pytest.raises(InputError, match="no such folder"):
        from_pretrained("/no/such/folder")


def test_a_gguf_file_and_its_folder_name_the_command_that_reads_them(tmp_path):
    (tmp_path / "model.Q4_0.gguf").write_bytes(b"GGUF")
    for given in (tmp_path, tmp_path / "model.Q4_0.gguf"):
        assert "polaris convert FILE FOLDER" in refused(given)


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"[" * 200_000,
        {"model.norm.weight": {"dtype": "F32", "shape": [-1, -16], "data_offsets": [0, 64]}},
        {"model.norm.weight": {"dtype": "F32", "shape": [10**30], "data_offsets": [0, 4 * 10**30]}},
        {"model.norm.weight": {"dtype": "F32", "shape": [1 << 60], "data_offsets": [0, 1 << 62]}},
        {"model.norm.weight": {"dtype": "F32", "shape": [16.0], "data_offsets": [0, 64.0]}},
        {"model.norm.weight": {"dtype": "F32", "shape": [16], "data_offsets": [-64, 0]}},
        {"model.norm.weight": {"dtype": "F32", "shape": [16]}},
        {"model.norm.weight": "F32"},
        {"model.norm.weight": {"dtype": ["F32"], "shape": [16], "data_offsets": [0, 64]}},
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
        b"version https://git-lfs.github.com/spec/v1",
    ],
)
def test_a_hostile_header_is_one_line(folder, header):
    body = header if isinstance(header, bytes) else json.dumps(header).encode()
    pointer = b"" if body.startswith(b"version") else struct.pack("<Q", len(body))
    (folder / "model.safetensors").write_bytes(pointer + body + b"\0" * 64)
    assert "model.safetensors" in refused(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_size": "32"},
        {"num_attention_heads": 4.0},
        {"rms_norm_eps": float("nan")},
        {"rms_norm_eps": "small"},
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": -2}},
        {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "original_max_position_embeddings": 64}},
        {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0}},
        {"rope_parameters": {"rope_type": "default", "rope_theta": "big"}},
        {"num_key_value_heads": True},
    ],
)
def test_a_config_of_wrong_types_is_one_line(folder, change):
    rewrite(folder, **change)
    refused(folder)


def test_three_hundred_unknown_tensors_are_counted(folder):
    rewrite(folder, {f"model.layers.0.self_attn.q_proj.odd{i}": np.zeros(1, np.float32) for i in range(300)})
    assert "more" in refused(folder)


def test_a_repository_of_the_hub_from_the_cache(folder, tmp_path, monkeypatch):
    """The layout of the cache that ``huggingface_hub`` makes, without a network."""
    from huggingface_hub import constants

    from polaris_jax import hub

    cache = tmp_path / "cache" / "models--someone--small"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("0123abcd")
    shutil.copytree(folder, cache / "snapshots" / "0123abcd")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub._snapshot.cache_clear()
    assert find_model_folder("hf://someone/small").config == ModelConfig.from_hf(
        json.loads((folder / "config.json").read_text())
    )
    with pytest.raises(InputError, match="cannot be reached"):
        find_model_folder("hf://someone/else")
    with pytest.raises(InputError, match="hf://user/name"):
        find_model_folder("hf://someone")
