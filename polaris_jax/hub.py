"""``hf://user/name``: a model repository of the Hugging Face Hub, as a folder of the local cache, or to write to.

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


def repository_of(address: str) -> str:
    """``user/name`` of ``hf://user/name``, the form in which a repository is written to.

    Raises:
      InputError: another address.
    """
    match = re.fullmatch(r"hf://([\w.-]+/[\w.-]+)", address)
    if match is None:
        raise InputError("DST", address, "write hf://user/name; a revision or a file cannot be written to")
    return match[1]


def upload(folder: str, address: str, *, public: bool) -> str:
    """Uploads the files of a folder in one commit; a repository that does not exist is made.

    Args:
      address: ``hf://user/name``. public: of a repository that is made here; one that exists stays as it is.

    Returns:
      The address of the commit.

    Raises:
      InputError: not logged in, no right to write, a name that the Hub refuses, or no network.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled

    repository, api = repository_of(address), HfApi()
    try:
        api.create_repo(repository, private=not public, exist_ok=True)
        return api.upload_folder(repo_id=repository, folder_path=folder, commit_message="From polaris_jax").commit_url
    except OfflineModeIsEnabled:
        advice = "HF_HUB_OFFLINE is set; unset it to write to the Hub"
    except LocalTokenNotFoundError:
        advice = "needs a token that may write; log in (hf auth login)"
    except HFValidationError:
        advice = "is no repository's name; write hf://user/name"
    except HfHubHTTPError as error:
        known = {401: "needs a token that may write; log in (hf auth login)", 403: "the token may not write there"}
        advice = known.get(error.response.status_code, f"the Hub refused it ({str(error).splitlines()[0][:100]})")
    except OSError as error:
        advice = f"cannot be uploaded ({(str(error).splitlines() or [''])[0][:100]})"
    raise InputError("DST", address, advice)
