"""What is there and what is missing on this machine, before a run finds out: ``polaris doctor``.

Every check returns findings and changes nothing. Libraries are looked up by their metadata, not imported; JAX is asked
for its devices, and Google Cloud for the bucket, only when the caller wants it.
"""

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement

from polaris_jax import __version__
from polaris_jax.errors import InputError

PACKAGE = "polaris-jax"
# What a run asks of its bucket: TensorStore and Orbax list, read, write, replace and delete objects.
PERMISSIONS = (
    "storage.objects.list",
    "storage.objects.get",
    "storage.objects.create",
    "storage.objects.delete",
)
State = Literal["ok", "absent", "problem"]


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
      what: the thing looked at. state: ``absent`` is an option that is not installed, ``problem`` stops some verb.
      found: what is there. advice: what to do, "" where there is nothing to do.
    """

    what: str
    state: State
    found: str
    advice: str = ""

    def to_json(self) -> dict[str, str]:
        """As a row of ``polaris doctor --json``."""
        return asdict(self)


def examine(bucket: str | None = None) -> list[Finding]:
    """Every check, in the order of the report.

    Args:
      bucket: ``gs://bucket/prefix`` that a run is to use, or None.

    Raises:
      InputError: ``bucket`` is no such address.
    """
    if bucket is not None and not (bucket.startswith("gs://") and bucket.removeprefix("gs://").strip("/")):
        raise InputError("--bucket", bucket, "give gs://bucket or gs://bucket/prefix")
    findings = [*_python(), *_libraries(), *_devices(), *_machine(), *_credentials()]
    return findings if bucket is None else [*findings, *_bucket(bucket)]


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    old = sys.version_info < (3, 11)
    yield Finding("Python", "problem" if old else "ok", version, "use 3.11 or newer" if old else "")
    yield Finding("polaris_jax", "ok", f"{__version__} in {Path(__file__).parent}")


def _libraries() -> Iterator[Finding]:
    """Required libraries one by one where something is wrong, extras as a whole."""
    try:
        texts = importlib.metadata.requires(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        yield Finding("libraries", "problem", "the package is not installed", "run: pip install -e . in the checkout")
        return
    groups: dict[str, list[Requirement]] = {}
    for requirement in map(Requirement, texts):
        marker = str(requirement.marker or "")
        extra = marker.rpartition("extra == ")[2].strip("\"'") if "extra == " in marker else ""
        groups.setdefault(extra, []).append(requirement)
    wrong = [line for line in map(_version, groups.pop("", [])) if line]
    for name, found in wrong:
        yield Finding(name, "problem", found, f"run: pip install -U {PACKAGE}")
    if not wrong:
        yield Finding("required libraries", "ok", "all there")
    for extra, requirements in sorted(groups.items()):
        missing = [f"{name} {found}" for line in map(_version, requirements) if line for name, found in [line]]
        advice = f"pip install '{PACKAGE}[{extra}]'" if missing else ""
        yield Finding(f"extra {extra}", "absent" if missing else "ok", ", ".join(missing) or "all there", advice)


def _version(requirement: Requirement) -> tuple[str, str] | None:
    """Name and complaint about a requirement that is not met; what its own extras bring is looked at too."""
    try:
        found = importlib.metadata.distribution(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return requirement.name, "is not installed"
    if not requirement.specifier.contains(found.version, prereleases=True):
        return requirement.name, f"is {found.version}, needed is {requirement.specifier}"
    for extra in requirement.extras:
        for inner in map(Requirement, found.requires or ()):
            marker = inner.marker
            if marker is None or marker.evaluate({"extra": ""}) or not marker.evaluate({"extra": extra}):
                continue
            if complaint := _version(inner):
                return complaint
    return None


def _devices() -> Iterator[Finding]:
    import jax

    try:
        devices = jax.devices()
    except RuntimeError as error:
        lines = str(error).splitlines() or [""]
        yield Finding("devices", "problem", lines[0][:200], "another process may hold the chips, or set JAX_PLATFORMS")
        return
    kind, platform = devices[0].device_kind, devices[0].platform
    memory = (devices[0].memory_stats() or {}).get("bytes_limit") if platform != "cpu" else None
    each = f", {memory / 1e9:.1f} GB each" if memory else ""
    yield Finding("devices", "ok", f"{len(devices)} × {kind} ({platform}){each}, JAX {jax.__version__}")
    try:
        yield Finding("TPU compiler", "ok", f"libtpu {importlib.metadata.version('libtpu')}")
    except importlib.metadata.PackageNotFoundError:
        yield Finding(
            "TPU compiler",
            "absent",
            "libtpu is not installed; polaris plan can only estimate",
            f"pip install '{PACKAGE}[tpu]'",
        )


def _machine() -> Iterator[Finding]:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") / 1e9
    small = total < 6
    advice = "polaris demo needs about 5 GB; --tiny about 2 GB" if small else ""
    yield Finding("memory", "problem" if small else "ok", f"{total:.1f} GB, {free:.1f} GB free", advice)
    for name, folder in (("disk here", Path.cwd()), ("disk of the cache", Path.home())):
        if not folder.is_dir():
            yield Finding(name, "problem", f"{folder} is not there", "set HOME to a folder that exists")
            continue
        left = shutil.disk_usage(folder).free / 1e9
        unwritable, full = not os.access(folder, os.W_OK), left < 2
        advice = f"{folder} cannot be written" if unwritable else "less than 2 GB are left" if full else ""
        yield Finding(name, "problem" if advice else "ok", f"{left:.0f} GB free in {folder}", advice)


def _credentials() -> Iterator[Finding]:
    import google.auth
    from google.auth.exceptions import GoogleAuthError

    # On a machine outside Google Cloud the search for its metadata server would take seconds.
    os.environ.setdefault("GCE_METADATA_TIMEOUT", "1")
    os.environ.setdefault("GCE_METADATA_DETECT_RETRIES", "1")
    try:
        credentials, project = google.auth.default()
    except GoogleAuthError:
        advice = "for gs:// run: gcloud auth application-default login"
        yield Finding("Google credentials", "absent", "none found", advice)
        return
    account = getattr(credentials, "service_account_email", "") or type(credentials).__name__
    yield Finding("Google credentials", "ok", f"{account}, project {project or 'not set'}")


def _bucket(address: str) -> Iterator[Finding]:
    """Whether the bucket is there, where it is, and what we may do in it."""
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.credentials import AnonymousCredentials
    from google.auth.exceptions import GoogleAuthError
    from google.cloud import storage  # type: ignore[attr-defined]

    name = address.removeprefix("gs://").split("/")[0]
    what = f"gs://{name}"
    emulated: dict[str, Any] = {}
    if os.environ.get("STORAGE_EMULATOR_HOST"):
        emulated = {"credentials": AnonymousCredentials(), "project": "emulated"}
    try:
        client = storage.Client(**emulated)
        bucket = client.lookup_bucket(name, timeout=15, retry=None)
    except GoogleAuthError as error:
        yield Finding(what, "problem", _brief(error), "run: gcloud auth application-default login")
        return
    except (GoogleAPICallError, OSError) as error:
        yield Finding(what, "problem", _brief(error), "check the name, the network and roles/storage.objectUser")
        return
    if bucket is None:
        yield Finding(what, "problem", "no such bucket", f"run: gcloud storage buckets create {what} --location=REGION")
        return
    place = (bucket.location or "an unknown place").lower()
    yield Finding(what, "ok", f"in {place}; a slice in another region pays for every byte it reads")
    try:
        granted = set(bucket.test_iam_permissions(list(PERMISSIONS), timeout=15, retry=None))
    except (GoogleAPICallError, OSError) as error:
        yield Finding(f"{what} permissions", "absent", f"cannot be asked ({_brief(error)})")
        return
    missing = sorted(set(PERMISSIONS) - granted)
    yield Finding(
        f"{what} permissions",
        "problem" if missing else "ok",
        f"missing {', '.join(missing)}" if missing else "list, read, write and delete",
        "grant roles/storage.objectUser on the bucket" if missing else "",
    )


def _brief(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
