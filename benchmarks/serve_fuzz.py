"""Thousands of bad requests against ``polaris serve``: it must answer each, go on working, and not grow.

    python benchmarks/serve_fuzz.py [CHECKPOINT] [--requests=10000] [--seed=0] [--parallel=16] \\
        [--speculate=N] [--adapters=N] [--url=http://...]

Starts a server of CHECKPOINT (default: a random model that it makes), with ``--adapters`` drawn ones beside it, unless
``--url`` names one that runs. Requests ask for any of its models. It sends raw bytes: fields of every wrong type and
size, broken JSON, broken UTF-8, nesting, hostile schemas and regular expressions, wrong methods, paths and headers,
bodies too large, requests cut off in the middle, readers that leave a stream, and some good requests between them.
Fails (exit code 1) if an answer is missing, late, not an error of OpenAI's shape or a 500, if the process ends, or if
its memory in the last quarter is on average more than ``--growth``
MiB above that in the second (the first is spent compiling for new shapes). Prints one JSON object.
"""

import argparse
import asyncio
import contextlib
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / folder) for folder in ("tests/serving", "tests")]

PATHS = ("/v1/completions", "/v1/chat/completions")
SLOW = 60.0  # seconds after which an answer counts as missing
VALUES = (
    None,
    True,
    False,
    0,
    1,
    -1,
    3,
    2**31,
    2**63,
    -(2**63),
    10**400,
    0.5,
    -0.5,
    1e308,
    "",
    "a",
    "\x00",
    "\ud800",
    "é" * 40,
    "<|eot_id|>",
    "<|start_header_id|>prompt",
    [],
    [[]],
    [None],
    [1, 2],
    [1.0, 2.0],
    2.0,
    [2**31 - 1],
    [-1],
    ["a"],
    [["a"]],
    {},
    {"a": 1},
    {"5": 1.5},
    {"4294967295": -100},
    {"messages": None, "self": [{"<|eot_id|>": "<|eot_id|>"}]},
    "none",
    ["text"],
    {"type": "json_schema"},
    {"type": "json_object"},
    "tiny",
    "x" * 5000,
)
SCHEMAS = (
    {},
    {"type": "object"},
    {"type": "nonsense"},
    {"type": 5},
    {"$ref": "#"},
    {"$ref": "http://localhost/x"},
    {"not": {}},
    {"$ref": "#/definitions/a"},
    {"type": "array", "items": {"$ref": "#"}},
    {"enum": []},
    {"enum": list(range(3000))},
    {"type": "string", "pattern": "(a+)+$"},
    {"type": "string", "pattern": "("},
    {"type": "string", "maxLength": 10**9},
    {"allOf": [{"type": "string"}, {"type": "number"}]},
    {"const": "\x7f"},
    {"type": "object", "properties": {str(i): {} for i in range(900)}},
    {"type": "array", "minItems": 10**9},
    {"anyOf": [{"minimum": i} for i in range(200)]},
    {"type": "integer", "multipleOf": 7, "minimum": 10**12},
    {"type": "object", "required": ["a"] * 50},
)
PATTERNS = (
    "",
    "(",
    "[a-",
    "a{1000000}",
    "(a{1000}){1000}",
    "((((a*)*)*)*)*",
    r"\p{Greek}+",
    "(?=x)y",
    r"\1",
    ".*",
    "[^\\x00]{5}",
    "(a|aa)+b",
    "x" * 20_000,
    "(?:" * 500 + ")" * 500,
    "[0-9]{3}",
    "é+",
    "\\",
    "(?P<n>a)",
)
FIELDS = (
    "model",
    "prompt",
    "messages",
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "n",
    "stop",
    "seed",
    "stream",
    "logprobs",
    "top_logprobs",
    "response_format",
    "regex",
    "echo",
    "stop_token_ids",
    "logit_bias",
    "repetition_penalty",
    "stream_options",
    "tools",
    "best_of",
    "suffix",
    "user",
    "functions",
    "ignore_eos",
    "min_tokens",
    "presence_penalty",
    "frequency_penalty",
    "tool_choice",
    "modalities",
    "chat_template_kwargs",
    "continue_final_message",
    "add_generation_prompt",
    "typical_p",
    "xtc_probability",
    "xtc_threshold",
    "dry_multiplier",
    "dry_base",
    "dry_allowed_length",
    "dry_penalty_last_n",
    "dry_sequence_breakers",
    "prompt_logprobs",
    "guided_grammar",
    "separate_reasoning",
)
# Fields that go together and are fine in any request that is not streamed.
FINE_FIELDS: tuple[dict[str, object], ...] = (
    {"typical_p": 0.5},
    {"xtc_probability": 0.5, "xtc_threshold": 0.05},
    {"dry_multiplier": 0.8, "dry_sequence_breakers": ["\n"]},
    {"prompt_logprobs": 1},
    {"guided_grammar": 'start: "high" | "low" /[a-z]{1,5}/'},
)


