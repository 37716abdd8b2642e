"""Batch mode: writes requests as files that a provider answers within a day at a lower price; caches the replies.

The format is that of OpenAI's Batch API, which vLLM and several gateways also read: one JSON object per line, with the
request's key as ``custom_id``. The user uploads and downloads the files. Then the usual client finds the replies in its
cache and makes no calls.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from polaris_jax import storage
from polaris_jax.errors import InputError
from polaris_jax.llm.cache import Cache
from polaris_jax.llm.client import read_reply
from polaris_jax.llm.failures import AttemptFailed
from polaris_jax.llm.openai_transport import OpenAITransport
from polaris_jax.llm.request import Request
from polaris_jax.llm.spec import ClientSpec
from polaris_jax.llm.usage import UsageTracker

# Limits of one file at OpenAI.
MAX_REQUESTS, MAX_BYTES = 50_000, 190_000_000
_URL = "/v1/chat/completions"


@dataclass
class BatchReplies:
    """Counts for a file of answers.

    Attributes:
      kept: replies now in the cache.
      unusable: lines without a usable answer, by kind of failure.
      unknown: lines that answer other requests.
    """

    kept: int = 0
    unusable: dict[str, int] = field(default_factory=dict)
    unknown: int = 0

    def count(self, kind: str) -> None:
        """Counts an unusable line."""
        self.unusable[kind] = self.unusable.get(kind, 0) + 1


def write_batch(requests: Sequence[Request], spec: ClientSpec, address: str | os.PathLike) -> list[str]:
    """Writes the requests that are not in the cache; returns the addresses of the files.

    Args:
      address: the first file; further files have ``.2``, ``.3``, ... before the extension.

    Raises:
      InputError: the client has no cache, its provider is not ``openai``, or a file cannot be written.
    """
    cache, transport = open_batch(spec)
    try:
        lines: dict[str, bytes] = {}
        for request in requests:
            key = request.key(spec.key_identity)
            if key not in lines and cache.read(key) is None:
                lines[key] = batch_line(key, transport, request.draw(0))
    finally:
        transport.close()
    return write_lines(list(lines.values()), address)


def batch_line(name: str, transport: OpenAITransport, request: Request) -> bytes:
    """One line of a batch file; ``name`` is its ``custom_id``."""
    row = {"custom_id": name, "method": "POST", "url": _URL, "body": transport.body(request)}
    return (json.dumps(row, ensure_ascii=False) + "\n").encode()


def write_lines(lines: Sequence[bytes], address: str | os.PathLike) -> list[str]:
    """Writes lines into as many files as the limits require (none without lines); returns their addresses.

    Args:
      address: the first file; further files have ``.2``, ``.3``, ... before the extension.
    """
    files: list[list[bytes]] = []
    size = 0
    for line in lines:
        if not files or len(files[-1]) >= MAX_REQUESTS or size + len(line) > MAX_BYTES:
            files.append([])
            size = 0
        files[-1].append(line)
        size += len(line)
    stem, extension = os.path.splitext(os.fspath(address))
    written = []
    for number, content in enumerate(files, 1):
        written.append(f"{stem}{extension}" if number == 1 else f"{stem}.{number}{extension}")
        storage.write(written[-1], b"".join(content))
    return written


def read_batch(
    address: str | os.PathLike, requests: Sequence[Request], spec: ClientSpec, usage: UsageTracker | None = None
) -> BatchReplies:
    """Puts the replies of a provider's output file into the client's cache.

    A line that failed, or whose answer is unusable, is counted and left out; the client will ask again.

    Args:
      requests: the requests that were written; lines with another ``custom_id`` are counted as unknown.
      usage: records the tokens. (Batch prices are lower: give those in the spec.)

    Raises:
      InputError: no such file, the client has no cache, or its provider is not ``openai``.
    """
    cache, transport = open_batch(spec)
    content = storage.read(os.fspath(address))
    if content is None:
        raise InputError("batch", os.fspath(address), "no such file")
    asked = {request.key(spec.key_identity): request for request in requests}
    found = BatchReplies()
    try:
        for line in content.decode("utf-8", errors="replace").split("\n"):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                key, answer = row["custom_id"], row.get("response") or {}
            except (ValueError, KeyError, TypeError, AttributeError):
                found.count("invalid_json")
                continue
            if key not in asked:
                found.unknown += 1
            elif row.get("error") or answer.get("status_code", 200) != 200:
                found.count("server")
            else:
                _keep(asked[key], key, json.dumps(answer.get("body")), found, cache, transport, spec, usage)
    finally:
        transport.close()
    return found


def _keep(
    request: Request,
    key: str,
    body: str,
    found: BatchReplies,
    cache: Cache,
    transport: OpenAITransport,
    spec: ClientSpec,
    usage: UsageTracker | None,
) -> None:
    try:
        raw = transport.read(body)
        read_reply(raw, request, attempts=1)
    except AttemptFailed as failure:
        found.count(failure.kind)
        return
    if usage is not None and cache.read(key) is None:
        with usage.call(request.purpose, raw.prompt_tokens or 0, raw.completion_tokens or 0, retry=False) as call:
            call.settle(raw.prompt_tokens, raw.completion_tokens)
    cache.write(key, spec.identity, request, raw)
    found.kept += 1


def open_batch(spec: ClientSpec) -> tuple[Cache, OpenAITransport]:
    """The cache and the transport of a client whose questions go into batches.

    Raises:
      InputError: the client has no cache, or its provider is not ``openai``.
    """
    if spec.provider != "openai":
        raise InputError("provider", spec.provider, "batch files are made for provider openai")
    if spec.cache is None:
        raise InputError("cache", None, "batch mode keeps its replies in a cache: give a place for it")
    return Cache(spec.cache), OpenAITransport(spec)
