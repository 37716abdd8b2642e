"""The engine's greedy tokens equal those of ``transformers``, however requests share slots and on any mesh."""

import json
import os
from functools import lru_cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_tokenizers import save_byte_level

from polaris_jax.data import STAGE_TOKENS, load_tokenizer
from polaris_jax.models import from_pretrained, unstack
from polaris_jax.sampling import Engine, GenerationRequest, Sampler, SamplingOptions
from polaris_jax.sharding import make_mesh

jax.config.update("jax_default_matmul_precision", "highest")

ROOT = Path(os.environ.get("POLARIS_SHARED") or Path(__file__).resolve().parents[3] / "shared") / "parity"
FAMILIES = {
    manifest.parent.name: next(iter(json.loads(manifest.read_text())["checkpoints"].items()))
    for manifest in sorted(ROOT.glob("*/manifest.json"))
}
pytestmark = pytest.mark.skipif(not FAMILIES, reason=f"no parity data at {ROOT}; set POLARIS_SHARED")
TOKENS = 64

# Slots, sampler settings, mesh. With three prompts in two slots the third begins in a used cache.
WAYS = {
    "one-by-one": (1, {"prefill_chunk": 512}, None),
    "chunked-refilled": (2, {"prefill_chunk": 8}, None),
    "unstacked": (3, {"prefill_chunk": 64}, "unstacked"),
    "context-sharded": (2, {"prefill_chunk": 64}, {"data": 1, "context": 8}),
    "sharded-three-ways": (4, {"prefill_chunk": 64}, {"data": 2, "context": 2, "tensor": 2}),
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A byte-level tokenizer no larger than the parity models' vocabularies; what its tokens spell does not matter."""
    texts, special = [Path(__file__).read_text() * 2], ["<s>", *STAGE_TOKENS]
    return load_tokenizer(save_byte_level(tmp_path_factory.mktemp("bpe"), texts, 512, special))


@lru_cache
def prompts(family):
    """The short prompts of the golden file, and one longer than a block of the cache."""
    with np.load(ROOT / family / FAMILIES[family][1]["golden"]) as gold:
        found = [gold[name][0].tolist() for name in gold.files if name.endswith("/prompt")]
        found.append(2 * gold["len300/input_ids"][0].tolist())
    return found


@lru_cache
def theirs(family):
    """64 greedy tokens after each prompt, by ``transformers``."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder = ROOT / family / FAMILIES[family][0]
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    written = []
    for prompt in prompts(family):
        ids = torch.tensor([prompt])
        out = model.generate(
            ids, max_new_tokens=TOKENS, do_sample=False, eos_token_id=None, attention_mask=torch.ones_like(ids)
        )
        written.append(tuple(out[0, len(prompt) :].tolist()))
    return written


@lru_cache
def params(family):
    return from_pretrained(ROOT / family / FAMILIES[family][0], dtype=jnp.float32)


# Two families have every kind of layer and share the ways; the other cases are slow ones.
KEPT = {
    "qwen3_5": ("chunked-refilled", "unstacked", "sharded-three-ways"),
    "ministral3": ("one-by-one", "context-sharded"),
}
CASES = [
    pytest.param(
        family,
        way,
        marks=[] if way in KEPT.get(family, ("chunked-refilled",)) else [pytest.mark.slow],
    )
    for family in FAMILIES
    for way in WAYS
]


@pytest.mark.parametrize(("family", "way"), CASES)
def test_64_greedy_tokens_equal_those_of_transformers(family, way, tokenizer):
    model, (slots, settings, where) = params(family), WAYS[way]
    weights = unstack(model.params) if where == "unstacked" else model.params
    mesh = make_mesh(where) if isinstance(where, dict) else None
    if tokenizer.vocab_size > model.config.vocab_size:
        pytest.skip("the family's vocabulary is smaller than the test's")
    sampler = Sampler(weights, model.config, tokenizer, max_length=1024, mesh=mesh, **settings)
    engine = Engine(sampler, slots)
    greedy = SamplingOptions(temperature=0.0)
    got = engine.generate(
        GenerationRequest(prompt, greedy, max_tokens=TOKENS, ignore_eos=True) for prompt in prompts(family)
    )
    assert [completion.tokens for completion in got] == theirs(family)
    assert engine.counts.prefilled + engine.counts.reused == sum(map(len, prompts(family)))


@pytest.mark.slow
@pytest.mark.parametrize("where", [None, {"context": 4, "tensor": 1, "data": 2}], ids=["one-device", "sharded"])
def test_smollm2_writes_what_transformers_writes(smollm2_folder, where):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    own, model = load_tokenizer(str(smollm2_folder)), from_pretrained(smollm2_folder, dtype=jnp.float32)
    texts = ("Once upon a time", "The capital of France is", "def fibonacci(n):", "In 1815, the")
    wanted = [own.encode(text).tolist() for text in texts]
    reference = transformers.AutoModelForCausalLM.from_pretrained(smollm2_folder, dtype=torch.float32).eval()
    expected = [
        tuple(
            reference.generate(torch.tensor([ids]), max_new_tokens=TOKENS, do_sample=False, eos_token_id=None)[
                0, len(ids) :
            ].tolist()
        )
        for ids in wanted
    ]
    mesh = make_mesh(where) if where else None
    engine = Engine(Sampler(model.params, model.config, own, max_length=2048, prefill_chunk=64, mesh=mesh), 2)
    requests = [GenerationRequest(ids, SamplingOptions(0.0), max_tokens=TOKENS, ignore_eos=True) for ids in wanted]
    assert [completion.tokens for completion in engine.generate(requests)] == expected
