"""``hf://user/name``: a model repository of the Hugging Face Hub, as a folder of the local cache.

``huggingface_hub`` downloads what is not in the cache yet, with its own progress bars; without a network, or with
``HF_HUB_OFFLINE=1``, the cache alone answers. A revision follows an at sign: ``hf://user/name@v1``. Access tokens are
the library's matter (``HF_TOKEN``, ``hf auth login``) and are never seen here.
"""

import re
from functools import lru_cache

from polaris_jax.errors import InputError

SCHEME = "hf://"
# What a model folder is made of; other layouts of the same weights are not downloaded.
WANTED = ("*.json", "*.jinja", "*.model", "*.txt", "*.safetensors")
UNWANTED = ("consolidated*", "original/*", "*/*")


def on_disk(address: str) -> str:
    """The local folder, or file, of an ``hf://user/name[@revision][/file]``; downloads the repository if need be.

    Raises:
      InputError: no such repository or revision, no access, or neither a network nor a copy in the cache.
    """
    match = re.fullmatch(r"hf://([\w.-]+/[\w.-]+)(?:@([^/]+))?(/.*)?", address)
    if match is None:
        raise InputError("address", address, "write hf://user/name, or hf://user/name@revision")
    return _snapshot(match[1], match[2]) + (match[3] or "").rstrip("/")


@lru_cache
def _snapshot(repository: str, revision: str | None) -> str:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    shown = f"{SCHEME}{repository}" + (f"@{revision}" if revision else "")
    try:
        return snapshot_download(
            repository, revision=revision, allow_patterns=list(WANTED), ignore_patterns=list(UNWANTED)
        )
    except GatedRepoError:
        advice = "needs access; accept its terms on its page and log in (hf auth login)"
    except RepositoryNotFoundError:
        advice = "no such repository, or a private one: log in (hf auth login)"
    except RevisionNotFoundError:
        advice = "the repository has no such revision"
    except HFValidationError:
        advice = "is no repository's name; write hf://user/name"
    except LocalEntryNotFoundError:
        advice = "is not in the cache and the Hub cannot be reached; check the network, or HF_HUB_OFFLINE and HF_HOME"
    except OSError as error:
        advice = f"cannot be downloaded ({(str(error).splitlines() or [''])[0][:100]})"
    raise InputError("address", shown, advice) from None
