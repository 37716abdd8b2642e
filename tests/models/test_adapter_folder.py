"""PEFT and llama.cpp compute with an exported adapter what the merged model computes here."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import jax
import numpy as np
import pytest
from benchmark_scripts import FOLDER, load
from small_adapters import drawn_adapter

from polaris_jax.converting import convert
from polaris_jax.errors import InputError
from polaris_jax.models import Decoder, from_pretrained, init_params, save_pretrained
from polaris_jax.models.adapter_folder import peft_settings
from polaris_jax.models.lora import Lora
from tests.models.conftest import tiny

HERE = Path(__file__).parent
TOKENS = np.random.default_rng(0).integers(0, 97, (1, 12)).astype(np.int32)
# Logits through four layers; torch and XLA add up in different orders.
LOGITS = {"rtol": 2e-4, "atol": 2e-4}


ADAPTERS = {
    "llama": (Lora(4, 6.0, embeddings=True), {"target_modules": ["q_proj", "down_proj"]}),
    "mistral": (
        Lora(3, 8.0, ("q_proj", "mlp.up"), embeddings=True),
        {"modules_to_save": ["lm_head"], "target_modules": ["v_proj"]},
    ),
    "qwen3": (Lora(4, 5.5, ranks=(("mlp.(up|down)", 2), ("k_proj", 1))), {"target_modules": "all-linear"}),
    "qwen3_5_text": (Lora(2, 4.0, ("blocks/0/linear_attention", "attention/o")), None),
}


@pytest.fixture(scope="module", name="judged")
def _judged(tmp_path_factory):
    """Per family: the adapter's folder, and what PEFT says."""
    pytest.importorskip("peft")
    pytest.importorskip("transformers")
    root, asked = tmp_path_factory.mktemp("adapters"), []
    for family, (lora, made) in ADAPTERS.items():
        model, base = tiny(family), root / f"{family}-base"
        save_pretrained(Decoder(model, init_params(model, jax.random.key(0))), base)
        folder = drawn_adapter(model, lora, base, root / family)
        asked.append({"base": str(base), "folder": str(folder), "made": made})
    done = subprocess.run(
        [sys.executable, str(HERE / "peft_judge.py")],
        input=json.dumps({"adapters": asked, "tokens": TOKENS.tolist()}),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answers = json.loads(done.stdout.splitlines()[-1])
    return {
        family: (one["folder"], one["base"], answer)
        for family, one, answer in zip(ADAPTERS, asked, answers, strict=True)
    }


@pytest.mark.parametrize("family", ADAPTERS)
def test_peft_computes_what_the_merged_model_computes(judged, family):
    folder, base, answer = judged[family]
    assert answer["unread"] == []
    merged = np.asarray(from_pretrained(folder)(TOKENS))
    np.testing.assert_allclose(answer["logits"], merged, **LOGITS)
    assert np.abs(merged - np.asarray(from_pretrained(base)(TOKENS))).max() > 0.1  # the adapter does something


@pytest.mark.parametrize("family", [family for family, (_, made) in ADAPTERS.items() if made])
def test_what_peft_wrote_is_read(judged, family):
    folder, _, answer = judged[family]
    np.testing.assert_allclose(np.asarray(from_pretrained(f"{folder}-made")(TOKENS)), answer["made"], **LOGITS)


def test_the_settings_name_what_is_meant_and_nothing_else():
    model = tiny("qwen3")
    settings = peft_settings(model, Lora(4, 8.0, ("q_proj", "mlp.up")), "hf://user/name")
    assert settings["target_modules"] == ["q_proj", "up_proj"]
    assert settings["base_model_name_or_path"] == "user/name"
    assert settings["modules_to_save"] is None
    assert (settings["r"], settings["lora_alpha"], settings["rank_pattern"]) == (4, 8, {})


LLAMA = """
import json, sys, urllib.request
import xllamacpp
asked = json.load(sys.stdin)
params = xllamacpp.CommonParams()
params.model.path, params.hostnames, params.port, params.verbosity = asked["gguf"], ["127.0.0.1"], 0, 0
params.n_ctx, params.n_parallel, params.warmup = 256, 1, False
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
if asked["lora"]:
    info = xllamacpp.CommonAdapterLoraInfo()
    info.path, info.scale = asked["lora"], 1.0
    params.lora_adapters = [info]
server = xllamacpp.Server(params)
body = {"prompt": asked["prompt"], "temperature": 0, "n_predict": 16, "ignore_eos": True, "return_tokens": True}
kind = {"Content-Type": "application/json"}
request = urllib.request.Request(server.listening_address + "/completion", json.dumps(body).encode(), kind)
print(json.dumps(json.load(urllib.request.urlopen(request, timeout=300))["tokens"]))
"""


def by_llama_cpp(gguf, prompt, lora=None):
    asked = json.dumps({"gguf": str(gguf), "prompt": prompt, "lora": lora and str(lora)})
    done = subprocess.run([sys.executable, "-c", LLAMA], input=asked, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def greedy(model, prompt, ends, steps=16):
    """Up to ``steps`` greedy tokens; end tokens are skipped, as with ``ignore_eos``.

    Stops where the two likeliest tokens are closer than rounding, because what follows is arbitrary.
    """
    tokens = list(prompt)
    for _ in range(steps):
        padded = np.zeros((1, len(prompt) + steps), np.int32)
        padded[0, : len(tokens)] = tokens
        logits = np.array(model(padded)[0, len(tokens) - 1])
        logits[list(ends)] = -np.inf
        second, first = np.sort(logits)[-2:]
        if first - second < LOGITS["atol"] + LOGITS["rtol"] * abs(first):
            break
        tokens.append(int(logits.argmax()))
    return tokens[len(prompt) :]


@pytest.mark.parametrize("family", ["ministral3", "qwen3"])  # with rotary pairs side by side, and apart
def test_llama_cpp_applies_the_adapter_to_the_base_model(family, tmp_path):
    pytest.importorskip("xllamacpp")
    sys.path.insert(0, str(FOLDER))
    made = asdict(load("export_models").make(family, tmp_path / "made"))
    base = from_pretrained(made["folder"])
    folder = drawn_adapter(
        base.config, Lora(4, 8.0, ranks=(("mlp", 2),)), made["folder"], tmp_path / "adapter", size=0.1
    )
    convert(str(folder), str(tmp_path / "lora"), to="gguf-lora")
    convert(made["folder"], str(tmp_path / "gguf"), to="gguf", gguf_type="F32")
    (gguf,), (lora,) = (tmp_path / "gguf").glob("*.gguf"), (tmp_path / "lora").glob("*.gguf")
    want = greedy(from_pretrained(folder), made["prompt"], made["ends"])
    assert len(want) > 8
    assert by_llama_cpp(gguf, made["prompt"], lora)[: len(want)] == want
    assert by_llama_cpp(gguf, made["prompt"]) == greedy(base, made["prompt"], made["ends"]) != want


def test_a_trained_embedding_is_no_part_of_a_gguf_adapter(tmp_path):
    model = tiny("qwen3")
    save_pretrained(Decoder(model, init_params(model, jax.random.key(0))), tmp_path / "base")
    folder = drawn_adapter(model, Lora(2, 4.0, embeddings=True), tmp_path / "base", tmp_path / "adapter")
    with pytest.raises(InputError, match="write the merged model with --to gguf"):
        convert(str(folder), str(tmp_path / "lora"), to="gguf-lora")
    with pytest.raises(InputError, match="holds a whole model"):
        convert(str(tmp_path / "base"), str(tmp_path / "lora"), to="peft")
    assert not (tmp_path / "lora").exists()
