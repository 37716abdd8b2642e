"""Exports behave in other engines as here: token ids, chat, greedy text beyond the original length, and stops.

``benchmarks/export_models.py`` writes models in the layout of their releases, ``export_judges.py`` runs the engines.
"""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from benchmark_scripts import FOLDER, load

from polaris_jax.converting import convert

sys.path.insert(0, str(FOLDER))  # the scripts import each other
export_models, export_table = load("export_models"), load("export_table")

# llama.cpp keeps keys and values in float16: 2^-11 of values near one, through three layers of peaked attention.
LLAMA_LOGITS = 0.02


@pytest.fixture(scope="module", name="made", params=["ministral3", "qwen3"])
def _made(request, tmp_path_factory):
    pytest.importorskip("transformers")
    return asdict(export_models.make(request.param, tmp_path_factory.mktemp("exports")))


def test_transformers_reads_writes_and_stops_alike(made):
    (found,) = export_table.judge("transformers", sys.executable, [made])
    told = export_table.verdict(made, found)
    assert told.pop("logits") < 1e-4
    assert told == dict.fromkeys(("ids", "chat", "greedy", "stop"), True)


def test_llama_cpp_reads_writes_and_stops_alike(made, tmp_path):
    """It also writes by the stage grammars beside the file."""
    pytest.importorskip("xllamacpp")
    exported = export_table.as_gguf(made, tmp_path)
    stages = {file.stem: file.read_text() for file in Path(exported["gguf"]).parent.glob("stages/*.gbnf")}
    assert set(stages) >= {"book_preview", "book_plan_14b", "scene_breakdown", "chapter_text"}
    (found,) = export_table.judge("llama", sys.executable, [exported | {"grammars": stages}])
    assert found["written"]["book_preview"].startswith("## Book Highlight\n")
    assert found["written"]["book_plan_14b"].startswith("## World Rules\n- ")
    assert all(found["written"].values())
    told = export_table.verdict(made, found)
    assert told.pop("logits") < LLAMA_LOGITS
    assert told == dict.fromkeys(("ids", "chat", "greedy", "stop"), True)


def test_the_files_beside_the_weights(made):
    folder = Path(made["folder"])
    names = {item.name for item in folder.iterdir()}
    assert names >= {"config.json", "generation_config.json", "tokenizer.json", "special_tokens_map.json"}
    # Vocabularies in other formats, without the stage tokens, would be preferred by some readers.
    assert not names & {"tekken.json", "tokenizer.model", "vocab.json", "merges.txt"}
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    added = {str(token["id"]): token["content"] for token in tokenizer["added_tokens"]}
    assert {number: token["content"] for number, token in settings["added_tokens_decoder"].items()} == added
    config = json.loads((folder / "config.json").read_text())
    assert config["eos_token_id"][0] in made["ends"]
    assert config["transformers_version"] == "5.0.0"  # else it is taken for an old Mistral release with a wrong pattern
    if made["family"] == "ministral3":
        rope = config["rope_parameters"]
        assert config["llama_4_scaling"] == {
            "original_max_position_embeddings": rope["original_max_position_embeddings"],
            "beta": rope["llama_4_scaling_beta"],
        }


@pytest.mark.slow
@pytest.mark.parametrize("family", export_models.FAMILIES)
def test_every_family_everywhere(family, tmp_path):
    """vLLM and mistral-common run where ``POLARIS_ENGINES`` names their Python (``launch/engines_venv.sh``)."""
    made = asdict(export_models.make(family, tmp_path))
    judged = {"transformers": export_table.judge("transformers", sys.executable, [made])}
    judged["llama"] = export_table.judge("llama", sys.executable, [export_table.as_gguf(made, tmp_path)])
    if engines := os.environ.get("POLARIS_ENGINES"):
        judged |= {f"{name}, engines": export_table.judge(name, engines, [made]) for name in ("transformers", "vllm")}
    for engine, (found,) in judged.items():
        told = export_table.verdict(made, found)
        assert told.pop("logits", 0.0) < LLAMA_LOGITS, engine
        assert all(told.values()), (engine, told)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"])
def test_llama_cpp_reads_every_type_as_we_do(kind, tmp_path):
    """llama.cpp rounds activations to the type that it multiplies in, 8 bits for a quantised matrix; we do not."""
    pytest.importorskip("xllamacpp")
    made, _ = export_table.smollm2(tmp_path, kind)
    (found,) = export_table.judge("llama", sys.executable, [made])
    assert found["ids"] == made["ids"]
    # Measured: 0.02 to 0.03 in F32 and F16, 0.18 in BF16, 1.3 in Q8_0; a tensor read wrongly makes it ten and more.
    most = {"F32": 0.1, "F16": 0.1, "BF16": 0.5}.get(kind, 3.0)
    assert export_table.difference(made["logits"], found["logits"]) < most


def test_the_k_quants_are_left_to_llama_quantize(made, tmp_path, monkeypatch):
    """Its command is printed, or run where it is on PATH (here a stand-in of one line)."""
    told = convert(made["folder"], str(tmp_path / "told"), to="gguf", gguf_type="q4_k_m")
    name = Path(made["folder"]).name
    assert f"llama-quantize {name}-F16.gguf {name}-Q4_K_M.gguf Q4_K_M" in told
    program = tmp_path / "bin" / "llama-quantize"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\ntest "$3" = Q4_K_M && cp "$1" "$2"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    convert(made["folder"], str(tmp_path / "run"), to="gguf", gguf_type="Q4_K_M")
    assert [file.name for file in (tmp_path / "run").glob("*.gguf")] == [f"{name}-Q4_K_M.gguf"]
    modelfile = (tmp_path / "run" / "Modelfile").read_text()
    assert f"FROM ./{name}-Q4_K_M.gguf\n" in modelfile
    assert 'PARAMETER stop "<|eot_id|>"\n' in modelfile
