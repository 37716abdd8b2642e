"""Weights are loaded in pieces: every device gets its own part, and memory stays small."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from polaris_jax.models import from_pretrained, loading, save_pretrained
from polaris_jax.models import tensors as tensors_module
from polaris_jax.models.tensors import HFTensor, contiguous, read_ahead, row_runs
from polaris_jax.models.weights import weight_table
from polaris_jax.sharding import make_mesh

from .conftest import tiny
from .test_loading import made

MESHES = [None, {"fsdp": 2, "tensor": 2}, {"tensor": 4}, {"data": 2, "context": 2}]


@pytest.mark.parametrize("shape", MESHES, ids=str)
@pytest.mark.parametrize("family", ["llama", "qwen3_5_text"])
def test_small_pieces_make_the_same_weights(shape, family, tmp_path, monkeypatch):
    """Pieces that do not divide a tensor, an odd vocabulary padded for the mesh, shards cut inside a tensor."""
    save_pretrained(made(family, jnp.bfloat16), tmp_path / "model")
    mesh = shape and make_mesh(shape, devices=jax.devices()[:4])
    whole = from_pretrained(tmp_path / "model", mesh=mesh, vocab_multiple=4)
    monkeypatch.setattr(tensors_module, "PIECE_BYTES", 600)
    pieces = from_pretrained(tmp_path / "model", mesh=mesh, vocab_multiple=4)
    for a, b in zip(jax.tree.leaves(whole.params), jax.tree.leaves(pieces.params), strict=True):
        assert a.sharding == b.sharding
        np.testing.assert_array_equal(a, b)
    save_pretrained(pieces, tmp_path / "again")
    name = "model.safetensors"
    assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "model" / name).read_bytes()


@pytest.mark.parametrize("shape", MESHES, ids=str)
def test_accelerators_are_filled_as_host_memory_is(shape, monkeypatch):
    """The path of a TPU, run on host devices: in-place updates of sharded arrays, without moving rows between them."""
    monkeypatch.setattr(tensors_module, "PIECE_BYTES", 600)
    config = tiny("qwen3_5_text")
    mesh = shape and make_mesh(shape, devices=jax.devices()[:4])
    random = np.random.default_rng(0)
    for weight in weight_table(config).values():
        values = {name: random.standard_normal(weight.hf_shape, np.float32) for name, _ in weight.hf_tensors()}
        stored = {n: HFTensor(v.shape, v.dtype, lambda a, b, v=v: v[a:b]) for n, v in values.items()}
        host = loading.load_weight(weight, stored, None, mesh, lambda size: None)
        monkeypatch.setattr(loading, "InHostMemory", loading.OnDevices)
        device = loading.load_weight(weight, stored, None, mesh, lambda size: None)
        monkeypatch.undo()
        monkeypatch.setattr(tensors_module, "PIECE_BYTES", 600)
        np.testing.assert_array_equal(host, device)
        assert host.sharding == device.sharding


def test_loaded_weights_can_be_donated(tmp_path):
    save_pretrained(made("llama"), tmp_path / "model")
    params = from_pretrained(tmp_path / "model").params
    want = jax.tree.map(lambda w: np.asarray(w) + 1, params)
    got = jax.jit(lambda p: jax.tree.map(lambda w: w + 1, p), donate_argnums=0)(params)
    jax.tree.map(np.testing.assert_array_equal, got, want)


def test_runs_cover_the_rows_once():
    for rows, size, limit in [(1, 8, 4), (10, 8, 24), (97, 64, 600), (5, 1, 1000)]:
        runs = row_runs(rows, size, limit)
        assert [n for start, stop in runs for n in range(start, stop)] == list(range(rows))
        assert all((stop - start) * size <= max(limit, size) for start, stop in runs)


def test_contiguous_of_any_layout():
    for dtype in (np.float32, ml_dtypes.bfloat16):
        values = np.arange(60).reshape(3, 20).astype(dtype)
        for view in (values, values.T, values.T[3:9], values[:, ::2], values.reshape(3, 4, 5).T):
            assert contiguous(view).flags.c_contiguous
            np.testing.assert_array_equal(contiguous(view), view)


def test_a_failing_read_is_told_to_the_consumer():
    def read(n):
        if n == 2:
            raise OSError("disk")
        return n

    with pytest.raises(OSError, match="disk"):
        list(read_ahead(read, [(0,), (1,), (2,), (3,)]))


MEASURE = """
import json, os, sys, threading
import jax, numpy as np
import polaris_jax.training  # what converting imports on the way is no part of a model
from polaris_jax.converting import convert
from polaris_jax.models import from_pretrained, save_pretrained, tensors
tensors.PIECE_BYTES = 4 << 20
task, source, target = sys.argv[1:]
jax.block_until_ready(jax.device_put(np.ones((64, 64), np.float32).T))
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
before, peak, done = resident(), [0], threading.Event()
def watch():
    while not done.wait(0.002):
        peak[0] = max(peak[0], resident())
watcher = threading.Thread(target=watch); watcher.start()
kept = None
if task == "load":
    kept = jax.block_until_ready(from_pretrained(source).params)
else:
    convert(source, target)
done.set(); watcher.join()
held = sum(leaf.nbytes for leaf in jax.tree.leaves(kept))
print(json.dumps({"beyond": peak[0] - before - held, "held": held}))
"""


@pytest.mark.slow
def test_memory_is_bounded_by_the_piece_not_the_model(tmp_path):
    """A 600 MB model in 4 MiB pieces: a second copy of its largest tensor (268 MB) would show beside all buffers."""
    model = made(
        "llama",
        jnp.bfloat16,
        vocab_size=131072,
        hidden_size=1024,
        intermediate_size=2048,
        num_hidden_layers=2,
        tie_word_embeddings=False,
    )
    save_pretrained(model, tmp_path / "model")
    for task, source, target in [("load", "model", "-"), ("convert", "model", "orbax"), ("convert", "orbax", "again")]:
        ran = subprocess.run(
            [sys.executable, "-c", MEASURE, task, str(tmp_path / source), str(tmp_path / target)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(ran.stdout.splitlines()[-1])["beyond"] < 230e6, (task, source, ran.stdout)
