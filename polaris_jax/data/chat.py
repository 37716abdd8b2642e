"""Conversations as a chat model was trained to read them: the model folder's own Jinja template, then tokens.

Only the template may write control tokens: a control string inside a message stays text.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

import jinja2
import numpy as np
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Node, Output, TemplateData
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from polaris_jax import storage
from polaris_jax.data.control_text import harmless, spell
from polaris_jax.data.tokenizer import Tokenizer
from polaris_jax.errors import InputError

Message = Mapping[str, str]  # {"role": ..., "content": ...}
TAG_START, TAG_STOP = "\ue006", "\ue007"  # private-use characters in the place of a template's tags
MAX_TEMPLATE_BYTES = 4 << 20
_PROBE = "XPROBEX"
_CUT = "\ue002XCUTX"  # marks the end of a message to continue
_RESERVED = frozenset(("messages", "add_generation_prompt", "tools"))
_NAMED_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token")


class ChatTemplate:
    """A chat template bound to a tokenizer; ``load_chat_template`` reads one from a model folder.

    Args:
      source: the Jinja template.
      tokenizer: whose control tokens the template writes.
      variables: what the template may refer to by name (``bos_token``, ``eos_token``).

    Attributes:
      source: the Jinja template.
      end_id: the control token that ends an assistant's message, or None if the template writes none.

    Raises:
      InputError: the template does not run.
    """

    def __init__(self, source: str, tokenizer: Tokenizer, variables: Mapping[str, str] | None = None):
        self._template = _compiled(source, _Generation)
        self._tagged: jinja2.Template | None = None
        if re.search(r"{%-?\s*generation\b", source):
            self._tagged = _compiled(source, _MarkedGeneration)
        self.source = source
        self.tokenizer, self._variables = tokenizer, dict(variables or {})
        said = self.text([{"role": "user", "content": "x"}, {"role": "assistant", "content": _PROBE}])
        after = self.tokenizer.control_pattern.search(said, said.find(_PROBE) + len(_PROBE))
        self.end_id = tokenizer.control_tokens[after[0]] if after else None

    def text(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        mark_tags: bool = False,
        **variables: Any,
    ) -> str:
        """The conversation as the template writes it.

        Args:
          add_generation_prompt: the text ends where the assistant's next message begins.
          continue_final_message: the text ends after the content of the last message, so that it can be continued.
          mark_tags: writes ``TAG_START`` and ``TAG_STOP`` for the ``{% generation %}`` tags that the template has.
          variables: more template variables, such as ``enable_thinking``. They override ``bos_token`` and the like.

        Raises:
          InputError: a message without role or content, a variable with a reserved name, or a template that refuses the
            conversation or drops the message to continue.
        """
        for message in messages:
            if not isinstance(message.get("role"), str) or not isinstance(message.get("content"), str):
                raise InputError("messages", message, 'must be {"role": text, "content": text}')
        if taken := sorted(_RESERVED & variables.keys()):
            raise InputError("chat_template_kwargs", taken[0], "is a field of the request, not a template variable")
        shown = [dict(message) for message in messages]
        if continue_final_message:
            if add_generation_prompt:
                raise InputError("continue_final_message", True, "needs add_generation_prompt: false")
            shown[-1]["content"] += _CUT + " "
        template = self._tagged if mark_tags and self._tagged is not None else self._template
        try:
            text = template.render(
                {
                    "tools": None,
                    "documents": None,
                    **self._variables,
                    **variables,
                    "messages": shown,
                    "add_generation_prompt": add_generation_prompt,
                }
            )
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
            raise InputError("messages", str(messages)[:60], f"the chat template says: {str(error)[:200]}") from error
        if not continue_final_message:
            return text
        before, mark, after = text.rpartition(_CUT)
        if not mark:
            raise InputError("continue_final_message", True, "the chat template leaves the last message out")
        return before if after.startswith(" ") else before.rstrip()  # a template that trims messages

    def encode(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        **variables: Any,
    ) -> np.ndarray:
        """``text`` as token ids, int32 [n]."""
        text = self.text(
            [harmless(self.tokenizer, message) for message in messages],
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            **{name: harmless(self.tokenizer, value) for name, value in variables.items()},
        )
        return spell(self.tokenizer, text)[0]


def load_chat_template(
    folder: str | os.PathLike[str], tokenizer: Tokenizer, file: str | os.PathLike[str] | None = None
) -> ChatTemplate:
    """The template of a model folder: ``chat_template.jinja``, or the one in ``tokenizer_config.json``.

    Args:
      folder: local or gs://.
      file: a template to use instead of the folder's own.

    Raises:
      InputError: the folder has none (a base model), or ``file`` does not exist.
    """
    folder = os.fspath(folder)
    config = json.loads(storage.read(storage.join(folder, "tokenizer_config.json")) or "{}")
    own = storage.join(folder, "chat_template.jinja")
    content = storage.read(own) if file is None else _template_file(os.fspath(file))
    if file is not None and content is None:
        raise InputError("chat_template", str(file), "cannot be read: no such file")
    source = config.get("chat_template") if content is None else content.decode("utf-8")
    if isinstance(source, list):  # several, by name
        source = next((entry["template"] for entry in source if entry["name"] == "default"), None)
    if not source:
        raise InputError("model", folder, "has no chat template; use an instruction-tuned model")
    said = {name: config.get(name) for name in _NAMED_TOKENS}
    return ChatTemplate(
        source,
        tokenizer,
        {name: value["content"] if isinstance(value, dict) else value for name, value in said.items() if value},
    )


def _template_file(file: str) -> bytes | None:
    """The content of a file, local or gs://, or None without one. Devices and pipes are not read: they may not end."""
    if storage.is_remote(file):
        return storage.read(file)
    try:
        with open(file, "rb") as opened:
            content = opened.read(MAX_TEMPLATE_BYTES + 1)
    except OSError:
        return None
    if len(content) > MAX_TEMPLATE_BYTES:
        raise InputError("chat_template", file, f"is larger than {MAX_TEMPLATE_BYTES >> 20} MiB")
    return content


def _compiled(source: str, generation: type[Extension]) -> jinja2.Template:
    """Compiles the template in the Jinja environment that chat templates are written for.

    Raises:
      InputError: the template cannot be read.
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, generation]
    )
    environment.globals |= {"raise_exception": _refuse, "strftime_now": _strftime_now}
    environment.filters["tojson"] = _tojson
    try:
        return environment.from_string(source)
    except jinja2.TemplateError as error:
        raise InputError("chat_template", source[:60], f"is not a readable template ({error})") from error


class _Generation(Extension):
    """``{% generation %}`` … ``{% endgeneration %}``: marks what a trainer learns from; its text stays as it is."""

    tags = {"generation"}  # noqa: RUF012 - as in jinja2's own class

    def parse(self, parser: Parser) -> list[Node]:
        """The nodes between the tags."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _MarkedGeneration(_Generation):
    """The same tags, which write ``TAG_START`` and ``TAG_STOP``."""

    def parse(self, parser: Parser) -> list[Node]:
        """The nodes between the tags, and a mark on either side."""
        body = super().parse(parser)
        return [Output([TemplateData(TAG_START)]), *body, Output([TemplateData(TAG_STOP)])]


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as ``transformers`` writes it; jinja2's own filter escapes for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)  # local time, as in transformers
