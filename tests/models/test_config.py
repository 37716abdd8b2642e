"""Reading and writing ``config.json``."""

import pytest

from polaris_jax.errors import InputError
from polaris_jax.models import ModelConfig

from .conftest import hf_config, tiny


def test_round_trip_through_hf_spelling(config):
    assert ModelConfig.from_hf(config.to_hf()) == config


def test_nested_text_config_is_the_model(config):
    nested = {"model_type": "wrapper", "text_config": config.to_hf(), "hidden_size": 7, "vision_config": {"depth": 5}}
    assert ModelConfig.from_hf(nested) == config


def test_old_rope_spelling_means_the_same():
    new = hf_config("llama")
    old = {k: v for k, v in new.items() if k != "rope_parameters"}
    scaling = dict(new["rope_parameters"])
    old |= {"rope_theta": scaling.pop("rope_theta"), "rope_scaling": scaling | {"type": scaling.pop("rope_type")}}
    assert ModelConfig.from_hf(old) == ModelConfig.from_hf(new)


@pytest.mark.parametrize("field", ["rope_type", "type"])
def test_unknown_rope_type_is_refused_by_name(field):
    bad = hf_config("llama", rope_parameters={field: "spiral", "rope_theta": 1e4, "factor": 2.0})
    with pytest.raises(InputError, match=r"rope_type='spiral'"):
        ModelConfig.from_hf(bad)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model_type": "gpt9"}, "gpt9"),
        ({"hidden_size": None}, "hidden_size"),
        ({"attention_bias": True}, "attention_bias"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"num_key_value_heads": 3}, "num_key_value_heads"),
    ],
)
def test_what_is_not_computed_is_refused(change, named):
    with pytest.raises(InputError, match=named):
        ModelConfig.from_hf(hf_config("llama") | change)


def test_ministral_needs_its_theta_spelled_out():
    with pytest.raises(InputError, match="rope_theta"):
        ModelConfig.from_hf(hf_config("ministral3", rope_parameters=None))


def test_head_dim_defaults_to_an_equal_split():
    assert ModelConfig.from_hf(hf_config("llama", head_dim=None)).head_dim == 8


@pytest.mark.parametrize(
    ("text", "top", "has_head", "tied"),
    [
        (True, False, True, True),  # the text config decides
        (None, True, True, False),  # then the weights on disk
        (None, None, False, True),
        (None, True, None, True),  # then the outer config
    ],
)
def test_who_decides_tying(text, top, has_head, tied):
    config = {"text_config": hf_config("qwen3", tie_word_embeddings=text), "tie_word_embeddings": top}
    assert ModelConfig.from_hf(config, has_head=has_head).tie_embeddings is tied


def test_qwen3_window_counts_only_when_switched_on():
    off = tiny("qwen3", sliding_window=8, use_sliding_window=False)
    on = tiny("qwen3", sliding_window=8, use_sliding_window=True, max_window_layers=3)
    assert set(off.layer_types) == {"full_attention"}
    assert on.layer_types == ("full_attention",) * 3 + ("sliding_attention",)


@pytest.mark.parametrize(("order", "period"), [("LLLF" * 2, 4), ("LFL", 3), ("FFFF", 1), ("LLFLLFFL", 8), ("LFLF", 2)])
def test_the_shortest_repeating_group_is_found(order, period):
    names = {"L": "linear_attention", "F": "full_attention"}
    config = tiny("qwen3_5_text", num_hidden_layers=len(order), layer_types=[names[c] for c in order])
    assert len(config.group) == period


def test_default_layer_order_of_qwen3_5():
    config = tiny("qwen3_5_text", layer_types=None)
    assert config.layer_types == ("linear_attention",) * 3 + ("full_attention",)


def test_several_end_tokens_survive():
    config = tiny("llama", eos_token_id=[2, 8, 9])
    assert config.eos_token_ids == (2, 8, 9)
    assert config.to_hf()["eos_token_id"] == [2, 8, 9]
