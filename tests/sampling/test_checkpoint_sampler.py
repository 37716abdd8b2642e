"""A sampler opens a training run and a Hugging Face folder alike, and reads config.json once."""

import shutil
from collections import Counter

import numpy as np
import pytest

from polaris_jax import storage
from polaris_jax.checkpoint_sampler import open_sampler
from polaris_jax.errors import InputError
from polaris_jax.models.folder import LocalFolder
from polaris_jax.models.model_folder import find_model_folder


@pytest.fixture
def reads(monkeypatch):
    """How often each file was read, by name."""
    counts = Counter()
    read, read_local = storage.read, LocalFolder.read

    def counted(address):
        counts[storage.name_of(address)] += 1
        return read(address)

    def counted_local(folder, name, *where):
        counts[name] += 1
        return read_local(folder, name, *where)

    monkeypatch.setattr(storage, "read", counted)
    monkeypatch.setattr(LocalFolder, "read", counted_local)
    return counts


def test_a_hugging_face_folder_is_opened_with_one_read_of_its_config(checkpoint, model, reads):
    sampler = open_sampler(checkpoint, 64)
    assert reads["config.json"] == 1
    np.testing.assert_array_equal(sampler.params["embed"]["embedding"], model[0]["embed"]["embedding"])


def test_a_run_is_opened_with_one_read_of_its_config_and_its_absence(run, model, reads):
    sampler = open_sampler(run, 64)
    assert reads["config.json"] == 2  # there is none in the run's own folder
    np.testing.assert_array_equal(sampler.params["embed"]["embedding"], 2 * model[0]["embed"]["embedding"])


def test_a_folders_own_config_comes_before_that_of_a_run(checkpoint, run, tmp_path):
    both = tmp_path / "both"
    shutil.copytree(run, both)
    assert find_model_folder(both).run == str(both)
    shutil.copytree(checkpoint, both, dirs_exist_ok=True)
    found = find_model_folder(both)
    assert (found.path, found.run) == (str(both), None)


def test_what_is_neither_is_refused_in_one_line(tmp_path):
    with pytest.raises(InputError, match="neither a training run nor"):
        open_sampler(tmp_path, 64)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        open_sampler(tmp_path, 64)
