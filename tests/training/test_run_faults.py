"""Faults around a run: NaN, full disks, buckets that refuse, and keys that must not leak."""

import contextlib
import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
from buckets import FaultyBucket
from buckets import environment as bucket_environment
from processes import command_of, environment, lines

from polaris_jax.cli import main
from polaris_jax.data import TokenStore, load_tokenizer
from polaris_jax.errors import InputError, RunError
from polaris_jax.training import read_metrics, train

KEYS = {
    "OPENAI_API_KEY": "sk-first-secret-1234",
    "WANDB_API_KEY": "second-secret-5678",
    "HF_TOKEN": "hf_third_secret",
    "GOOGLE_AUTH_TOKEN_FOR_TESTING": "fourth-secret-9012",
}


def store_with_absurd_weights(config, path, which):
    """The config's store, but the loss weights of the trajectories ``which`` overflow when they are summed."""
    store = TokenStore.open(config.data.store)
    writer = TokenStore.create(path, load_tokenizer(config.model.path))
    for index in range(len(store)):
        found = store.read(index)
        if index in which:
            found = type(found)(found.tokens, found.roles, found.kinds, np.full(len(found), 3e38, np.float32))
        writer.append(found, store.meta(index))
    writer.commit()
    return str(path)


def test_a_step_without_finite_gradients_changes_nothing_and_is_counted(make_config, tmp_path):
    config = make_config()
    config.data.store = store_with_absurd_weights(config, tmp_path / "store", {0})
    result = train(config, tmp_path / "run")
    assert result.finished
    found = read_metrics(tmp_path / "run")
    skipped = [line["step"] for line in found if not np.isfinite(line["loss"])]
    assert 0 < len(skipped) < len(found)
    text = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert "NaN" not in text  # JSON has no such thing
    assert found[-1]["skipped_steps"] == len(skipped)
    for before, after in itertools.pairwise(found):
        assert (after["param_norm/muon"] == before["param_norm/muon"]) == (before["step"] in skipped)
        assert after["skipped_steps"] - before["skipped_steps"] == int(after["step"] in skipped)


