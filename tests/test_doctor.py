"""``polaris doctor`` reports what this machine has and whether a bucket answers."""

import importlib.metadata
import json

import pytest
from packaging.requirements import Requirement

from polaris_jax.cli import main
from polaris_jax.doctor import _version, examine


def findings(capsys, *flags):
    code = main(["doctor", "--json", *flags])
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is (code == 0)
    return {row["what"]: row for row in report["findings"]}


def test_this_machine(capsys):
    found = findings(capsys)
    assert found["required libraries"]["state"] == "ok"
    assert importlib.metadata.version("jax") in found["devices"]["found"]
    assert found["extra test"]["state"] == "ok"
    for row in found.values():
        assert row["state"] in ("ok", "absent", "problem")
        assert row["advice"] or row["state"] == "ok"


def test_versions_and_what_extras_bring():
    assert _version(Requirement("numpy>=1")) is None
    assert _version(Requirement("numpy>=999")) == (
        "numpy",
        f"is {importlib.metadata.version('numpy')}, needed is >=999",
    )
    assert _version(Requirement("no-such-library-here")) == ("no-such-library-here", "is not installed")
    # The CUDA plugin is brought by an extra of JAX, not by JAX.
    assert _version(Requirement("jax[cuda13]")) is not None


def test_a_bucket(capsys, bucket, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", bucket)
    found = findings(capsys, "--bucket=gs://library/runs/x")
    assert found["gs://library"]["state"] == "ok"
    gone = findings(capsys, "--bucket=gs://nowhere")
    assert gone["gs://nowhere"]["state"] == "problem"
    assert "gcloud storage buckets create gs://nowhere" in gone["gs://nowhere"]["advice"]


@pytest.mark.parametrize("address", ["library", "gs://", "s3://library"])
def test_an_address_that_is_none(address):
    with pytest.raises(ValueError, match="gs://bucket"):
        examine(address)