class Fuzz:
    """Draws requests as raw bytes; the same seed draws the same ones."""

    def __init__(self, seed: int, models: list[str]):
        self._rng = random.Random(seed)
        self._models = models
        self._draws = (
            (self.one_wrong_field, 40),
            (self.wrong_body, 14),
            (self.hostile_constraint, 10),
            (self.wrong_http, 12),
            (self.cut_off, 8),
            (self.fine, 10),
            (self.mutated, 12),
            (self.too_large, 1),
        )

    def draw(self) -> tuple[str, bytes, str]:
        """``(name, bytes to send, how the sender behaves)``: it reads, leaves, or hangs up without reading."""
        draw = self._rng.choices([draw for draw, _ in self._draws], [weight for _, weight in self._draws])[0]
        raw, manner = draw()
        return draw.__name__, raw, manner

    def fine_body(self) -> tuple[str, dict]:
        path = self._rng.choice(PATHS)
        body = {
            "model": self._rng.choice(self._models),
            "max_tokens": self._rng.randint(1, 6),
            "seed": self._rng.randint(0, 9),
        }
        if path == PATHS[0]:
            body["prompt"] = self._rng.choice(["The fog", [5, 6, 7], ["a", "b"], "é"])
        else:
            body["messages"] = [{"role": "user", "content": "Hello"}]
        for name, value in (
            ("stream", True),
            ("temperature", 0),
            ("top_p", 0.9),
            ("n", 2),
            ("stop", "e"),
            ("stream_options", {"include_usage": True}),
        ):
            if self._rng.random() < 0.2:
                body[name] = value
        if self._rng.random() < 0.2:
            body["logprobs"] = 2 if path == PATHS[0] else True
        if not body.get("stream") and self._rng.random() < 0.3:
            body |= self._rng.choice(FINE_FIELDS)
        if path == PATHS[0] and self._rng.random() < 0.1:
            body |= {"echo": True, "logprobs": 1, "max_tokens": self._rng.randint(0, 4)}
        return path, body

    def fine(self) -> tuple[bytes, str]:
        path, body = self.fine_body()
        return post(path, json.dumps(body).encode()), self._rng.choice(["reads", "reads", "leaves"])

    def one_wrong_field(self) -> tuple[bytes, str]:
        path, body = self.fine_body()
        for _ in range(self._rng.randint(1, 3)):
            body[self._rng.choice(FIELDS)] = self._rng.choice(VALUES)
        if path == PATHS[1] and self._rng.random() < 0.3:
            body["messages"] = [
                self._rng.choice(
                    [
                        *VALUES,
                        {"role": "user"},
                        {"role": "x", "content": "y"},
                        {"role": "user", "content": self._rng.choice(VALUES)},
                    ]
                )
            ]
        return post(path, json.dumps(body).encode("utf-8", "surrogatepass")), "reads"

    def mutated(self) -> tuple[bytes, str]:
        path, body = self.fine_body()
        raw = bytearray(json.dumps(body).encode())
        for _ in range(self._rng.randint(1, 8)):
            at = self._rng.randrange(len(raw))
            raw[at : at + self._rng.randint(0, 3)] = self._rng.randbytes(self._rng.randint(0, 3))
        return post(path, bytes(raw)), "reads"

    def wrong_body(self) -> tuple[bytes, str]:
        raw = self._rng.choice(
            [
                b"",
                b"{",
                b"[]",
                b"null",
                b"1",
                b'"a"',
                b"NaN",
                b'{"a": Infinity}',
                b"[" * 50_000,
                b'{"a":' * 20_000,
                b"\xff\xfe",
                b'{"prompt": "\xc3"}',
                b'{"prompt": "\\ud800"}',
                b"{}",
                b'{"model": 1e999}',
                b"9" * 5000,
                self._rng.randbytes(200),
                b'{"model": "x", "model": "y"}',
            ]
        )
        return post(self._rng.choice(PATHS), raw), "reads"

    def hostile_constraint(self) -> tuple[bytes, str]:
        path, body = self.fine_body()
        body["max_tokens"] = 8
        if self._rng.random() < 0.5:
            body["regex"] = self._rng.choice(PATTERNS)
        else:
            schema = {"name": "a", "schema": self._rng.choice(SCHEMAS)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return post(path, json.dumps(body).encode()), "reads"

    def wrong_http(self) -> tuple[bytes, str]:
        path, good = self._rng.choice(PATHS), b'{"model": "x", "prompt": "y"}'
        return self._rng.choice(
            [
                post(path, good, content_type="text/plain"),
                post(path, good, content_type=""),
                post("/v1/nothing", good),
                post("/" + "a" * 9000, good),
                b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % path.encode(),
                post(path, good).replace(b"POST", b"DELETE"),
                post(path, good).replace(b"Host: localhost", b"Host: example.org"),
                b"\x16\x03\x01\x02\x00",
                post(path, good).replace(b"HTTP/1.1", b"HTTP/9.9"),
                self._rng.randbytes(100) + b"\r\n\r\n",
                b"GET /v1/models/%ff%00 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                post(path, good).replace(b"Content-Length: ", b"Content-Length: -"),
                post(path, good).replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n", 1),
                post(path, good).replace(b"\r\n\r\n", b"\r\nX: " + b"y" * 200_000 + b"\r\n\r\n", 1),
            ]
        ), "reads"

    def cut_off(self) -> tuple[bytes, str]:
        path, body = self.fine_body()
        raw = post(path, json.dumps(body).encode())
        return raw[: self._rng.randrange(1, len(raw))], "hangs up"

    def too_large(self) -> tuple[bytes, str]:
        return post(self._rng.choice(PATHS), b'{"prompt": "' + b"a" * (9 << 20) + b'"}'), "reads"


def post(path: str, body: bytes, content_type: str = "application/json") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body


async def send(host: str, port: int, raw: bytes, manner: str) -> tuple[int, bytes]:
    """``(status, body)``; status 0 when the connection is closed without an answer."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(raw)
        if manner == "hangs up":
            return 0, b""
        if manner == "leaves":
            return 0, await reader.read(40)
        answer = b""
        with contextlib.suppress(ConnectionError):  # refused before all was sent: the answer is there
            await writer.drain()
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(1 << 16):
                answer += piece
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return (int(head.split(b" ", 2)[1]) if head.startswith(b"HTTP/1.1 ") else 0), body


def complaint(name: str, manner: str, status: int, body: bytes) -> str | None:
    """What is wrong with an answer, or None."""
    if manner != "reads" or (name == "wrong_http" and status in (0, 400)):
        return None  # what is no HTTP is answered by the HTTP library, in plain text
    if status == 0:
        return "no answer"
    if status >= 500 and status != 503:
        return f"status {status}"
    if status == 200:
        return None if name != "wrong_body" else "accepted"
    try:
        error = json.loads(body)["error"]
        return None if error["message"] and set(error) == {"message", "type", "param", "code"} else "shape of the error"
    except (ValueError, KeyError, TypeError):
        return None if status == 400 and body.startswith(b"Invalid host header") else f"no error object ({status})"


def memory(process: int) -> float:
    """Resident MiB of a process."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


async def run(arguments, url: str, process: int | None) -> dict:
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    models = [one["id"] for one in json.loads((await reader.read()).partition(b"\r\n\r\n")[2])["data"]]
    writer.close()
    fuzz, found, statuses, seconds, sizes = Fuzz(arguments.seed, models), [], Counter(), [], []
    left = iter(range(arguments.requests))

    async def work() -> None:
        for number in left:
            if process and number % max(arguments.requests // 20, 1) == 0:
                sizes.append(memory(process))
            name, raw, manner = fuzz.draw()
            started = time.perf_counter()
            try:
                async with asyncio.timeout(SLOW):
                    status, body = await send(address.hostname, address.port, raw, manner)
                wrong = complaint(name, manner, status, body)
            except TimeoutError:
                status, body, wrong = -1, b"", f"nothing within {SLOW:g} s"
            except OSError as error:
                status, body, wrong = -2, b"", f"cannot connect: {error}"
            seconds.append(time.perf_counter() - started)
            statuses[status] += 1
            if wrong and len(found) < 20:
                found.append([f"{number}: {name}", wrong, raw[:300].decode("latin-1"), body[:200].decode("latin-1")])

    await asyncio.gather(*(work() for _ in range(arguments.parallel)))
    status, body = await send(
        address.hostname,
        address.port,
        post(PATHS[0], json.dumps({"model": models[0], "prompt": "a", "seed": 1}).encode()),
        "reads",
    )
    if status != 200:
        found.append(["afterwards", f"status {status}", "", body[:300].decode("latin-1")])
    if process:
        sizes.append(memory(process))
    quarter = max(len(sizes) // 4, 1)
    growth = statistics.mean(sizes[-quarter:]) - statistics.mean(sizes[quarter : 2 * quarter]) if process else 0.0
    if growth > arguments.growth:
        found.append(["memory", f"grew by {growth:.0f} MiB", "", ""])
    return {
        "requests": sum(statuses.values()),
        "statuses": {str(k): n for k, n in sorted(statuses.items())},
        "median_ms": round(1000 * statistics.median(seconds), 2),
        "slowest_s": round(max(seconds), 2),
        "memory_mib": [round(size) for size in sizes[:: max(len(sizes) // 6, 1)]],
        "growth_mib": round(growth, 1),
        "wrong": found,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?")
    parser.add_argument("--url")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--parallel", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--speculate", type=int, default=0, help="the server's flag of that name")
    parser.add_argument("--adapters", type=int, default=0, help="LoRA adapters to draw and to serve beside the model")
    parser.add_argument("--growth", type=float, default=128.0, metavar="MIB")
    arguments = parser.parse_args()
    from serving_process import running, small_checkpoint
    from small_adapters import drawn_adapter

    from polaris_jax.models.lora import Lora
    from polaris_jax.models.model_folder import find_model_folder

    if arguments.url:
        result = asyncio.run(run(arguments, arguments.url, None))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            checkpoint = arguments.checkpoint or small_checkpoint(Path(scratch) / "model")
            flags = ["--window=1024", "--max-tokens=64", f"--speculate={arguments.speculate}"]
            config = find_model_folder(checkpoint).config
            for seed in range(arguments.adapters):
                folder = drawn_adapter(config, Lora(4, 6.0), checkpoint, Path(scratch) / f"adapter{seed}", seed=seed)
                flags += ["--adapter", f"adapter{seed}={folder}"]
            with running(checkpoint, *flags) as server:
                result = asyncio.run(run(arguments, server.url, server.process.pid))
                alive = server.process.poll() is None
                server.process.terminate()
                ended = server.process.wait(60)
        result |= {"alive": alive, "exit_code": ended}
    print(json.dumps(result, indent=1))
    return 1 if result["wrong"] or not result.get("alive", True) else 0


if __name__ == "__main__":
    sys.exit(main())
