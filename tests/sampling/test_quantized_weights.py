"""Writing with weights in 8 or 4 bits: their own numbers, no copy in another form, and the flag that asks for them."""

import json
import tracemalloc
from dataclasses import replace
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tolerances
from sampling_models import PROMPT
from slow_cases import others_slow
from small_models import small_config

from polaris_jax.checkpoint_sampler import open_sampler, sampling_mesh
from polaris_jax.cli import main
from polaris_jax.models import init_params, unstack
from polaris_jax.models.cache import init_cache
from polaris_jax.models.loading import load_held
from polaris_jax.models.saving import hf_tensors
from polaris_jax.models.weights import abstract_params
from polaris_jax.ops.quantized import Quantized, dequantize
from polaris_jax.sampling.decode_cache import DecodeCache
from polaris_jax.sampling.programs import DecodeState, append
from polaris_jax.sampling.sampler import Sampler


def is_quantized(node):
    return isinstance(node, Quantized)


def whole(params):
    """The same tree with every weight as the numbers that it stands for."""
    plain = jax.vmap(lambda one: dequantize(one, jnp.float32))
    return jax.tree.map(lambda node: plain(node) if is_quantized(node) else node, params, is_leaf=is_quantized)


def read_and_write(params, config, tokenizer):
    """Logits after a prompt in two chunks, and after two single tokens of each text."""
    cache = DecodeCache(Sampler(params, config, tokenizer, max_length=64, prefill_chunk=8), 2)
    cache.append([[5, 9, 11, 3, 8, 1, 7, 2, 6, 20], [4, 4, 9]])
    seen = [np.asarray(cache.logits)]
    for token in (12, 30):
        cache.append([[token], [token + 1]])
        seen.append(np.asarray(cache.logits))
    return np.stack(seen)


FORMS = {"stacked": lambda params: params, "unstacked": unstack}
CASES = list(product(("model", "hybrid"), ("int8", "nf4"), FORMS))


@pytest.mark.parametrize(
    ("family", "held", "form"),
    others_slow(CASES, lambda family, held, form: (family == "hybrid") == (form == "stacked")),
)
def test_logits_are_those_of_the_numbers_that_the_codes_stand_for(family, held, form, request, tokenizer):
    params, config = request.getfixturevalue(family)
    quantized = load_held(config, hf_tensors(params, config), jnp.float32, None, held)
    kinds = {type(node) for node in jax.tree.leaves(quantized["blocks"], is_leaf=is_quantized)}
    assert Quantized in kinds
    assert not any(map(is_quantized, jax.tree.leaves(quantized["embed"], is_leaf=is_quantized)))
    formed = FORMS[form]
    got = read_and_write(formed(quantized), config, tokenizer)
    want = read_and_write(formed(whole(quantized)), config, tokenizer)
    as_stored = read_and_write(formed(params), config, tokenizer)
    # Six products of each of two layers, one after the other, of at most 48 terms; a norm divides by what is left.
    assert tolerances.distance(got, want) < 8 * tolerances.sums(48, in_a_row=12)
    assert tolerances.distance(as_stored, want) > 1e-3  # the codes are not the weights


def test_a_scale_per_column_or_per_block():
    config = small_config(64)
    params = init_params(config, jax.random.key(0))
    one = load_held(config, hf_tensors(params, config), None, None, "int8")["blocks"]["0"]["mlp"]["down"]
    assert (one.values.shape, one.scales.shape) == ((2, 48, 32), (2, 1, 32))
    off = np.abs(whole({"w": one})["w"] - params["blocks"]["0"]["mlp"]["down"])
    assert (off <= one.scales / 2 * (1 + 1e-5)).all()
    four = load_held(config, hf_tensors(params, config), None, None, "nf4")["blocks"]["0"]["mlp"]["down"]
    assert (four.values.shape, four.scales.shape) == ((2, 24, 32), (2, 3, 32))


@pytest.fixture(scope="module")
def wide():
    """Four layers whose matrices are most of what there is, and large enough for several pieces each."""
    sizes = {"hidden_size": 256, "intermediate_size": 2048, "head_dim": 64, "num_layers": 4}
    config = replace(small_config(64), **sizes, layer_types=("full_attention",) * 4)
    return config, drawn(config)


