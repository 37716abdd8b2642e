"""A model behind HTTP whose answers a test chooses, and sound answers to its questions."""

import json

from scripted import sound
from servers import Handler, Server

from polaris_jax.llm import Request


class Model(Server):
    """Answers with ``said(body)``: ``(text, finish reason)``, perhaps log-probabilities, or a status of an error."""

    def __init__(self, said):
        super().__init__(_Handler)
        self.said = said


class _Handler(Handler):
    def do_POST(self):
        body = self.body()
        with self.server.lock:
            self.server.note(body, "")
        said = self.server.said(body)
        if isinstance(said, int):
            status, content = said, {"error": {"message": "no"}}
        else:
            message = {"role": "assistant", "content": said[0]}
            choice = {"index": 0, "finish_reason": said[1], "message": message}
            if len(said) > 2:
                choice["logprobs"] = said[2]
            usage = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}
            status, content = 200, {"model": "toy", "choices": [choice], "usage": usage}
        self.answer(status, content)


def honest(body):
    """A sound answer under the schema that was sent."""
    schema = json.dumps(body["response_format"]["json_schema"]["schema"])
    messages = tuple((message["role"], message["content"]) for message in body["messages"])
    return json.dumps(sound(Request(messages, schema=schema, seed=body.get("seed")))), "stop"
