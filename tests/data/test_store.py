"""A store is complete or absent; it returns what was written, to the bit."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from data_toys import make_trajectory

from polaris_jax.data import TokenStore, layout
from polaris_jax.errors import InputError

ARRAYS = ("tokens", "roles", "kinds", "weights")


def assert_same(found, expected):
    for name in ARRAYS:
        a, b = getattr(found, name), getattr(expected, name)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def build(path, tokenizer, lengths=(30, 200, 5), seed=0):
    writer = TokenStore.create(path, tokenizer)
    for place, length in enumerate(lengths):
        writer.append(make_trajectory(length, seed + place), {"title": f"Böök {place}", "truncated": False})
    return writer.commit()


def contents(path):
    return {str(f.relative_to(path)): f.read_bytes() for f in sorted(Path(path).rglob("*")) if f.is_file()}


def test_what_went_in_comes_out(store, tokenizer, trajectories):
    again = TokenStore.open(store.path, tokenizer)
    assert len(again) == len(trajectories)
    assert again.lengths.tolist() == [len(t) for t in trajectories]
    for index, expected in enumerate(trajectories):
        assert_same(again.read(index), expected)
        for start, stop in ((0, 0), (1, len(expected)), (len(expected) // 3, 2 * len(expected) // 3)):
            if start <= stop:
                assert_same(again.read(index, start, stop), expected.cut(start, stop))
    with pytest.raises(IndexError):
        again.read(0, 0, len(trajectories[0]) + 1)
    assert again.verify() == []


def test_metadata_selects_a_split(store):
    assert store.where(split="validation").tolist() == [0, 3, 6, 9, 12]
    assert store.meta(4) == {"title": "Book 4", "split": "train"}


def test_a_store_of_many_pieces_and_files_reads_across_their_edges(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "SHARD", 64)
    monkeypatch.setattr(layout, "ARRAYS", {name: (d, c, 16) for name, (d, c, _) in layout.ARRAYS.items()})
    lengths = (100, 1, 63, 300, 7)
    store = build(tmp_path / "s", tokenizer, lengths)
    assert len(list((tmp_path / "s/generation-000001/tokens/c").iterdir())) == -(-sum(lengths) // 64)
    for index, length in enumerate(lengths):
        assert_same(store.read(index), make_trajectory(length, index))
    assert_same(store.read(3, 10, 290), make_trajectory(300, 3).cut(10, 290))
    assert store.verify() == []


def test_the_same_input_gives_the_same_bytes(tokenizer, tmp_path):
    one, two = build(tmp_path / "one", tokenizer), build(tmp_path / "two", tokenizer)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert one.content_hash == two.content_hash
    assert build(tmp_path / "three", tokenizer, seed=1).content_hash != one.content_hash


def test_a_build_that_dies_leaves_no_store(tokenizer, tmp_path):
    writer = TokenStore.create(tmp_path / "s", tokenizer)
    writer.append(make_trajectory(50, 0), {})
    with pytest.raises(InputError, match=r"has no manifest\.json"):
        TokenStore.open(tmp_path / "s")


def test_a_rebuild_that_dies_leaves_the_old_store(tokenizer, tmp_path):
    old = build(tmp_path / "s", tokenizer)

    def rebuild_and_die():
        with TokenStore.create(tmp_path / "s", tokenizer) as writer:
            writer.append(make_trajectory(90, 7), {})
            writer._flush("tokens", everything=True)  # some of it is on disk already
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild_and_die()
    again = TokenStore.open(tmp_path / "s")
    assert again.content_hash == old.content_hash
    assert again.verify() == []
    # The next build starts clean, and readers of the one it replaces go on reading.
    new = build(tmp_path / "s", tokenizer, lengths=(8,), seed=5)
    assert len(TokenStore.open(tmp_path / "s")) == 1
    assert new.verify() == []
    assert_same(old.read(1), make_trajectory(200, 1))
    build(tmp_path / "s", tokenizer)
    kept = {name.split("/")[0] for name in contents(tmp_path / "s")}
    assert kept == {"generation-000002", "generation-000003", "manifest.json"}


def test_one_flipped_bit_anywhere_is_noticed(tokenizer, tmp_path):
    build(tmp_path / "good", tokenizer)
    files = list(contents(tmp_path / "good"))
    data = [name for name in files if not name.endswith("zarr.json")]
    assert len(data) == 6
    for name in data:
        size = (tmp_path / "good" / name).stat().st_size
        for place in (size // 2, size - 5):
            shutil.copytree(tmp_path / "good", tmp_path / "bad")
            content = bytearray((tmp_path / "bad" / name).read_bytes())
            content[place] ^= 4
            (tmp_path / "bad" / name).write_bytes(content)
            try:
                damage = TokenStore.open(tmp_path / "bad").verify()
            except InputError as error:
                damage = [str(error)]
            shutil.rmtree(tmp_path / "bad")
            # The index entry of a piece that was never written has no data; its checksum still finds the change.
            assert damage, f"bit {place} of {name}"


def test_a_consistent_forgery_is_noticed(tokenizer, tmp_path):
    """Tokens of another build under this manifest: every checksum of the files is right, the content is not."""
    build(tmp_path / "s", tokenizer)
    build(tmp_path / "other", tokenizer, seed=1)
    folder = "generation-000001/tokens"
    shutil.rmtree(tmp_path / "s" / folder)
    shutil.copytree(tmp_path / "other" / folder, tmp_path / "s" / folder)
    damage = TokenStore.open(tmp_path / "s").verify()
    assert [line.split(":")[0] for line in damage] == ["trajectory 0", "trajectory 1", "trajectory 2"]


def test_a_lost_file_is_an_error_and_not_zeros(tokenizer, tmp_path):
    store = build(tmp_path / "s", tokenizer)
    shutil.rmtree(tmp_path / "s/generation-000001/tokens/c")
    with pytest.raises(ValueError, match="missing"):
        TokenStore.open(tmp_path / "s").read(0)
    assert len(store.verify()) == 3


def test_an_edited_manifest_is_refused(tokenizer, tmp_path):
    build(tmp_path / "s", tokenizer)
    manifest = json.loads((tmp_path / "s/manifest.json").read_text())
    manifest["trajectories"][0]["meta"]["title"] = "Another"
    (tmp_path / "s/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="damaged"):
        TokenStore.open(tmp_path / "s")


def test_another_tokenizer_is_refused(store, vocabularies):
    with pytest.raises(InputError, match="was made with another one"):
        TokenStore.open(store.path, vocabularies["byte_level"])


def test_bad_input_is_refused_and_writes_no_store(tokenizer, tmp_path):
    writer = TokenStore.create(tmp_path / "s", tokenizer)
    with pytest.raises(InputError, match="has no tokens"):
        writer.append(make_trajectory(0, 0), {"title": "Nothing"})
    large = make_trajectory(5, 0)
    large.tokens[2] = tokenizer.vocab_size
    with pytest.raises(InputError, match="outside the tokenizer's vocabulary"):
        writer.append(large, {})
    with pytest.raises(InputError, match="nothing was appended"):
        writer.commit()
    assert not (tmp_path / "s/manifest.json").exists()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot be (written|reached)"):
        TokenStore.create(tmp_path / "file" / "s", tokenizer)
