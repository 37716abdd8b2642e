"""Small models of every family that is exported, as their releases are laid out, for ``export_table.py`` and tests.

Each is written as a source folder (random weights, a tokenizer of its own of the released kind, chat template,
generation settings), converted with ``polaris convert --stage-tokens``, and then given one thing that a random model
lacks: the stage's end token comes up in its greedy text. For this two rows of the output matrix change places.
"""

import base64
import json
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors, trainers
from tokenizers.models import BPE

from polaris_jax.converting import convert
from polaris_jax.data import load_chat_template, load_tokenizer, train_sentencepiece
from polaris_jax.data.backends import byte_level_alphabet
from polaris_jax.data.vocabulary_formats import from_tekken
from polaris_jax.models import (
    Decoder,
    ModelConfig,
    cached_forward,
    from_pretrained,
    init_cache,
    save_pretrained,
    unembed,
)
from polaris_jax.models.gguf_vocabulary import PRE_TOKENIZERS, TEKKEN_WORDS
from polaris_jax.models.weights import weight_table

FAMILIES = ("llama", "mistral", "mistral3.1", "ministral3", "qwen2", "qwen3", "sentencepiece")
TRANSCRIPT = (
    "<|start_header_id|>prompt<|stop_header_id|>\n\nA café by the sea, in 1815: “who's there?”<|eot_id|>"
    "<|start_header_id|>book_preview<|stop_header_id|>\n\n## Book Title\nThe Sea\n\n  two spaces, don't<|eot_id|>"
    "<|start_header_id|>chapter_text<|stop_header_id|>\n\n### The Cat\n```\nthe cat sat on the mat"
)
CHAT = [
    {"role": "user", "content": "Who sat on the mat?"},
    {"role": "assistant", "content": "the cat sat"},
    {"role": "user", "content": "And the dog?"},
]
CORPUS = [
    "the cat sat on the mat and the dog ran by the sea; who's there? don't ask, said the café's owner in 1815."
] * 20
ORIGINAL = 64  # positions before extension, of the families whose RoPE is scaled
PROMPT, STEPS = 100, 24  # greedy text begins beyond ORIGINAL

_SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}
_PLAIN = {"rope_type": "default", "rope_theta": 10000.0}
_LLAMA3 = _PLAIN | {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": ORIGINAL,
}
_YARN = _PLAIN | {
    "rope_type": "yarn",
    "factor": 8.0,
    "original_max_position_embeddings": ORIGINAL,
    "beta_fast": 4.0,
    "beta_slow": 1.0,
}
_MINISTRAL = _YARN | {"mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.3}
_ROPES = {"llama": _LLAMA3, "ministral3": _MINISTRAL, "qwen3": _YARN | {"beta_fast": 32.0}}

_CHATML = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
_INST = (
    "{{- bos_token }}{%- for message in messages %}{%- if message.role == 'user' %}"
    "{{- '[INST]' + message.content + '[/INST]' }}{%- else %}{{- message.content + eos_token }}{%- endif %}"
    "{%- endfor %}"
)
_LLAMA_CHAT = (
    "{{- bos_token }}{%- for message in messages %}{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n'"
    " + message.content + '<|eot_id|>' }}{%- endfor %}{%- if add_generation_prompt %}"
    "{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"
)


@dataclass(frozen=True)
class Made:
    """An exported model and what it must do.

    Attributes:
      source: the release's layout; folder: the export.
      ids: our tokens of ``TRANSCRIPT``; chat: of ``CHAT``.
      prompt: token ids; greedy: what follows by our forward pass, end tokens ignored; ends: the end tokens; stop: the
        place of the first of them.
      logits: our logits after the prompt, ``[V] float32``.
    """

    family: str
    source: str
    folder: str
    ids: list[int]
    chat: list[int]
    prompt: list[int]
    greedy: list[int]
    ends: list[int]
    stop: int
    logits: list[float]


def make(family: str, root: Path) -> Made:
    """Writes ``root/FAMILY`` and its export ``root/FAMILY-export``; says what the export must do."""
    source, grown, folder = (root / f"{family}{part}" for part in ("", "-grown", "-export"))
    source.mkdir(parents=True)
    size = _write_tokenizer(family, source)
    _write_weights(family, source, size)
    convert(str(source), str(grown), to="hf", stage_tokens=True)
    model = from_pretrained(grown)
    tokenizer = load_tokenizer(grown)
    prompt = _prompt(tokenizer)
    greedy, logits = greedy_text(model, prompt)
    if tokenizer.eot_id not in greedy:
        place = next(i for i, token in enumerate(greedy) if i >= 8 and token not in {*prompt, *greedy[:i]})
        model = _exchanged(model, greedy[place], tokenizer.eot_id)
        greedy, logits = greedy_text(model, prompt)
    save_pretrained(model, folder, tokenizer_from=grown)
    ends = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
    ends = ends if isinstance(ends, list) else [ends]
    template = load_chat_template(folder, tokenizer) if family != "sentencepiece" else None
    return Made(
        family=family,
        source=str(source),
        folder=str(folder),
        ids=tokenizer.encode(TRANSCRIPT).tolist(),
        chat=template.encode(CHAT).tolist() if template else [],
        prompt=prompt,
        greedy=greedy,
        ends=ends,
        stop=next(place for place, token in enumerate(greedy) if token in ends),
        logits=logits.tolist(),
    )


def _prompt(tokenizer) -> list[int]:
    ids = tokenizer.encode(TRANSCRIPT).tolist()
    return (ids * (1 + PROMPT // len(ids)))[:PROMPT]


def greedy_text(model: Decoder, prompt: list[int], steps: int = STEPS) -> tuple[list[int], np.ndarray]:
    """Greedy tokens after ``prompt`` and the logits of the first of them."""
    cache = init_cache(model.config, 1, len(prompt) + steps)
    read = jax.jit(lambda tokens, cache: cached_forward(model.params, model.config, tokens, cache))
    tokens, found, first = jnp.asarray([prompt], jnp.int32), [], None
    for _ in range(steps):
        x, cache = read(tokens, cache)
        logits = np.asarray(unembed(model.params, model.config, x[0, -1]))
        first = logits if first is None else first
        found.append(int(logits.argmax()))
        tokens = jnp.asarray([found[-1:]], jnp.int32)
    return found, first


def _exchanged(model: Decoder, a: int, b: int) -> Decoder:
    head = model.params["head"]["kernel"]
    head = head.at[:, jnp.array([a, b])].set(head[:, jnp.array([b, a])])
    return Decoder(model.config, model.params | {"head": {"kernel": head}})


def _write_weights(family: str, folder: Path, size: int) -> None:
    model_type = {"mistral3.1": "mistral", "sentencepiece": "llama"}.get(family, family)
    rope = _ROPES.get(family, _PLAIN)
    sizes = _SIZES | {"model_type": model_type, "vocab_size": size, "rope_parameters": rope}
    if model_type == "qwen2":  # heads as wide as the model together, as in every release
        sizes |= {"num_attention_heads": 2, "num_key_value_heads": 1}
    config = ModelConfig.from_hf(sizes)
    settings = json.loads((folder / "generation_config.json").read_text())
    ends = settings["eos_token_id"]
    config = replace(config, eos_token_ids=tuple(ends if isinstance(ends, list) else [ends])[:1])
    random = np.random.default_rng(FAMILIES.index(family))
    params: dict = {}
    for path, weight in weight_table(config).items():
        here = params
        for name in path[:-1]:
            here = here.setdefault(name, {})
        values = random.standard_normal(weight.shape)
        scale = 0.15 if weight.fan_in > 1 or path[0] == "embed" else 0.2
        gain = 1.0 if "norm" in "/".join(path) else 0.0
        here[path[-1]] = jnp.asarray(gain + scale * values, jnp.float32)
    beside = {file.name: file.read_bytes() for file in folder.iterdir()}
    save_pretrained(Decoder(config, params), folder)
    for name, content in beside.items():  # as released, not as we would write it
        (folder / name).write_bytes(content)
    if family == "mistral3.1":
        _nest(folder)


def _nest(folder: Path) -> None:
    """As Mistral Small 3.1 is released: a text config inside, the names of a multimodal model."""
    from safetensors.numpy import load_file, save_file

    text = json.loads((folder / "config.json").read_text())
    outer = {"architectures": ["Mistral3ForConditionalGeneration"], "model_type": "mistral3", "dtype": text["dtype"]}
    (folder / "config.json").write_text(json.dumps(outer | {"text_config": text, "vision_config": {}}))
    renamed = {f"language_model.{name}": value for name, value in load_file(folder / "model.safetensors").items()}
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})


def _write_tokenizer(family: str, folder: Path) -> int:
    """Tokenizer, chat template and generation settings as the family's releases have them; returns the vocabulary."""
    if family == "sentencepiece":
        tokenizer = train_sentencepiece(CORPUS, 360)
        tokenizer.save(folder)
        _write(folder, "generation_config.json", {"eos_token_id": tokenizer.eot_id})
        return tokenizer.vocab_size
    if family in ("mistral", "mistral3.1", "ministral3"):
        return _write_tekken(family, folder)
    return _write_byte_level(family, folder)


def _write_byte_level(family: str, folder: Path) -> int:
    qwen = family.startswith("qwen")
    trained = _trained("qwen2" if qwen else "llama-bpe")
    if qwen:
        trained.normalizer = normalizers.NFC()
        special, plain = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], ["<think>", "</think>"]
        roles = {"bos_token": None, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
        cls, template, ends = "Qwen2Tokenizer", _CHATML, ["<|im_end|>", "<|endoftext|>"]
    else:
        special = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
        roles, plain = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}, []
        cls, template, ends = "PreTrainedTokenizerFast", _LLAMA_CHAT, ["<|end_of_text|>", "<|eot_id|>"]
    trained.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    trained.add_tokens([AddedToken(token, normalized=False) for token in plain])
    if not qwen:
        bos = special[0]
        trained.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, trained.token_to_id(bos))]
        )
    trained.save(str(folder / "tokenizer.json"))
    decoder = {
        str(trained.token_to_id(token)): {
            "content": token,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": token in special,
        }
        for token in (*special, *plain)
    }
    settings = roles | {"tokenizer_class": cls, "chat_template": template, "added_tokens_decoder": decoder}
    _write(folder, "tokenizer_config.json", settings | {"clean_up_tokenization_spaces": False})
    _write(folder, "generation_config.json", {"eos_token_id": [trained.token_to_id(token) for token in ends]})
    return trained.get_vocab_size() + 8  # rows to spare, as in the releases


