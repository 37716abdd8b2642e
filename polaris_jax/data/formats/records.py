"""What a row of any format becomes: a chat, a completion, a pair, a document or a trajectory."""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

Message: TypeAlias = dict[str, str]  # {"role", "content"}, and what else the chat template is given


@dataclass(frozen=True)
class Chat:
    """A conversation.

    Attributes:
      messages: at least one of them is the assistant's.
      learn: per message, whether it may be learned: an assistant's turn that the row does not exempt.
    """

    messages: tuple[Message, ...]
    learn: tuple[bool, ...]


@dataclass(frozen=True)
class PromptCompletion:
    """A prompt in words, and the text that answers it.

    Attributes:
      prompt: not learned. completion: learned, with the end of text after it.
      system: a system message ahead of the prompt; '' without one.
      plain_prompt: what precedes the completion where no chat template is used; '' is ``prompt`` itself.
    """

    prompt: str
    completion: str
    system: str = ""
    plain_prompt: str = ""


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt, of which the first is preferred; both have the messages of ``prompt`` before them.

    Attributes:
      plain: prompt and answers were given as texts, not as messages.
    """

    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    plain: bool = False


@dataclass(frozen=True)
class PlainDocument:
    """A text that is learned whole. ``dropped`` says in words what of the file is not in it."""

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
      unused: the row's fields that nothing is made of, with their values.
    """

    where: str
    format: str
    record: Record
    unused: dict[str, Any] = field(default_factory=dict)
