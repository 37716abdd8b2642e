"""The sampling options that a release recommends in ``generation_config.json``, for requests that leave them out."""

import os
from typing import Any

import jsonschema

from polaris_jax import storage
from polaris_jax.errors import InputError
from polaris_jax.serving.schema import COMMON

FILE = "generation_config.json"
FIELDS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


def sampling_defaults(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Fields of a request by name, with the values that the model folder (local or gs://) recommends.

    A file that says ``do_sample: false`` recommends greedy decoding, whatever else it says.

    Raises:
      InputError: a value is not allowed in a request.
    """
    settings = storage.read_json(storage.join(os.fspath(folder), FILE)) or {}
    if settings.get("do_sample") is False:
        return {"temperature": 0.0}
    found = {name: settings[name] for name in FIELDS if settings.get(name) is not None}
    for name, value in found.items():
        if not jsonschema.Draft202012Validator(COMMON[name]).is_valid(value):
            raise InputError(f"{FILE}: {name}", value, "is no value that a request may have; correct the file")
    return found
