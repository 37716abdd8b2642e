"""The records that rows of any format become: chats, completions, pairs, documents and trajectories."""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

Message: TypeAlias = dict[str, str]  # {"role", "content"}, and other keys for the chat template


@dataclass(frozen=True)
class Chat:
    """A conversation.

    Attributes:
      messages: at least one is from the assistant.
      learn: per message, whether it may be learned: true for the assistant's turns, unless the row exempts one.
    """

    messages: tuple[Message, ...]
    learn: tuple[bool, ...]


@dataclass(frozen=True)
class PromptCompletion:
    """A prompt as plain text, and the text that answers it.

    Attributes:
      prompt: not learned. completion: learned, with the end of text after it.
      system: a system message ahead of the prompt; '' without one.
      plain_prompt: the text before the completion when no chat template is used; '' means ``prompt`` itself.
    """

    prompt: str
    completion: str
    system: str = ""
    plain_prompt: str = ""


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt, the first one preferred. The messages of ``prompt`` precede both.

    Attributes:
      plain: prompt and answers were given as texts, not as messages.
    """

    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    plain: bool = False


@dataclass(frozen=True)
class PlainDocument:
    """A text that is learned whole. ``dropped`` describes the parts of the file that are not in it."""

    text: str
    title: str = ""
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Transcript:
    """A trajectory in the stage language."""

    text: str


Record: TypeAlias = Chat | PromptCompletion | Pair | PlainDocument | Transcript


@dataclass(frozen=True)
class Row:
    """A record and where it stands.

    Attributes:
      where: ``file:line``, ``file row N`` of Parquet, or the file of a document.
      unused: the row's fields that are not used, with their values.
    """

    where: str
    format: str
    record: Record
    unused: dict[str, Any] = field(default_factory=dict)
