"""Single answers: Alpaca's ``instruction``/``input``/``output``, and ``prompt``/``completion`` by its usual names."""

from polaris_jax.data.formats.chats import read_messages
from polaris_jax.data.formats.fields import Fields
from polaris_jax.data.formats.records import Chat, Message, PlainDocument, PromptCompletion
from polaris_jax.data.prompt_story import STORY_NAMES

PROMPTS = ("prompt", "question", "query", "input")
COMPLETIONS = ("completion", "response", "output", *STORY_NAMES)
# The prompt of the Stanford Alpaca models (its repository's README, "Data Release"), for a model without a chat
# template. Programs that run such models use exactly these words.
_ALPACA = (
    "Below is an instruction that describes a task{with_input}. "
    "Write a response that appropriately completes the request."
)
_WITH_INPUT = ", paired with an input that provides further context"


def read_alpaca(fields: Fields) -> Chat | PromptCompletion:
    """One Alpaca row; with ``history`` (pairs of texts) it is a conversation.

    Raises:
      InputError: names the field and what is wrong with it.
    """
    instruction, given = fields.text("instruction"), fields.text("input", empty=True)
    output, system = fields.text("output", "response"), fields.text("system", empty=True)
    prompt = f"{instruction}\n\n{given}" if given.strip() else instruction
    history = fields.get("history")
    if history:
        messages = [*_system(system), *_turns(fields, history)]
        messages += [{"role": "user", "content": prompt}, {"role": "assistant", "content": output}]
        return Chat(tuple(messages), tuple(message["role"] == "assistant" for message in messages))
    parts = [_ALPACA.format(with_input=_WITH_INPUT if given.strip() else ""), f"### Instruction:\n{instruction}"]
    parts += [f"### Input:\n{given}"] if given.strip() else []
    plain = "\n\n".join([*([system] if system.strip() else []), *parts, "### Response:\n"])
    return PromptCompletion(prompt, output, system, plain)


def _turns(fields: Fields, history: object) -> list[Message]:
    turns: list[Message] = []
    for pair in history if isinstance(history, list) else [None]:
        said = [one for one in pair if isinstance(one, str) and one.strip()] if isinstance(pair, list) else []
        if len(said) != 2 or said != pair:
            raise fields.fault("history", "must be pairs of texts, [[question, answer], ...]")
        turns += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    return turns


def read_completion(fields: Fields) -> Chat | PromptCompletion:
    """``prompt`` and ``completion`` (or response, output, story, answer, ...), as texts or as lists of messages.

    Raises:
      InputError: names the field and what is wrong with it.
    """
    answer = fields.name(*COMPLETIONS)
    system = fields.text("system", "system_prompt", empty=True)
    prompt = fields.name(*PROMPTS)
    if isinstance(fields.row.get(prompt), list):
        asked, _ = read_messages(fields, prompt)
        if isinstance(fields.row.get(answer), list):
            said, learn = read_messages(fields, answer)
        else:
            said, learn = [{"role": "assistant", "content": fields.text(answer)}], [True]
        if system.strip() and asked[0]["role"] == "system":
            raise fields.fault("system", f"is said twice: {prompt} begins with a system message too; leave one out")
        if not any(learn):
            raise fields.fault(answer, "has no turn of the assistant to learn")
        before = [*_system(system), *asked]
        return Chat((*before, *said), (*([False] * len(before)), *learn))
    return PromptCompletion(fields.text(*PROMPTS), fields.text(*COMPLETIONS), system)


def read_text(fields: Fields) -> PlainDocument:
    """A text for continued pretraining: ``text``, perhaps with a ``title``.

    Raises:
      InputError: the row has no text.
    """
    return PlainDocument(fields.text("text"), fields.text("title", empty=True))


def _system(text: str) -> list[Message]:
    return [{"role": "system", "content": text}] if text.strip() else []
