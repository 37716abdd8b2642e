"""Writes stories for the benchmarks with a checkpoint: as a chat model, by continuation, or as a book in stages."""

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from polaris_jax import storage
from polaris_jax.commands.devices import compilation_cache
from polaris_jax.commands.sampler_flags import dtypes_of
from polaris_jax.errors import InputError
from polaris_jax.evals import jsonl
from polaris_jax.evals.generations import Generation, read_generations
from polaris_jax.evals.prompts import Prompt

if TYPE_CHECKING:
    from polaris_jax.data.chat import ChatTemplate
    from polaris_jax.sampling import Sampler


@dataclass(frozen=True)
class WritingOptions:
    """How a checkpoint writes: ``way`` (``chat``, ``continue``, ``book``), most tokens of a story, sampling.

    ``placement`` holds the options of ``checkpoint_sampler.open_sampler``: mesh and dtypes.
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
class OpenCheckpoint:
    """An open checkpoint: its sampler, and its chat template (without one, it continues the prompt)."""

    sampler: "Sampler"
    template: "ChatTemplate | None"

    def render(self, prompt: str) -> str:
        """The text before the model's answer."""
        if self.template is None:
            return f"{prompt}\n\n"
        return self.template.text(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, enable_thinking=True
        )

    def prompt_tokens(self, prompt: str) -> list[int]:
        """``render`` as tokens; control strings inside the prompt stay text."""
        if self.template is not None:
            return self.template.encode([{"role": "user", "content": prompt}], enable_thinking=True).tolist()
        tokenizer = self.sampler.tokenizer
        return [*([] if tokenizer.bos_id is None else [tokenizer.bos_id]), *tokenizer.encode(self.render(prompt))]

    def stop_ids(self) -> tuple[int, ...]:
        """Tokens that end an answer."""
        end = None if self.template is None else self.template.end_id
        return () if end is None else (end,)


def open_checkpoint(
    folder: str, window: int, chat: bool = True, placement: Mapping[str, Any] = MappingProxyType({})
) -> OpenCheckpoint:
    """Opens a training run or a Hugging Face folder; ``placement`` are its options.

    Raises:
      InputError: it is neither, or ``chat`` is requested for a model without a chat template.
    """
    from polaris_jax.checkpoint_sampler import open_sampler
    from polaris_jax.data import load_chat_template
    from polaris_jax.models.model_folder import find_model_folder

    compilation_cache()
    sampler = open_sampler(folder, window, **placement)
    if not chat:
        return OpenCheckpoint(sampler, None)
    try:
        return OpenCheckpoint(sampler, load_chat_template(find_model_folder(folder).path, sampler.tokenizer))
    except InputError as missing:
        advice = f"{folder} has no chat template; --write-as=book for a model trained on trajectories, or continue"
        raise InputError("--write-as", "chat", advice) from missing


def write_stories(
    folder: str, prompts: Sequence[Prompt], file: str, name: str, options: WritingOptions
) -> list[Generation]:
    """Writes a story per prompt to ``file``. Stories that were written before with the same settings are kept.

    The whole file is written after every few stories, so a killed run loses little. A book that cannot be written
    becomes an empty story with its error.

    Raises:
      InputError: the checkpoint cannot be used, or the prompts do not fit.
    """
    settings = repr(
        (
            folder,
            options.way,
            options.max_tokens,
            options.temperature,
            options.top_p,
            options.repetition_penalty,
            options.seed,
            *dtypes_of(options.placement),
        )
    )
    settings = hashlib.sha256(settings.encode()).hexdigest()[:16]
    kept = {row["id"]: row for row in jsonl.read(file) if row.get("settings") == settings and row.get("model") == name}
    todo = [prompt for prompt in prompts if kept.get(prompt.id, {}).get("prompt") != prompt.text]
    if todo:
        opened = open_checkpoint(
            folder, options.max_tokens + 2048, chat=options.way == "chat", placement=options.placement
        )
        write = _books if options.way == "book" else _answers
        for prompt, story, more in write(opened, todo, options, file):
            kept[prompt.id] = {
                "id": prompt.id,
                "prompt": prompt.text,
                "story": story,
                "model": name,
                "target_words": prompt.target_words,
                "settings": settings,
                **more,
            }
            jsonl.write(file, [kept[one.id] for one in prompts if one.id in kept])
    jsonl.write(file, [kept[one.id] for one in prompts])
    return read_generations(file, name)[0]


def greedy(opened: OpenCheckpoint, slots: int) -> Callable[[list[list[int]], int], list[list[int]]]:
    """Greedy continuations of token lists, for the memorisation audit."""
    from polaris_jax.sampling import Engine, GenerationRequest, SamplingOptions

    engine, sampling = Engine(opened.sampler, slots), SamplingOptions(temperature=0.0)

    def continue_all(prompts: list[list[int]], most: int) -> list[list[int]]:
        requests = [
            GenerationRequest(prompt, sampling, max_tokens=most, stop_token_ids=opened.stop_ids()) for prompt in prompts
        ]
        return [list(one.tokens) for one in engine.generate(requests)]

    return continue_all


def _answers(
    opened: OpenCheckpoint, prompts: Sequence[Prompt], options: WritingOptions, file: str
) -> Iterator[tuple[Prompt, str, dict]]:
    from polaris_jax.sampling import Engine, GenerationRequest, SamplingOptions

    engine = Engine(opened.sampler, min(options.slots, len(prompts)))
    sampling = SamplingOptions(
        temperature=options.temperature, top_p=options.top_p, repetition_penalty=options.repetition_penalty
    )
    for first in range(0, len(prompts), options.slots):
        some = prompts[first : first + options.slots]
        requests = [
            GenerationRequest(
                opened.prompt_tokens(prompt.text),
                sampling,
                seed=_seed(options.seed, prompt.id),
                max_tokens=options.max_tokens,
                stop_token_ids=opened.stop_ids(),
            )
            for prompt in some
        ]
        for prompt, done in zip(some, engine.generate(requests), strict=True):
            yield prompt, done.text.strip(), {"tokens": len(done.tokens), "finish": done.finish_reason}


def _books(
    opened: OpenCheckpoint, prompts: Sequence[Prompt], options: WritingOptions, file: str
) -> Iterator[tuple[Prompt, str, dict]]:
    """Writes each book in its own folder beside the file, where a killed run continues."""
    from polaris_jax.sampling import WriterSettings, WritingError, readable, write_book
    from polaris_jax.trajectory import mini_profile

    if storage.is_remote(file):
        raise InputError("--out", file, "books are written to a local folder; copy it afterwards")
    for prompt in prompts:
        place = f"{file.removesuffix('.jsonl')}/{_seed(0, prompt.id):08x}"
        try:
            book = write_book(
                opened.sampler,
                prompt.text,
                mini_profile(options.max_tokens),
                seed=options.seed,
                out_dir=place,
                settings=WriterSettings(
                    temperature=options.temperature, top_p=options.top_p, repetition_penalty=options.repetition_penalty
                ),
            )
        except (WritingError, InputError) as error:  # InputError: the text fills the window
            print(f"no book for {prompt.id}: {error}", file=sys.stderr)
            yield prompt, "", {"error": str(error)}
            continue
        yield prompt, readable(book.transcript).text, {"folder": place, "valid": bool(book.verdict)}


def _seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:4], "big")
