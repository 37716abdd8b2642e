"""From what callers send to tokens: chats by the checkpoint's own template or a plain one, texts as they stand."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from polaris_jax import storage
from polaris_jax.data import ChatTemplate, Tokenizer, load_chat_template
from polaris_jax.trajectory import START

# For checkpoints without a template: roles and texts as a play has them. A model that goes on to speak for the user is
# stopped there.
PLAIN = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n\n{% endfor %}assistant:"
PLAIN_STOP = "\n\nuser:"


@dataclass(frozen=True)
class Prompts:
    """How a checkpoint wants to be spoken to.

    Attributes:
      template: of chats; plain: it is the fallback and not the checkpoint's own.
      bos: whether a text gets the beginning-of-text token when the caller does not say.
    """

    tokenizer: Tokenizer
    template: ChatTemplate
    plain: bool
    bos: bool

    def chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """A chat up to the head of the assistant's next message; control strings in messages stay text.

        Raises:
          InputError: the template refuses the messages.
        """
        tokens = self.template.encode(messages).tolist()
        head = [self.tokenizer.bos_id] if self.plain and self.tokenizer.bos_id is not None else []
        return head + tokens

    @property
    def chat_stops(self) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """Strings and tokens that end an answer."""
        end = self.template.end_id
        return (PLAIN_STOP,) if self.plain else (), () if end is None else (end,)

    def text(self, text: str, bos: bool | None = None) -> list[int]:
        """A text, in which control tokens go by their names. A transcript begins as it did in training, with BOS.

        Raises:
          InputError: the vocabulary cannot spell the text.
        """
        tokens = self.tokenizer.encode_control(text)
        wanted = self.bos or text.startswith(START) if bos is None else bos
        first = self.tokenizer.bos_id
        return [first, *tokens] if wanted and first is not None and tokens[:1] != [first] else tokens


def read_prompts(
    folder: str | os.PathLike, tokenizer: Tokenizer, template_file: str | os.PathLike | None = None
) -> Prompts:
    """How the checkpoint in ``folder`` (local or gs://) wants to be spoken to.

    Args:
      template_file: a chat template in the place of its own.

    Raises:
      InputError: a template that cannot be read.
    """
    folder = os.fspath(folder)
    said = json.loads(storage.read(storage.join(folder, "tokenizer_config.json")) or "{}")
    bos = said.get("add_bos_token") is not False
    own = storage.read(storage.join(folder, "chat_template.jinja")) is not None
    if template_file is not None or said.get("chat_template") or own:
        return Prompts(tokenizer, load_chat_template(folder, tokenizer, template_file), False, bos)
    return Prompts(tokenizer, ChatTemplate(PLAIN, tokenizer), True, bos)
