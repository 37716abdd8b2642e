"""From chat messages to tokens: the checkpoint's own template, or a plain one, rendered in a sandbox."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from polaris_jax.data import Tokenizer
from polaris_jax.errors import InputError

# For checkpoints without a template: roles and texts as a play has them. A model that goes on to speak for the user is
# stopped there.
PLAIN = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n\n{% endfor %}assistant:"
PLAIN_STOP = "\n\nuser:"
_PROBE = "\u241fwhat the assistant said\u241f"


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template and what it needs.

    Attributes:
      source: Jinja, in the dialect of Hugging Face's templates.
      names: what the templates call ``bos_token``, ``eos_token`` and so on.
      plain: it is the fallback, which knows no control tokens.
    """

    source: str = PLAIN
    names: tuple[tuple[str, str], ...] = ()
    plain: bool = True

    @cached_property
    def _compiled(self) -> jinja2.Template:
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        environment.filters["tojson"] = lambda value, **how: json.dumps(value, ensure_ascii=False, **how)
        environment.globals |= {"raise_exception": _refuse, "strftime_now": lambda how: datetime.now(UTC).strftime(how)}
        try:
            return environment.from_string(self.source)
        except jinja2.TemplateError as error:
            raise InputError("chat_template", self.source, f"is no template: {error}") from error

    def render(self, messages: Sequence[dict[str, str]], *, answer: bool = True) -> str:
        """The text that the model goes on from (``answer``: with the head of its own message).

        Raises:
          InputError: the template refuses the messages.
        """
        names: dict[str, Any] = dict(self.names)
        try:
            return self._compiled.render(messages=messages, add_generation_prompt=answer, **names)
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
            roles = [one["role"] for one in messages][:8]
            raise InputError("messages", roles, f"the template says: {error}") from error

    def stop_tokens(self, tokenizer: Tokenizer) -> tuple[int, ...]:
        """The control token that closes an assistant's message, if there is one."""
        if self.plain:
            return ()
        asked = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _PROBE}]
        try:
            after = self.render(asked, answer=False).partition(_PROBE)[2].lstrip()
        except InputError:
            return ()
        ids = (number for name, number in tokenizer.control_tokens.items() if after.startswith(name))
        return tuple(ids)[:1]


def read_template(folder: Path) -> ChatTemplate:
    """The chat template of a checkpoint's folder; the plain one when there is none.

    It is looked for in ``chat_template.jinja`` and in ``tokenizer_config.json``.

    Raises:
      InputError: a template that is not one.
    """
    config = folder / "tokenizer_config.json"
    said = json.loads(config.read_text(encoding="utf-8")) if config.exists() else {}
    source = said.get("chat_template")
    if isinstance(source, list):  # several, by name
        source = next((one["template"] for one in source if one.get("name") == "default"), None)
    if (folder / "chat_template.jinja").exists():
        source = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    if not source:
        return ChatTemplate()
    names = {name: value["content"] if isinstance(value, dict) else value
             for name, value in said.items() if name.endswith("_token") and isinstance(value, str | dict)}  # fmt: skip
    template = ChatTemplate(source, tuple(names.items()), plain=False)
    template.render([{"role": "user", "content": "?"}])
    return template


def adds_bos(folder: Path) -> bool:
    """Whether the checkpoint's own tokenizer puts the beginning-of-text token before a text."""
    config = folder / "tokenizer_config.json"
    return not config.exists() or json.loads(config.read_text(encoding="utf-8")).get("add_bos_token") is not False


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    """Tokens of a text in which control tokens go by their names.

    Raises:
      InputError: the vocabulary cannot spell the text.
    """
    names = sorted(tokenizer.control_tokens, key=len, reverse=True)
    parts = re.split("(" + "|".join(map(re.escape, names)) + ")", text) if names else [text]
    tokens: list[int] = []
    for place, part in enumerate(parts):
        tokens += [tokenizer.control_tokens[part]] if place % 2 else tokenizer.encode(part).tolist()
    return tokens


def reserved(tokenizer: Tokenizer, text: str) -> str | None:
    """The first control token that a message spells out, by which it would pass for something else than a message."""
    return next((name for name in tokenizer.control_tokens if name in text), None)


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)
