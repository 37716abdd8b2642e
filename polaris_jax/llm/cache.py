"""Keeps replies on disk or in a bucket: one JSON file per request, named by the request's key.

    CACHE/ab/cd/abcd…ef.json    {"format", "key", "identity", "request", "reply", "checksum"}

TensorStore's key-value stores write a file whole or not at all, locally and on Cloud Storage alike, so any number of
threads, processes and machines may share a cache. A file that is damaged, or whose content does not match its name,
counts as absent and is written again.
"""

import hashlib
import json
import os
from dataclasses import asdict
from typing import Any

import tensorstore as ts

from polaris_jax.errors import InputError
from polaris_jax.llm.request import Request
from polaris_jax.llm.transport import RawReply
from polaris_jax.storage import brief, kvstore

FORMAT = "polaris-llm-reply-1"


class Cache:
    """Keeps replies at a local folder or ``gs://bucket/prefix``; thread-safe.

    Raises:
      InputError: the place cannot be opened.
    """

    def __init__(self, place: str | os.PathLike):
        self.place = os.fspath(place)
        try:
            self._store = ts.KvStore.open(kvstore(self.place)).result()
        except ValueError as error:
            raise InputError("cache", self.place, f"cannot be opened: {brief(error)}") from None

    def read(self, key: str) -> RawReply | None:
        """The reply kept under ``key``, or None.

        Raises:
          InputError: the place cannot be read.
        """
        try:
            found = self._store.read(_name(key)).result()
        except ValueError as error:
            raise InputError("cache", self.place, f"cannot be read: {brief(error)}") from None
        if found.state != "value":
            return None
        try:
            content = json.loads(found.value)
            checksum = content.pop("checksum")
            if checksum != _checksum(content) or content["key"] != key or content["format"] != FORMAT:
                return None
            logprobs = content["reply"].pop("logprobs", ())  # replies of earlier versions have none
            tokens = tuple((token, tuple((one, chance) for one, chance in found)) for token, found in logprobs)
            return RawReply(**content["reply"], logprobs=tokens)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def write(self, key: str, identity: str, request: Request, reply: RawReply) -> None:
        """Keeps a reply with its request.

        Raises:
          InputError: the place cannot be written.
        """
        content: dict[str, Any] = {
            "format": FORMAT,
            "key": key,
            "identity": identity,
            "request": asdict(request),
            "reply": asdict(reply),
        }
        # A round trip through JSON, so that the checksum covers exactly what a reader will see.
        content = json.loads(json.dumps(content))
        content["checksum"] = _checksum(content)
        try:
            self._store.write(_name(key), json.dumps(content, indent=1, ensure_ascii=False).encode()).result()
        except ValueError as error:
            raise InputError("cache", self.place, f"cannot be written: {brief(error)}") from None


def _name(key: str) -> str:
    return f"{key[:2]}/{key[2:4]}/{key}.json"


def _checksum(content: dict) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
