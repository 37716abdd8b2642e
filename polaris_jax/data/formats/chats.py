"""Chats: ``messages`` (role, content; the form of OpenAI and ChatML) and ShareGPT's ``conversations`` (from, value)."""

from polaris_jax.data.formats.fields import Fields
from polaris_jax.data.formats.records import Chat, Message

_ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "chatgpt", "bing", "bard"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation", "function_response"), "tool"),
}
_KNOWN = "system, user (human), assistant (gpt) or tool"
LISTS = ("messages", "conversations", "conversation")


def read_chat(fields: Fields) -> Chat:
    """A row with a list of messages, in either spelling.

    Raises:
      InputError: names the message and what is wrong with it.
    """
    name = fields.name(*LISTS)
    messages, learn = read_messages(fields, name)
    system = fields.text("system", "system_prompt", empty=True)
    if system.strip():
        if messages[0]["role"] == "system":
            raise fields.fault("system", f"is said twice: {name} begins with a system message too; leave one out")
        messages, learn = [{"role": "system", "content": system}, *messages], [False, *learn]
    if fields.has("tools", "functions") and fields.get("tools", "functions"):
        raise fields.fault(fields.name("tools", "functions"), "tools are not trained on; take them out")
    if not any(learn):
        advice = "has no turn of the assistant to learn" + _weighted(messages)
        raise fields.fault(name, advice)
    return Chat(tuple(messages), tuple(learn))


def _weighted(messages: list[Message]) -> str:
    return ": all have weight 0" if any(one["role"] == "assistant" for one in messages) else ""


def read_messages(fields: Fields, name: str) -> tuple[list[Message], list[bool]]:
    """The messages of a list, and which of them may be learned.

    A message without text is refused; only an empty system message is allowed, and ignored.
    """
    messages: list[Message] = []
    learn: list[bool] = []
    for item in fields.items(name):
        message, learned = _read_message(item)
        if message["role"] != "system" or message["content"].strip():
            messages.append(message)
            learn.append(learned)
    if not messages:
        raise fields.fault(name, "has no message with text")
    return messages, learn


def _read_message(item: Fields) -> tuple[Message, bool]:
    said = item.get("role", "from")
    role = _ROLES.get(str(said).strip().lower())
    if role is None:
        name = item.name("role", "from")
        raise item.fault(name, f"who speaks? Use {_KNOWN}")
    content = item.get("content", "value")
    if isinstance(content, list):
        content = _joined(item, content)
    name = item.name("content", "value")
    if not isinstance(content, str):
        raise item.fault(name, "must be text")
    if not content.strip() and role != "system":
        raise item.fault(name, f"the message of the {role} is empty; write it, or take the row out")
    weight = item.get("weight")
    if weight not in (None, 0, 1) or isinstance(weight, bool):
        raise item.fault("weight", "is 0 (not learned) or 1")
    message = {"role": role, "content": content}
    for extra in ("reasoning_content", "thinking"):
        if item.has(extra):
            message[extra] = item.text(extra)
    if left := item.unused():
        name = next(iter(left))
        raise item.fault(name, "is a field of a message that nothing is made of; take it out, or put it into the text")
    return message, role == "assistant" and weight != 0


def _joined(item: Fields, parts: list) -> str:
    """Joins the text of content in parts, ``[{"type": "text", "text": ...}]``."""
    name = item.name("content", "value")
    for part in parts:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise item.fault(name, 'only parts of text are read, {"type": "text", "text": ...}; there are others')
    return "".join(part["text"] for part in parts)
