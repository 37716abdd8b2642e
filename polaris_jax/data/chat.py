"""Conversations as a chat model was trained to read them: the model folder's own Jinja template, then tokens.

Only the template may write control tokens: a control string inside a message stays text.
"""

import json
import os
from collections.abc import Mapping, Sequence

import jinja2
import numpy as np
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from polaris_jax import storage
from polaris_jax.data.tokenizer import Tokenizer
from polaris_jax.errors import InputError

Message = Mapping[str, str]  # {"role": ..., "content": ...}
_MARK = "\ue000\ue001"  # private-use characters that break a control string in two until it has been encoded
_PROBE = "XPROBEX"


class ChatTemplate:
    """A chat template bound to a tokenizer; ``load_chat_template`` reads one from a model folder.

    Args:
      source: the Jinja template.
      tokenizer: whose control tokens the template writes.
      variables: what the template may refer to by name (``bos_token``, ``eos_token``).

    Attributes:
      end_id: the control token that ends an assistant's message, or None if the template writes none.

    Raises:
      InputError: the template does not run.
    """

    def __init__(self, source: str, tokenizer: Tokenizer, variables: Mapping[str, str] | None = None):
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        environment.globals["raise_exception"] = _refuse
        environment.filters["tojson"] = lambda value, **how: json.dumps(value, ensure_ascii=False, **how)
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise InputError("chat_template", source[:60], f"is not a readable template ({error})") from error
        self.tokenizer, self._variables = tokenizer, dict(variables or {})
        said = self.text([{"role": "user", "content": "x"}, {"role": "assistant", "content": _PROBE}])
        after = self.tokenizer.control_pattern.search(said, said.find(_PROBE) + len(_PROBE))
        self.end_id = tokenizer.control_tokens[after[0]] if after else None

    def text(self, messages: Sequence[Message], *, add_generation_prompt: bool = False, **variables) -> str:
        """The conversation as the template writes it.

        Args:
          add_generation_prompt: ends where the assistant's next message begins.
          variables: further ones, such as ``enable_thinking``.

        Raises:
          InputError: a message without role or content, or a template that refuses the conversation.
        """
        for message in messages:
            if not isinstance(message.get("role"), str) or not isinstance(message.get("content"), str):
                raise InputError("messages", message, 'must be {"role": text, "content": text}')
        try:
            return self._template.render(messages=[dict(message) for message in messages],
                                         add_generation_prompt=add_generation_prompt, **self._variables, **variables)
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise InputError("messages", str(messages)[:60], f"the chat template says: {error}") from error

    def encode(self, messages: Sequence[Message], *, add_generation_prompt: bool = True, **variables) -> np.ndarray:
        """``text`` as token ids, int32 [n]."""
        control = self.tokenizer.control_pattern
        safe = [dict(message) | {"content": control.sub(lambda m: m[0][0] + _MARK + m[0][1:], message["content"])}
                for message in messages]
        ids: list[int] = []
        text = self.text(safe, add_generation_prompt=add_generation_prompt, **variables)
        for place, part in enumerate(control.split(text)):
            if place % 2:
                ids.append(self.tokenizer.control_tokens[part])
            else:
                for piece in part.split(_MARK):
                    ids.extend(self.tokenizer.encode(piece).tolist())
        return np.array(ids, np.int32)


def load_chat_template(
    folder: str | os.PathLike, tokenizer: Tokenizer, file: str | os.PathLike | None = None
) -> ChatTemplate:
    """The template of a model folder: ``chat_template.jinja``, or the one in ``tokenizer_config.json``.

    Args:
      folder: local or gs://.
      file: a template in the place of the folder's own.

    Raises:
      InputError: the folder has none (a base model), or ``file`` does not exist.
    """
    folder = os.fspath(folder)
    config = json.loads(storage.read(storage.join(folder, "tokenizer_config.json")) or "{}")
    content = storage.read(os.fspath(file or storage.join(folder, "chat_template.jinja")))
    if file is not None and content is None:
        raise InputError("chat_template", str(file), "cannot be read: no such file")
    source = config.get("chat_template") if content is None else content.decode("utf-8")
    if isinstance(source, list):  # several, by name
        source = next((entry["template"] for entry in source if entry["name"] == "default"), None)
    if not source:
        raise InputError("model", folder, "has no chat template; use an instruction-tuned model")
    said = {name: config.get(name) for name in ("bos_token", "eos_token")}
    return ChatTemplate(source, tokenizer, {
        name: value["content"] if isinstance(value, dict) else value for name, value in said.items() if value})


def _refuse(message: str):
    raise jinja2.TemplateError(message)
