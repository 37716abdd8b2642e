"""A client whose answers a test chooses, and a novel small enough to read in the test.

``Scripted`` speaks the client's protocol; a rule sees the request and answers with a JSON value, a failure, or None
for a sound answer made from the schema. The real model is asked elsewhere (``test_llm_server.py``).
"""

import json
import re
from collections import Counter

from polaris_jax.library.novel import Novel, NovelChapter
from polaris_jax.llm import CallFailed, Reply

_WORDS = (
    "quiet",
    "narrow",
    "patient",
    "sudden",
    "broken",
    "distant",
    "honest",
    "careful",
    "lonely",
    "bitter",
    "gentle",
    "hidden",
    "older",
    "wiser",
    "slower",
    "darker",
    "softer",
    "colder",
    "warmer",
    "brighter",
)


class Scripted:
    """A client that answers from ``rule(request)`` and remembers every answer, as a cache does.

    Attributes:
      asked: requests that were not in the cache, in order.
      allowed: further calls before ``stop`` is raised; None for no end.
    """

    identity = "test/script"

    def __init__(self, rule=lambda request: None, allowed=None, stop=None):
        self.rule, self.allowed, self.stop = rule, allowed, stop
        self.asked, self.cache, self.closed = [], {}, False

    def ask(self, request):
        (reply,) = self.ask_all([request])
        if isinstance(reply, CallFailed):
            raise reply
        return reply

    def ask_all(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        key = request.key(self.identity)
        if key not in self.cache:
            if self.allowed is not None:
                if not self.allowed:
                    raise self.stop
                self.allowed -= 1
            self.asked.append(request)
            said = self.rule(request)
            if isinstance(said, CallFailed):
                return said
            data = sound(request) if said is None else said
            self.cache[key] = Reply(json.dumps(data), data, "script", 1, 1, False, 1)
        return self.cache[key]

    def close(self):
        self.closed = True

    @property
    def purposes(self):
        return Counter(request.purpose for request in self.asked)


def sound(request):
    """An answer inside every limit, without names, that differs between requests and between bullets."""
    mark = int(request.key("")[:8], 16)
    return _value(json.loads(request.schema), "", mark, Counter(), request.messages[1][1])


def _value(schema, key, mark, used, asked):
    used[key] += 1
    word = _WORDS[(mark + used[key]) % len(_WORDS)]
    if schema["type"] == "object":
        return {name: _value(part, name, mark, used, asked) for name, part in schema["properties"].items()}
    if schema["type"] == "integer":
        return 40
    if schema["type"] == "array":
        if schema["items"]["type"] == "integer":
            return [schema["items"]["minimum"]] if schema["minItems"] < 2 else [40] * schema["minItems"]
        return [_value(schema["items"], key, mark, used, asked) for _ in range(max(1, schema["minItems"]))]
    if key in ("highlight", "archetype"):
        return " ".join([f"It is a {word} story about people who choose {word} ways."] * 8)
    if key == "prompt":
        least = int(re.search(r"(\d+) to \d+ words", asked).group(1))
        return " ".join(["please"] * max(3, least))
    if key in ("name", "title", "focuses", "tags", "perspective"):
        return f"a {word} matter {used[key]} {mark % 997}"
    return f"somebody makes a {word} choice numbered {used[key]} of {mark}."


def words_of(name, place, count):
    """Paragraphs of plain narration about ``name``, about ``count`` words, no sentence twice."""
    verbs = ["carried", "counted", "lifted", "folded", "opened", "followed", "washed", "mended", "painted", "measured"]
    things = ["lantern", "ledger", "basket", "kettle", "ladder", "letter", "bucket", "shutter", "candle", "barrel"]
    paragraphs, made = [], 0
    for number in range(1000):
        if made >= count:
            break
        verb, thing, other = verbs[number % 10], things[(number * 3) % 10], things[(number * 7 + 1) % 10]
        text = (
            f"{name} {verb} the {thing} to the {place} on day {number} while the {other} stood near the door. "
            f"Nobody asked why {name} had {verb} it, and the rain went on until the evening of that day."
        )
        paragraphs.append(text)
        made += len(text.split())
    return "\n\n".join(paragraphs)


def novel_of(*texts, title="The Grey Ladder", author="Nobody", breaks=()):
    """A novel of these chapters; ``breaks`` maps a chapter to paragraph numbers that open a scene explicitly."""
    chapters = []
    for index, text in enumerate(texts):
        paragraphs, scenes = text.split("\n\n"), [[]]
        for number, paragraph in enumerate(paragraphs):
            if number and number in dict(breaks).get(index, ()):
                scenes.append([])
            scenes[-1].append(paragraph)
        parts = ["\n\n".join(scene) + "\n\n" for scene in scenes]
        parts[-1] = parts[-1].removesuffix("\n\n")
        chapters.append(NovelChapter(f"Chapter {index + 1}", "chapter", None, index + 1, text, tuple(parts)))
    return Novel("test.txt", title, author, "en", "utf-8", True, "", "chapters", tuple(chapters))
