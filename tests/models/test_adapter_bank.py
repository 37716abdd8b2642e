"""Several adapters beside one base: each row of a batch gets what the base merged with its own adapter computes."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tolerances
from small_adapters import drawn_adapter

from polaris_jax.errors import InputError
from polaris_jax.models import Decoder, cached_forward, from_pretrained, init_params, save_pretrained, unembed, unstack
from polaris_jax.models.adapter_bank import add_adapters, open_adapter_for
from polaris_jax.models.adapter_folder import peft_settings, write_adapter
from polaris_jax.models.adapters import ADAPTER_CONFIG
from polaris_jax.models.cache import init_cache
from polaris_jax.models.loading import load_held
from polaris_jax.models.lora import Lora
from polaris_jax.models.saving import hf_tensors
from polaris_jax.models.tensors import HFTensor
from polaris_jax.ops.linear import Adapted, terms_at_once, terms_row_by_row
from polaris_jax.ops.quantized import Quantized, dequantize
from polaris_jax.sharding import make_mesh
from tests.models.conftest import FAMILY, tiny

TOKENS = np.random.default_rng(0).integers(3, 97, (4, 9)).astype(np.int32)
LAYERS = {"qwen3_5_text": {"num_hidden_layers": 2, "layer_types": ["linear_attention", "full_attention"]}}
CHOSEN = [2, 0, 3, 1]  # of every row
# Of different ranks, on different matrices, and one that leaves out all layers but one.
LORAS = (
    (Lora(4, 6.0), ""),
    (Lora(3, 8.0, ("mlp.(up|down)", "(q|qkv)_proj|in_proj_qkv"), ranks=(("down", 5),)), ""),
    (Lora(2, 3.0), "layers.1."),
)


@pytest.fixture(scope="module", params=FAMILY)
def family(request, tmp_path_factory):
    """``(config, folder of the base, folders of its adapters)``."""
    root = tmp_path_factory.mktemp(request.param)
    config = tiny(request.param, **LAYERS.get(request.param, {"num_hidden_layers": 2}))
    save_pretrained(Decoder(config, init_params(config, jax.random.key(0))), root / "base")
    folders = [
        drawn_adapter(config, lora, root / "base", root / f"adapter-{i}", seed=i, only=only)
        for i, (lora, only) in enumerate(LORAS, start=1)
    ]
    return config, root / "base", folders


def opened(config, folders):
    return [open_adapter_for(config, "--adapter", str(folder)) for folder in folders]


def read(params, config, adapter):
    """Logits ``[4, V]`` after a chunk of three rows, a chunk of the other, and a single token of every row."""
    cache = init_cache(config, 4, 16, unstacked=isinstance(params["blocks"], tuple), adapters=adapter is not None)
    if adapter is not None:
        cache |= {"adapter": jnp.asarray(adapter, jnp.int32)}
    step = jax.jit(partial(cached_forward, params, config))
    _, cache = step(TOKENS[:, :8], cache, jnp.asarray([8, 8, 0, 8]))
    _, cache = step(TOKENS[2:3, :8], cache, rows=jnp.asarray([2]))
    hidden, _ = step(TOKENS[:, 8:], cache)
    return np.asarray(unembed(params, config, hidden[:, 0]))


# Seven products in each of two layers, of at most 40 terms and a few of the adapter's, and norms between them.
WITHIN = 8 * tolerances.sums(45, in_a_row=14)


def test_every_row_is_read_as_by_the_base_merged_with_its_adapter(family):
    config, base, folders = family
    params = from_pretrained(base).params
    got = read(add_adapters(params, config, opened(config, folders), jnp.float32), config, CHOSEN)
    plain = np.asarray(from_pretrained(base)(TOKENS))[:, -1]
    for row, chosen in enumerate(CHOSEN):
        want = np.asarray(from_pretrained(folders[chosen - 1])(TOKENS))[row, -1] if chosen else plain[row]
        assert tolerances.distance(got[row], want) < WITHIN
        assert not chosen or tolerances.distance(want, plain[row]) > 100 * WITHIN
    assert (got[1] == read(params, config, None)[1]).all()  # a base row has the same bits as without adapters


@pytest.mark.parametrize("family", ["llama", "qwen3_5_text"], indirect=True)
def test_unstacked_weights_compute_the_same(family):
    config, base, folders = family
    params = add_adapters(from_pretrained(base).params, config, opened(config, folders), jnp.float32)
    got, want = (read(form, config, CHOSEN) for form in (unstack(params), params))
    assert tolerances.distance(got, want) < WITHIN


@pytest.mark.parametrize("family", ["llama"], indirect=True)
def test_matrices_that_no_adapter_has_a_term_for_stay_as_they_are(family):
    config, base, folders = family
    params = from_pretrained(base).params
    blocks = add_adapters(params, config, opened(config, folders[1:2]), jnp.float32)["blocks"]
    assert isinstance(blocks["0"]["mlp"]["down"], Adapted)
    assert blocks["0"]["mlp"]["down"].a.shape[1:3] == (2, 5)
    assert blocks["0"]["mlp"]["gate"] is params["blocks"]["0"]["mlp"]["gate"]
    assert blocks["0"]["mlp"]["up"].base is params["blocks"]["0"]["mlp"]["up"]


def test_terms_row_by_row_are_those_of_the_gather():
    draw = np.random.default_rng(0)
    x, a, b = (jnp.asarray(draw.standard_normal(shape), jnp.float32) for shape in ((3, 5, 24), (4, 6, 24), (4, 6, 10)))
    chosen = jnp.asarray([3, 0, 3])
    got, want = terms_row_by_row(x, a, b, chosen), terms_at_once(x, a, b, chosen)
    assert got.shape == (3, 5, 10)
    assert tolerances.distance(got, want) < tolerances.sums(24, in_a_row=2)
    assert tolerances.distance(want[0], x[0] @ a[3].T @ b[3]) < tolerances.sums(24, in_a_row=2)


@pytest.mark.parametrize("held", ["int8", "nf4"])
@pytest.mark.parametrize("name", ["llama", "qwen3_5_text"])
def test_the_base_may_be_quantised(name, held, tmp_path):
    config = tiny(name, **LAYERS.get(name, {"num_hidden_layers": 2}))
    params = init_params(config, jax.random.key(0))
    adapter = drawn_adapter(config, Lora(4, 6.0), "base", tmp_path / "adapter")
    quantized = load_held(config, hf_tensors(params, config), jnp.float32, None, held)
    with_adapter = add_adapters(quantized, config, opened(config, [adapter]), jnp.float32)
    plain = jax.vmap(lambda one: dequantize(one, jnp.float32))
    is_quantized = lambda node: isinstance(node, Quantized)  # noqa: E731
    dense = jax.tree.map(lambda n: plain(n) if is_quantized(n) else n, with_adapter, is_leaf=is_quantized)
    assert any(map(is_quantized, jax.tree.leaves(with_adapter, is_leaf=is_quantized)))
    got, want = (read(tree, config, [1, 0, 1, 0]) for tree in (with_adapter, dense))
    assert tolerances.distance(got, want) < WITHIN


def test_factors_are_spread_over_a_mesh_like_the_weights(tmp_path):
    config = tiny("qwen3", num_hidden_layers=2)
    mesh = make_mesh({"fsdp": 2, "context": 2, "tensor": 2})
    params = init_params(config, jax.random.key(0))
    adapter = drawn_adapter(config, Lora(4, 6.0), "base", tmp_path / "adapter")
    spread = init_params(config, jax.random.key(0), mesh=mesh)
    spread = add_adapters(spread, config, opened(config, [adapter]), jnp.float32, mesh)
    down = spread["blocks"]["0"]["mlp"]["down"]
    assert (down.a.sharding.spec[-1], down.b.sharding.spec[-1]) == ("tensor", ("fsdp", "context"))
    got = read(spread, config, [1, 0, 1, 0])
    want = read(add_adapters(params, config, opened(config, [adapter]), jnp.float32), config, [1, 0, 1, 0])
    assert tolerances.distance(got, want) < WITHIN


def rewritten(folder, **changes):
    """Changes settings of an adapter."""
    file = folder / ADAPTER_CONFIG
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def only(tensors):
    """A writer of an adapter with these tensors, by name and shape."""
    stored = {
        name: HFTensor(shape, np.dtype(np.float32), lambda start, stop, s=shape: np.zeros((stop - start, *s[1:])))
        for name, shape in tensors.items()
    }
    return lambda folder: write_adapter(stored, peft_settings(tiny("llama"), Lora(2, 4.0), "base"), folder, {})


QUERY = "model.layers.0.self_attn.q_proj.lora"
BAD = {
    "no folder": (lambda folder: None, "has no adapter_config.json"),
    "another model": (
        lambda folder: drawn_adapter(tiny("llama", hidden_size=64), Lora(2, 4.0), "base", folder),
        r"self_attn.q_proj.weight': \[2, 64\] and \[32, 2\] do not fit \[32, 32\]",
    ),
    "more layers": (
        lambda folder: drawn_adapter(tiny("llama", num_hidden_layers=5), Lora(2, 4.0), "base", folder),
        "model.layers.4.*a weight of the base model",
    ),
    "embedding": (
        lambda folder: drawn_adapter(tiny("llama"), Lora(2, 4.0, embeddings=True), "base", folder),
        "trains model.embed_tokens.weight too; merge it",
    ),
    "embedding's term": (only({"model.embed_tokens.lora_embedding_A": (2, 97)}), "trains model.embed_tokens.weight"),
    "head": (only({"lm_head.lora_A.weight": (2, 32)}), "trains lm_head.weight too"),
    "half": (only({f"{QUERY}_A.weight": (2, 32)}), "needs lora_A and lora_B"),
    "flat": (only({f"{QUERY}_A.weight": (2,), f"{QUERY}_B.weight": (32, 2)}), r"\[2\] and \[32, 2\] do not fit"),
    "rank 0": (only({f"{QUERY}_A.weight": (0, 32), f"{QUERY}_B.weight": (32, 0)}), "do not fit"),
    "nothing": (only({}), "has no terms"),
}


@pytest.mark.parametrize("case", BAD)
def test_an_adapter_that_cannot_be_served_is_refused_in_one_line(case, tmp_path):
    write, says = BAD[case]
    write(tmp_path / "adapter")
    with pytest.raises(InputError, match=says) as error:
        open_adapter_for(tiny("llama"), "--adapter", str(tmp_path / "adapter"))
    assert "\n" not in str(error.value)


def test_another_kind_of_adapter_is_refused(tmp_path):
    folder = drawn_adapter(tiny("llama"), Lora(2, 4.0), "base", tmp_path / "adapter")
    rewritten(folder, use_dora=True)
    with pytest.raises(InputError, match="use_dora"):
        open_adapter_for(tiny("llama"), "--adapter", str(folder))