def _trained(pre: str) -> Tokenizer:
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(PRE_TOKENIZERS[pre])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet))
    return tokenizer


def _write_tekken(family: str, folder: Path) -> int:
    """``tekken.json`` as mistral-common reads it, and the release's ``tokenizer.json`` beside it."""
    trained = _trained("tekken")
    byte_of = {character: byte for byte, character in byte_level_alphabet().items()}
    pieces = sorted(trained.get_vocab(), key=trained.get_vocab().get)
    singles = [bytes([byte]) for byte in range(256)]
    ranked = singles + [bytes(byte_of[c] for c in piece) for piece in pieces if len(piece) > 1]
    control = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]"]
    control += ["[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]"]
    control += ["[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"]
    reserved = 32
    tekken = {
        "config": {
            "pattern": TEKKEN_WORDS,
            "num_vocab_tokens": len(ranked),
            "default_vocab_size": len(ranked) + reserved,
            "default_num_special_tokens": reserved,
            "version": "v7",
        },
        "vocab": [
            {"rank": n, "token_bytes": base64.b64encode(t).decode(), "token_str": t.decode("utf-8", "replace")}
            for n, t in enumerate(ranked)
        ],
        "special_tokens": [{"rank": n, "token_str": t, "is_control": True} for n, t in enumerate(control)],
    }
    _write(folder, "tekken.json", tekken)
    if family != "mistral3.1":  # Mistral Small 3.1 and 3.2 have tekken.json alone
        (folder / "tokenizer.json").write_bytes(from_tekken((folder / "tekken.json").read_bytes(), "tekken.json"))
        roles = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
        _write(folder, "tokenizer_config.json", roles | {"tokenizer_class": "LlamaTokenizerFast"})
    (folder / "chat_template.jinja").write_text(_INST)
    _write(folder, "generation_config.json", {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 11})
    return len(ranked) + reserved


def _write(folder: Path, name: str, value: dict) -> None:
    (folder / name).write_text(json.dumps(value, indent=1))
