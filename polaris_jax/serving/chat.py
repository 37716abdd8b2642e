"""Encodes prompts: chats with the checkpoint's own template or a plain one, texts without a template."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polaris_jax import storage
from polaris_jax.data import ChatTemplate, Tokenizer, load_chat_template
from polaris_jax.errors import InputError
from polaris_jax.serving.reasoning import ReasoningSplitter, find_tags
from polaris_jax.trajectory import START

# For checkpoints without a template: roles and texts as in a play. A model that begins the user's turn is stopped.
PLAIN = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
PLAIN_STOP = "\n\nuser:"
PROMPT_TAIL = 16  # last tokens of a prompt, in which a template may open the thoughts
_FIELDS = frozenset(("messages", "add_generation_prompt", "continue_final_message", "self"))


@dataclass(frozen=True)
class PromptEncoder:
    """Turns chats and texts into the tokens that a checkpoint expects.

    Attributes:
      template: the chat template; plain: whether it is the fallback instead of the checkpoint's own.
      bos: whether a text gets the beginning-of-text token by default.
      thought_tags: what opens and closes the model's thoughts; None when it has none.
    """

    tokenizer: Tokenizer
    template: ChatTemplate
    plain: bool
    bos: bool
    thought_tags: tuple[str, str] | None = None

    def chat(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        continue_final_message: bool = False,
        add_generation_prompt: bool | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> list[int]:
        """Tokens of a chat up to the head of the assistant's next message; control strings in messages stay text.

        Args:
          continue_final_message: stop at the end of the last message's content instead.
          add_generation_prompt: whether to add the head; default: yes, unless the last message is continued.
          variables: further variables of the template.

        Raises:
          InputError: the template refuses the messages or a variable.
        """
        if taken := sorted(_FIELDS & (variables or {}).keys()):
            raise InputError("chat_template_kwargs", taken[0], "is a field of the request itself")
        tokens = self.template.encode(
            messages,
            continue_final_message=continue_final_message,
            add_generation_prompt=not continue_final_message
            if add_generation_prompt is None
            else add_generation_prompt,
            **(variables or {}),
        ).tolist()
        head = [self.tokenizer.bos_id] if self.plain and self.tokenizer.bos_id is not None else []
        return head + tokens

    def splitter(self, prompt: Sequence[int]) -> ReasoningSplitter | None:
        """How the reply to a chat's ``prompt`` is split into thoughts and answer; None: the model has no thoughts."""
        if self.thought_tags is None:
            return None
        begun = self.tokenizer.decode(prompt[-PROMPT_TAIL:]).rstrip().endswith(self.thought_tags[0])
        return ReasoningSplitter(self.thought_tags, begun)

    @property
    def chat_stops(self) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """Strings and tokens that end the assistant's message."""
        end = self.template.end_id
        return (PLAIN_STOP,) if self.plain else (), () if end is None else (end,)

    def text(self, text: str, bos: bool | None = None) -> list[int]:
        """Tokens of a text, which may name control tokens. A transcript begins with BOS, as in training.

        Raises:
          InputError: the vocabulary cannot spell the text.
        """
        tokens = self.tokenizer.encode_control(text)
        wanted = self.bos or text.startswith(START) if bos is None else bos
        first = self.tokenizer.bos_id
        return [first, *tokens] if wanted and first is not None and tokens[:1] != [first] else tokens


def load_prompt_encoder(
    folder: str | os.PathLike, tokenizer: Tokenizer, template_file: str | os.PathLike | None = None
) -> PromptEncoder:
    """The encoder of the checkpoint in ``folder`` (local or gs://).

    Args:
      template_file: a chat template that replaces its own.

    Raises:
      InputError: a template that cannot be read.
    """
    folder = os.fspath(folder)
    settings = json.loads(storage.read(storage.join(folder, "tokenizer_config.json")) or "{}")
    bos = settings.get("add_bos_token") is not False
    own = storage.read(storage.join(folder, "chat_template.jinja")) is not None
    if template_file is not None or settings.get("chat_template") or own:
        template = load_chat_template(folder, tokenizer, template_file)
        return PromptEncoder(tokenizer, template, False, bos, find_tags(template.source))
    return PromptEncoder(tokenizer, ChatTemplate(PLAIN, tokenizer), True, bos)