def test_steps_that_stay_without_finite_gradients_stop_the_run_with_what_is_needed_to_look_into_it(
    make_config, tmp_path, capsys
):
    config = make_config()
    store = TokenStore.open(config.data.store)
    config.data.store = store_with_absurd_weights(config, tmp_path / "store", set(range(len(store))))
    config.train.max_skipped = 3
    with pytest.raises(RunError, match=r"3 steps in a row without finite gradients.*failure-3\.json"):
        train(config, tmp_path / "run")
    failure = json.loads((tmp_path / "run" / "failure-3.json").read_text())
    assert failure["record"]["skipped_in_a_row"] == 3
    assert failure["data"]["step"] == 2
    assert main(command_of(config, tmp_path / "again", tmp_path)[3:]) == 1
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("polaris train: step 3: 3 steps in a row")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting a small file system takes more rights than this user has")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(file):
    with contextlib.suppress(OSError), open(file, "wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))


def test_a_disk_without_room_for_a_checkpoint_is_refused_before_anything_is_computed(make_config, small_disk):
    fill(small_disk / "ballast")
    with open(small_disk / "ballast", "ab") as ballast:
        ballast.truncate((4 << 20) - 300_000)
    with pytest.raises(InputError, match=r"--workdir.*GB free and one checkpoint takes"):
        train(make_config(), small_disk / "run")


def test_a_disk_that_fills_up_is_one_line_and_with_room_again_the_run_goes_on(make_config, small_disk, tmp_path):
    config = make_config()
    config.train.async_checkpoints = False

    def fill_at_three(record):
        if record["step"] == 3:
            fill(small_disk / "ballast")

    with pytest.raises(RunError, match="make room and run the same command again") as caught:
        train(config, small_disk / "run", on_step=fill_at_three)
    assert "\n" not in str(caught.value)
    (small_disk / "ballast").unlink()
    starts = []
    assert train(config, small_disk / "run", on_start=starts.append).finished
    assert starts[0]["resumed_at"] == 2
    whole = make_config()
    train(whole, tmp_path / "whole")
    assert lines(small_disk / "run") == lines(tmp_path / "whole")


def test_a_folder_that_cannot_be_written_is_one_line(make_config, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InputError, match=r"--workdir.*cannot be written") as caught:
        train(make_config(), tmp_path / "file" / "run")
    assert "\n" not in str(caught.value)


def train_in_bucket(config, workdir, folder, address, *, seconds=240, **more):
    """``polaris train`` that sees the bucket at ``address``: the finished process."""
    return subprocess.run(
        [*command_of(config, workdir, folder), "--devices=8"],
        text=True,
        timeout=seconds,
        capture_output=True,
        env=environment(**bucket_environment(address) | more),
    )


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_bucket_that_refuses_is_one_line_before_anything_is_computed(make_config, bucket, tmp_path, status):
    with FaultyBucket(bucket) as proxy:
        proxy.refused = status
        ran = train_in_bucket(make_config(), "gs://library/runs/refused", tmp_path, proxy.address)
    assert ran.returncode == 2
    said = [line for line in ran.stderr.splitlines() if line.startswith("polaris")]
    assert len(said) == 1
    assert "gs://library/runs/refused" in said[0]
    assert "cannot be" in said[0]
    assert "Traceback" not in ran.stderr
    assert "step 1" not in ran.stderr


UPLOAD = """
import os, sys
from polaris_jax import storage
for source, target in zip(sys.argv[1::2], sys.argv[2::2]):
    for folder, _, names in os.walk(source):
        for name in names:
            file = os.path.join(folder, name)
            storage.write(storage.join(target, os.path.relpath(file, source)), open(file, "rb").read())
print("done")
"""


@pytest.mark.slow
def test_a_run_in_a_bucket_equals_one_on_a_disk_through_faults_and_no_key_is_written_anywhere(
    make_config, bucket, bucket_client, tmp_path
):
    """Model, store and run lie in the bucket, and a sampler opens what was trained there."""
    config = make_config()
    config.train.update({"steps": 4, "tensorboard": False})
    train(config, tmp_path / "run")
    bucket_client(UPLOAD, config.model.path, "gs://library/model", config.data.store, "gs://library/store")
    config.model.path, config.data.store = "gs://library/model", "gs://library/store"
    with FaultyBucket(bucket, rate=0.03, faults=("503", "429", "cut", "slow")) as proxy:
        ran = train_in_bucket(config, "gs://library/runs/a", tmp_path, proxy.address, **KEYS)
    assert ran.returncode == 0, ran.stderr[-3000:]
    opened = bucket_client(
        "from polaris_jax.checkpoint_sampler import open_sampler;"
        "print(open_sampler('gs://library/runs/a', 64).tokenizer.fingerprint)"
    )
    assert opened == load_tokenizer(tmp_path / "run" / "model").fingerprint
    program = (
        "import json, sys; from polaris_jax import storage; from polaris_jax.training import read_metrics;"
        "from polaris_jax.training.events import goodput, read_events; at = 'gs://library/runs/a';"
        "files = {name: storage.read(storage.join(at, name)) or b'' for name in storage.names(at)};"
        "keys = json.loads(sys.argv[1]);"
        "print(json.dumps([read_metrics(at), [n for n, c in files.items() for k in keys if k.encode() in c],"
        "sorted(files), goodput(read_events(at))]))"
    )
    seen = subprocess.run(
        [sys.executable, "-c", program, json.dumps(list(KEYS.values()))],
        text=True,
        check=True,
        stdout=subprocess.PIPE,
        env=environment(**bucket_environment(bucket)),
    )
    found, leaks, files, share = json.loads(seen.stdout.strip().splitlines()[-1])
    times = set(found[0]) - set(lines(tmp_path / "run")[0])
    assert [{k: v for k, v in line.items() if k not in times and k != "goodput"} for line in found] == (
        lines(tmp_path / "run")
    )
    assert leaks == []
    assert not any(key in ran.stderr + ran.stdout for key in KEYS.values())
    assert {"run.json", "metrics.jsonl", "events.jsonl"} <= set(files)
    assert 0 < share["goodput"] <= 1
