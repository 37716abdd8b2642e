"""Sampling from a checkpoint on one device or a mesh, in several dtypes; from Python and by flags."""

import json

import jax
import pytest
from sampling_models import PROMPT, TEXT

from polaris_jax.checkpoint_sampler import default_axes, open_sampler, sampling_mesh
from polaris_jax.cli import main
from polaris_jax.sampling import Engine, GenerationRequest, Sampler, SamplingOptions


@pytest.mark.parametrize(
    ("devices", "key_heads", "axes"),
    [
        (4, 8, {"tensor": 4, "context": 1}),  # a v5p host and Ministral 3 14B
        (8, 4, {"tensor": 4, "context": 2}),  # a v6e host and Qwen3.5 9B
        (6, 8, {"tensor": 2, "context": 3}),
        (4, 1, {"tensor": 1, "context": 4}),
    ],
)
def test_an_accelerator_is_used_whole(devices, key_heads, axes):
    assert default_axes(devices, key_heads) == axes


def test_a_cpu_is_one_device_unless_a_mesh_is_asked_for(checkpoint):
    assert open_sampler(checkpoint, 64).mesh is None
    sampler = open_sampler(checkpoint, 64, axes={"tensor": 2, "context": -1}, dtype="bfloat16", cache_dtype="int8")
    assert dict(sampler.mesh.shape) == {"data": 1, "fsdp": 1, "context": len(jax.devices()) // 2, "tensor": 2}
    assert (sampler.compute_dtype, sampler.cache_dtype) == ("bfloat16", "int8")
    query = sampler.params["blocks"][0] if isinstance(sampler.params["blocks"], tuple) else sampler.params["blocks"]
    assert any("tensor" in str(leaf.sharding.spec) for leaf in jax.tree.leaves(query))


def book(checkpoint, out, capsys, *flags):
    assert (
        main(
            [
                "write",
                "--model",
                str(checkpoint),
                "--prompt",
                PROMPT,
                "--out",
                str(out),
                "--profile",
                "demo",
                "--window",
                "4096",
                "--until",
                "first_chapter_plan",
                "--json",
                *flags,
            ]
        )
        == 0
    )
    capsys.readouterr()
    return (out / "artifact.txt").read_text()


@pytest.mark.slow
def test_a_mesh_changes_no_letter_of_a_book_and_the_cache_may_be_smaller(checkpoint, tmp_path, capsys):
    alone = book(checkpoint, tmp_path / "alone", capsys)
    assert book(checkpoint, tmp_path / "spread", capsys, "--mesh=tensor=2,context=2") == alone
    assert book(checkpoint, tmp_path / "vllm", capsys, "--tensor-parallel-size=2") == alone
    book(checkpoint, tmp_path / "small", capsys, "--kv-cache-dtype=int8")
    models = [
        json.loads((tmp_path / name / "run.json").read_text())["identity"]["model"]
        for name in ("alone", "spread", "small")
    ]
    assert models[0] == models[1] != models[2]  # a book does not go on with another cache; it may on another mesh


def test_a_window_beyond_the_models_positions_is_refused_before_weights_are_read(checkpoint, tmp_path, capsys):
    shape = tmp_path / "shape"
    shape.mkdir()
    (shape / "config.json").write_bytes((checkpoint / "config.json").read_bytes())  # there are no weights to read
    assert (
        main(
            [
                "write",
                "--model",
                str(shape),
                "--prompt",
                PROMPT,
                "--out",
                str(tmp_path / "book"),
                "--window",
                "99999999",
            ]
        )
        == 2
    )
    assert "positions" in capsys.readouterr().err
    assert not (tmp_path / "book").exists()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--mesh=tensor"], "AXIS=N"),
        (["--mesh=tensor=0"], "AXIS=N"),
        (["--mesh=tensor=2,tensor=2"], "AXIS=N"),
        (["--mesh=heads=2"], "no such axis"),
        (["--mesh=tensor=64"], "needs 64 devices"),
        (["--mesh=tensor=3,context=-1"], "do not divide"),
        (["--mesh=tensor=2", "--tensor-parallel-size=2"], "not both"),
    ],
)
def test_an_invalid_mesh_is_refused_in_one_line(checkpoint, tmp_path, capsys, flags, says):
    command = ["write", "--model", str(checkpoint), "--prompt", PROMPT, "--out", str(tmp_path / "book"), *flags]
    assert main(command) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert says in said[0]
    assert not (tmp_path / "book").exists()


@pytest.fixture(scope="module", params=["llama", "qwen3_5_text"])
def requests_and_texts(request, model, hybrid, tokenizer):
    """``(parameters, config)``, requests that use every filter, and the texts one device writes for them."""
    weights = model if request.param == "llama" else hybrid
    options = SamplingOptions(0.9, top_k=20, top_p=0.9, min_p=0.01, repetition_penalty=1.1)
    requests = [
        GenerationRequest(tokenizer.encode(TEXT[7 * n : 60 + 11 * n]).tolist(), options, seed=n, max_tokens=16)
        for n in range(6)
    ]
    return weights, requests, texts_on(None, weights, tokenizer, requests)


def texts_on(axes, weights, tokenizer, requests):
    params, config = weights
    mesh = sampling_mesh(axes, config)
    engine = Engine(Sampler(params, config, tokenizer, max_length=256, mesh=mesh), 4)
    return [(done.tokens, done.finish_reason) for done in engine.generate(requests)]


@pytest.mark.parametrize(
    "axes", [{"tensor": 2, "context": 2}, {"data": 2, "context": 2}, {"fsdp": 2, "tensor": 2}], ids=str
)
def test_refilled_batches_with_every_filter_are_the_same_on_every_mesh(requests_and_texts, tokenizer, axes):
    weights, requests, texts = requests_and_texts
    assert texts_on(axes, weights, tokenizer, requests) == texts
