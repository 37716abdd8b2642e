"""The engines that books can be written with: which endpoint they have, and how they take a grammar and options."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from polaris_jax.sampling.options import SamplingOptions
from polaris_jax.trajectory.grammar import Grammar
from polaris_jax.trajectory.json_form import schema

Fields = dict[str, Any]


def _json_schema(grammar: Grammar) -> Fields:
    form = {"name": "step", "schema": schema(grammar), "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": form}}


@dataclass(frozen=True)
class ServerEngine:
    """One kind of server.

    Attributes:
      chat: whether it is asked for chat completions instead of text completions.
      bind: the fields that bind a text to a grammar; None: the engine cannot do it, and texts are only checked.
      form: answers are JSON that ``json_form.fill`` turns into text.
      names: our name of a sampling option → the engine's; an option that is missing here is not sent.
      fiction: whether it has typical sampling, XTC and DRY.
      tokenize: the text's field and the further fields of a request to ``/tokenize``; None: it has no such endpoint.
    """

    name: str
    chat: bool
    bind: Callable[[Grammar], Fields] | None
    form: bool = False
    names: Mapping[str, str] = field(default_factory=dict)
    fiction: bool = False
    tokenize: tuple[str, Fields] | None = None

    def options(self, options: SamplingOptions) -> Fields:
        """The options of a request. All are sent, because engines have their own defaults."""
        own = {theirs: getattr(options, ours) for ours, theirs in self.names.items()}
        if not self.fiction:
            return own
        own |= {name: getattr(options, name) for name in ("typical_p", "xtc_probability", "xtc_threshold")}
        if (dry := options.dry) is None:
            return own | {"dry_multiplier": 0.0}
        return own | {
            "dry_multiplier": dry.multiplier,
            "dry_base": dry.base,
            "dry_allowed_length": dry.allowed_length,
            "dry_penalty_last_n": dry.last_tokens or -1,
            "dry_sequence_breakers": list(dry.breakers),
        }


_OPENAI = {name: name for name in ("temperature", "top_p")}
_MORE = _OPENAI | {"top_k": "top_k", "min_p": "min_p"}
ENGINES = {
    engine.name: engine
    for engine in (
        ServerEngine(
            "polaris",
            False,
            lambda grammar: {"guided_grammar": grammar.lark()},
            names=_MORE | {"repetition_penalty": "repetition_penalty"},
            fiction=True,
            tokenize=("prompt", {"add_special_tokens": False}),
        ),
        ServerEngine(
            "vllm",
            False,
            lambda grammar: {"structured_outputs": {"grammar": grammar.gbnf()}},
            names=_MORE | {"repetition_penalty": "repetition_penalty"},
            tokenize=("prompt", {"add_special_tokens": False}),
        ),
        ServerEngine(
            "llama.cpp",
            False,
            lambda grammar: {"grammar": grammar.gbnf(), "cache_prompt": True},
            names=_MORE | {"repetition_penalty": "repeat_penalty"},
            fiction=True,
            tokenize=("content", {"add_special": False, "parse_special": True}),
        ),
        ServerEngine("lmstudio", True, _json_schema, True, _MORE | {"repetition_penalty": "repeat_penalty"}),
        ServerEngine("openai", True, _json_schema, True, _OPENAI),
        ServerEngine("chat", True, None, names=_OPENAI),
        ServerEngine("completions", False, None, names=_OPENAI),
    )
}


def engine_of(models: Mapping[str, Any], lists_native: bool) -> str:
    """The name of the engine that answers ``/v1/models`` with ``models``.

    Args:
      lists_native: it also answers LM Studio's own ``/api/v0/models``.
    """
    owners = {str(one.get("owned_by", "")).lower() for one in models.get("data") or ()}
    by_owner = {"polaris_jax": "polaris", "vllm": "vllm", "llamacpp": "llama.cpp"}
    found = [engine for owner, engine in by_owner.items() if owner in owners]
    return found[0] if found else "lmstudio" if lists_native else "openai"


def read_form(reply: str) -> Any:
    """The JSON value of an answer to a form, without code fences around it; ``ValueError`` if it is not JSON."""
    text = reply.strip()
    if text.startswith("```"):
        text = text.partition("\n")[2].rpartition("```")[0]
    return json.loads(text)