def drawn(config):
    """Random weights, by numpy: JAX would compile a program for so many."""
    draw = np.random.default_rng(0)
    normal = lambda like: jnp.asarray(0.05 * draw.standard_normal(like.shape, np.float32))  # noqa: E731
    return jax.tree.map(normal, abstract_params(config))


@pytest.mark.parametrize("held", ["int8", "nf4"])
@pytest.mark.parametrize("unstacked", [False, True])
def test_no_program_makes_the_numbers_of_more_than_a_matrix(wide, held, unstacked):
    config, params = wide
    quantized = load_held(config, hf_tensors(params, config), jnp.float32, None, held)
    given = unstack(quantized) if unstacked else quantized
    state = DecodeState(init_cache(config, 1, 64, unstacked=unstacked), jnp.zeros((1, 64)))
    how = {"config": config, "compute_dtype": jnp.dtype("float32"), "mesh": None}
    for tokens in (1, 8):
        ids = jnp.zeros((1, tokens), jnp.int32)
        program = append.lower(given, state, ids, jnp.full(1, tokens), None, **how).compile()
        assert program.memory_analysis().temp_size_in_bytes < 4 * 256 * 2048 * 2, "two matrices in float32"


@pytest.mark.parametrize("held", ["int8", "nf4"])
def test_the_model_is_nowhere_whole_while_it_is_read(wide, held):
    config, params = wide
    tensors = hf_tensors(params, config)
    in_float32 = 4 * sum(leaf.size for leaf in jax.tree.leaves(params["blocks"]))
    tracemalloc.start()
    try:
        quantized = load_held(config, tensors, jnp.float32, None, held)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert any(map(is_quantized, jax.tree.leaves(quantized, is_leaf=is_quantized)))
    assert peak < 0.75 * in_float32


def test_a_sampler_over_a_mesh_has_its_part_of_the_codes(wide, tokenizer):
    config = replace(wide[0], vocab_size=tokenizer.vocab_size, num_layers=2, layer_types=("full_attention",) * 2)
    params = drawn(config)
    want = None
    for axes in (None, {"tensor": 2, "context": 2}):
        mesh = sampling_mesh(axes, config)
        held = load_held(config, hf_tensors(params, config), jnp.float32, mesh, "int8")
        sampler = Sampler(held, config, tokenizer, max_length=64, prefill_chunk=8, mesh=mesh)
        cache = DecodeCache(sampler, 2)
        cache.append([[5, 9, 11, 3], [4]])
        got = np.asarray(cache.logits)
        want = got if want is None else want
    assert "tensor" in str(held["blocks"]["0"]["mlp"]["up"].values.sharding.spec)
    np.testing.assert_allclose(got, want, atol=16 * tolerances.sums(2048, in_a_row=12) * np.abs(want).max())


def write(checkpoint, out, *flags):
    command = ["write", "--model", str(checkpoint), "--prompt", PROMPT, "--out", str(out), "--profile", "demo"]
    return main([*command, "--window", "4096", "--until", "book_preview", "--json", *flags])


def test_a_book_is_written_and_goes_on_only_with_the_same_weights(checkpoint, tmp_path, capsys):
    assert write(checkpoint, tmp_path / "book", "--weights=int8") == 0
    identity = json.loads((tmp_path / "book" / "run.json").read_text())["identity"]
    assert write(checkpoint, tmp_path / "plain") == 0
    assert identity["weights"] != json.loads((tmp_path / "plain" / "run.json").read_text())["identity"]["weights"]
    assert write(checkpoint, tmp_path / "book", "--weights=nf4") == 2


def test_a_run_is_quantised_as_it_is_read(checkpoint, model, run):
    sampler = open_sampler(run, 64, weights="int8")
    query = sampler.params["blocks"]["0"]["attention"]["q"]
    assert query.values.dtype == jnp.int8
    off = np.abs(whole({"w": query})["w"] - 2 * model[0]["blocks"]["0"]["attention"]["q"])
    assert (off <= query.scales / 2 * (1 + 1e-5)).all()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--weights=int3"], "invalid choice: 'int3' (choose from int8, nf4)"),
        (["--weights=int8", "--server=http://127.0.0.1:1"], "--weights"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line(checkpoint, tmp_path, capsys, flags, says):
    try:
        code = write(checkpoint, tmp_path / "book", *flags)
    except SystemExit as end:
        code = end.code
    assert code == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert says.replace("'", "") in said[0].replace("'", "")
    assert not (tmp_path / "book").exists()
