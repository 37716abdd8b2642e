"""A server that speaks the OpenAI protocol and answers every question with a value of the schema it was given."""

import hashlib
import json
import re

from servers import Handler, Server

WORDS = ("quiet", "narrow", "patient", "sudden", "broken", "distant", "honest", "careful", "lonely", "bitter", "gentle")


def value(schema: dict, name: str, seed: int, question: str):
    """A value that satisfies the schema and differs with the seed."""
    word = WORDS[seed % len(WORDS)]
    match schema["type"]:
        case "object":
            parts = enumerate(schema["properties"].items())
            return {key: value(part, key, seed + 7 * number, question) for number, (key, part) in parts}
        case "array":
            count = max(1, schema.get("minItems", 1))
            if schema["items"]["type"] == "integer":
                return list(range(schema["items"]["minimum"], schema["items"]["minimum"] + count))
            return [value(schema["items"], name, seed + 3 * number, question) for number in range(count)]
        case "integer":
            return 40
    if name in ("highlight", "archetype"):
        return " ".join([f"It is a {word} story about people who choose {word} ways."] * 8)
    if name in ("name", "title", "focuses", "tags", "perspective"):
        return f"a {word} matter {seed % 997}"
    if name == "prompt":
        return " ".join(["please"] * int(re.search(r"(\d+) to \d+ words", question).group(1)))
    return f"somebody makes a {word} choice numbered {seed % 9973} here."


class Model(Server):
    """``broken`` says which calls (counted from 0) are answered with a server error."""

    def __init__(self):
        super().__init__(_Handler)
        self.broken = lambda number: False


class _Handler(Handler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        with self.server.lock:
            number = self.server.calls
            self.server.note(asked := json.loads(body), "")
        if self.server.broken(number):
            return self.answer(500, {"error": {"message": "broken"}})
        schema = asked["response_format"]["json_schema"]["schema"]
        seed = int(hashlib.sha256(body).hexdigest()[:6], 16)
        said = json.dumps(value(schema, "", seed, asked["messages"][-1]["content"]))
        return self.answer(
            200,
            {
                "id": "x",
                "object": "chat.completion",
                "created": 0,
                "model": "toy",
                "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}],
                "usage": {"prompt_tokens": 2000, "completion_tokens": 500, "total_tokens": 2500},
            },
        )
