"""Preference pairs: ``prompt``, ``chosen`` and ``rejected`` as texts or lists of messages.

``prompt`` may be missing when both answers are whole conversations that begin alike, or when ``conversations`` holds
the messages before them. ``system`` and ``question`` are read too, as in published pair files. Files of the Gutenberg
kind (``prompt``, ``chosen``, ``rejected``, ``rejected_model``, ...) have the first form.
"""

from polaris_jax.data.formats.chats import LISTS, read_messages
from polaris_jax.data.formats.fields import Fields
from polaris_jax.data.formats.records import Message, Pair

PROMPTS = ("prompt", "question", "instruction")


def read_pair(fields: Fields) -> Pair:
    """Reads one pair.

    Raises:
      InputError: names the field and what is wrong with it; also for two equal answers.
    """
    system = fields.text("system", "system_prompt", empty=True)
    name = fields.name(*PROMPTS)
    asked = fields.row.get(name)
    plain = not isinstance(asked, list)
    prompt: list[Message] = []
    if isinstance(asked, list):
        prompt, _ = read_messages(fields, name)
    elif asked is not None:
        given = fields.text("input", empty=True) if name == "instruction" else ""
        text = fields.text(name)
        prompt = [{"role": "user", "content": f"{text}\n\n{given}" if given.strip() else text}]
    elif fields.has(*LISTS) and not isinstance(fields.row.get("chosen"), list):
        prompt, plain = read_messages(fields, fields.name(*LISTS))[0], False
    sides = []
    for side in ("chosen", "rejected"):
        if isinstance(fields.row.get(side), list | dict):
            sides.append(read_messages(fields, side)[0])
            plain = False
        elif not prompt:
            raise fields.fault("prompt", "is needed, as text or as a list of messages")
        else:
            sides.append([{"role": "assistant", "content": fields.text(side)}])
    chosen, rejected = sides
    shared = 0
    while shared < min(len(chosen), len(rejected)) and chosen[shared] == rejected[shared]:
        shared += 1
    if not prompt:
        prompt = chosen[:shared]
    repeated = next((n for n in (len(prompt), 1) if n and chosen[:n] == prompt[-n:] and rejected[:n] == prompt[-n:]), 0)
    chosen, rejected = chosen[repeated:], rejected[repeated:]
    if not prompt:
        raise fields.fault("prompt", "is needed: chosen and rejected do not begin with the same message")
    if chosen == rejected:
        raise fields.fault("rejected", "is the chosen answer again; a pair of equal answers teaches nothing")
    for side, answer in (("chosen", chosen), ("rejected", rejected)):
        if not any(message["role"] == "assistant" for message in answer):
            raise fields.fault(side, "has no turn of the assistant after the prompt")
    if system.strip():
        if prompt[0]["role"] == "system":
            raise fields.fault("system", "is said twice: the prompt begins with a system message too; leave one out")
        prompt = [{"role": "system", "content": system}, *prompt]
    return Pair(tuple(prompt), tuple(chosen), tuple(rejected), plain)
