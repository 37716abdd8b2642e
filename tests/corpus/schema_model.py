"""A server that speaks the OpenAI protocol and answers every question with a value of the schema it was given."""

import hashlib
import json

from schema_answers import schema_answer
from servers import Handler, Server


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
        said = json.dumps(schema_answer(schema, seed, asked["messages"][-1]["content"]))
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
