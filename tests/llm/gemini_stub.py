"""A server that speaks the REST shape of Gemini's ``generateContent``, with no model behind it."""

import socket

from servers import Handler, Server


def generated(text, finish="STOP", thoughts=0):
    """A ``generateContent`` response as the Gemini API sends it."""
    parts = [{"text": "hm", "thought": True}, {"text": text}] if thoughts else [{"text": text}]
    return {
        "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": finish, "index": 0}],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "thoughtsTokenCount": thoughts},
        "modelVersion": "gemini-test-001",
    }


def error(status, message, *details):
    """An error body of Google's APIs."""
    return status, {"error": {"code": status, "message": message, "status": "ERROR", "details": list(details)}}


ANSWERS = {
    "429": error(429, "quota", {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.7s"}),
    "500": error(500, "internal"),
    "bad schema": error(400, "schema too deep"),
    "garbage": (200, b'{"candidates": [{"con'),
    "empty": (200, {"candidates": [], "usageMetadata": {"promptTokenCount": 10}}),
    "no parts": (200, {"candidates": [{"content": {"role": "model"}, "finishReason": "STOP"}]}),
    "cut JSON": (200, generated('{"mood": "ca', finish="MAX_TOKENS")),
    "breaks the schema": (200, generated('{"mood": "green"}')),
    "unsafe": (200, {"candidates": [{"finishReason": "SAFETY"}]}),
    "blocked": (200, {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}),
}


class GeminiStub(Server):
    """Answers with ``faults`` in order, one per call, then always with ``always``: names of ``ANSWERS`` or bodies."""

    def __init__(self):
        super().__init__(_GeminiHandler)
        self.faults, self.always, self.paths = [], None, []

    @property
    def base_url(self):
        return self.address


class _GeminiHandler(Handler):
    def do_POST(self):
        server, body = self.server, self.body()
        with server.lock:
            server.note(body, self.headers["x-goog-api-key"])
            server.paths.append(self.path)
            fault = server.faults.pop(0) if server.faults else server.always
        if fault == "hang":
            server.closing.wait(30)
        elif fault == "cut":
            self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{")
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
        elif fault == "echo the key":
            reason = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
            self.answer(*error(400, f"API key {self.headers['x-goog-api-key']} not valid", reason))
        elif isinstance(fault, dict):
            self.answer(200, fault)
        else:
            self.answer(*ANSWERS[fault])
