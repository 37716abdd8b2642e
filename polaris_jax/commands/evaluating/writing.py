"""Stories by a checkpoint of ours, for the benchmarks: as a chat model, by going on, or as a book in stages."""

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from polaris_jax import storage
from polaris_jax.commands.devices import compilation_cache
from polaris_jax.commands.sampler_flags import dtypes_of
from polaris_jax.errors import InputError
from polaris_jax.evals import jsonl
from polaris_jax.evals.generations import Generation, read_generations
from polaris_jax.evals.prompts import Prompt


@dataclass(frozen=True)
class Writing:
    """How a checkpoint writes: ``way`` (``chat``, ``continue``, ``book``), tokens of a story at most, sampling.

    ``placement`` holds the options of ``flow.open_sampler``: mesh and dtypes.
    """

    way: str = "chat"
    max_tokens: int = 8192
    temperature: float = 0.8
    top_p: float = 0.95
    repetition_penalty: float = 1.1
    seed: int = 0
    slots: int = 4
    placement: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Opened:
    """A checkpoint that can write: its sampler, and how it is spoken to (None: it just goes on)."""

    sampler: object
    template: object | None

    def render(self, prompt: str) -> str:
        """The text after which the model's answer begins."""
        if self.template is None:
            return f"{prompt}\n\n"
        return self.template.text([{"role": "user", "content": prompt}], add_generation_prompt=True,
                                  enable_thinking=True)  # fmt: skip

    def prompt_tokens(self, prompt: str) -> list[int]:
        """The same as tokens; control strings inside the prompt stay text."""
        if self.template is not None:
            return self.template.encode([{"role": "user", "content": prompt}], enable_thinking=True).tolist()
        tokenizer = self.sampler.tokenizer
        return [*([] if tokenizer.bos_id is None else [tokenizer.bos_id]), *tokenizer.encode(self.render(prompt))]

    def stop_ids(self) -> tuple[int, ...]:
        """Tokens that end an answer."""
        end = None if self.template is None else self.template.end_id
        return () if end is None else (end,)


def open_checkpoint(folder: str, window: int, chat: bool = True, placement: Mapping[str, Any] = MappingProxyType({})
                    ) -> Opened:
    """Opens a training run or a Hugging Face folder; ``placement`` are options of ``flow.open_sampler``.

    Raises:
      InputError: it is neither, or ``chat`` is wanted of a model without a chat template.
    """
    from polaris_jax import flow
    from polaris_jax.data import load_chat_template
    from polaris_jax.training.checkpoint import model_folder

    compilation_cache()
    sampler = flow.open_sampler(folder, window, **placement)
    return Opened(sampler, load_chat_template(model_folder(folder), sampler.tokenizer) if chat else None)


def write_stories(folder: str, prompts: Sequence[Prompt], file: str, name: str, how: Writing) -> list[Generation]:
    """A story per prompt, in ``file``; those that are there already, written in the same way, are kept.

    The file is written whole after every few stories, so a killed run loses little. A book that cannot be written is an
    empty story with its error beside it.

    Raises:
      InputError: the checkpoint cannot be used, or the prompts do not fit.
    """
    settings = repr((folder, how.way, how.max_tokens, how.temperature, how.top_p, how.repetition_penalty, how.seed,
                     *dtypes_of(how.placement)))
    settings = hashlib.sha256(settings.encode()).hexdigest()[:16]
    kept = {row["id"]: row for row in jsonl.read(file)
            if row.get("settings") == settings and row.get("model") == name}  # fmt: skip
    todo = [prompt for prompt in prompts if kept.get(prompt.id, {}).get("prompt") != prompt.text]
    if todo:
        opened = open_checkpoint(folder, how.max_tokens + 2048, chat=how.way == "chat",
                                 placement=how.placement)
        write = _books if how.way == "book" else _answers
        for prompt, story, more in write(opened, todo, how, file):
            kept[prompt.id] = {"id": prompt.id, "prompt": prompt.text, "story": story, "model": name,
                               "target_words": prompt.target_words, "settings": settings, **more}  # fmt: skip
            jsonl.write(file, [kept[one.id] for one in prompts if one.id in kept])
    jsonl.write(file, [kept[one.id] for one in prompts])
    return read_generations(file, name)[0]


def greedy(opened: Opened, slots: int) -> Callable[[list[list[int]], int], list[list[int]]]:
    """The most probable continuations of token lists, for the audit."""
    from polaris_jax.sampling import Engine, GenerationRequest, SamplingOptions

    engine = Engine(opened.sampler, slots)

    def go_on(prompts: list[list[int]], most: int) -> list[list[int]]:
        how = {"options": SamplingOptions(temperature=0.0), "max_tokens": most, "stop_token_ids": opened.stop_ids()}
        written = engine.generate([GenerationRequest(prompt, **how) for prompt in prompts])
        return [list(one.tokens) for one in written]

    return go_on


def _answers(opened: Opened, prompts: Sequence[Prompt], how: Writing, file: str) -> Iterator[tuple[Prompt, str, dict]]:
    from polaris_jax.sampling import Engine, GenerationRequest, SamplingOptions

    engine = Engine(opened.sampler, min(how.slots, len(prompts)))
    options = SamplingOptions(temperature=how.temperature, top_p=how.top_p, repetition_penalty=how.repetition_penalty)
    for first in range(0, len(prompts), how.slots):
        some = prompts[first : first + how.slots]
        requests = [
            GenerationRequest(opened.prompt_tokens(prompt.text), options, seed=_seed(how.seed, prompt.id),
                              max_tokens=how.max_tokens, stop_token_ids=opened.stop_ids())
            for prompt in some
        ]  # fmt: skip
        for prompt, done in zip(some, engine.generate(requests), strict=True):
            yield prompt, done.text.strip(), {"tokens": len(done.tokens), "finish": done.finish_reason}


def _books(opened: Opened, prompts: Sequence[Prompt], how: Writing, file: str) -> Iterator[tuple[Prompt, str, dict]]:
    """Each book in a folder of its own beside the file, where a killed one goes on."""
    from polaris_jax.sampling import WriterSettings, WritingError, readable, write_book
    from polaris_jax.trajectory import mini_profile

    if storage.is_remote(file):
        raise InputError("--out", file, "books are written to a local folder; copy it afterwards")
    for prompt in prompts:
        place = f"{file.removesuffix('.jsonl')}/{_seed(0, prompt.id):08x}"
        try:
            book = write_book(
                opened.sampler, prompt.text, mini_profile(how.max_tokens), seed=how.seed, out_dir=place,
                settings=WriterSettings(temperature=how.temperature, top_p=how.top_p,
                                        repetition_penalty=how.repetition_penalty),
            )  # fmt: skip
        except (WritingError, InputError) as error:  # what the model wrote may use up the window, too
            print(f"no book for {prompt.id}: {error}", file=sys.stderr)
            yield prompt, "", {"error": str(error)}
            continue
        yield prompt, readable(book.transcript).text, {"folder": place, "valid": bool(book.verdict)}


def _seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:4], "big")
