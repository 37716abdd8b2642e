"""Every checkpoint of the parity data reproduces what ``transformers`` computed from it.

Families, folders and cases are read from the data, so any folder of the same layout is tested by the same code. Each
check runs on one device; the plain checkpoint of each family also runs on a mesh of two by two.
"""

import importlib.util
import json
import os
from functools import lru_cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polaris_jax.models import cached_forward, from_pretrained, hidden, init_cache, logits, unembed
from polaris_jax.models.saving import hf_tensors
from polaris_jax.sharding import make_mesh

jax.config.update("jax_default_matmul_precision", "highest")

ROOT = Path(os.environ.get("POLARIS_SHARED") or Path(__file__).resolve().parents[3] / "shared") / "parity"
# Families that the given data lacks, made with its generator (``parity/make.py``).
OWN = Path(__file__).parent / "parity"
MANIFESTS = [manifest for root in (OWN, ROOT) for manifest in root.glob("*/manifest.json")]
FAMILY_FOLDERS = {manifest.parent.name: manifest.parent for manifest in MANIFESTS}
FOLDERS = [
    (family, checkpoint, info["golden"])
    for family, folder in sorted(FAMILY_FOLDERS.items())
    for checkpoint, info in json.loads((folder / "manifest.json").read_text())["checkpoints"].items()
]
FIRST = list({family: folder for folder in reversed(FOLDERS) for family in folder[:1]}.values())[::-1]
NO_DATA = f"no parity data at {ROOT}; set POLARIS_SHARED"
pytestmark = pytest.mark.skipif(not (ROOT / "parity.py").is_file(), reason=NO_DATA)


def name(folder):
    return "-".join(folder[:2])


@lru_cache
def parity():
    """The data's own comparer."""
    spec = importlib.util.spec_from_file_location("parity", ROOT / "parity.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@lru_cache
def golden(family, file):
    with np.load(FAMILY_FOLDERS[family] / file) as arrays:
        return {key: arrays[key] for key in arrays.files}


@lru_cache
def model(family, checkpoint, spread):
    mesh = make_mesh({"fsdp": 2, "tensor": 2}, devices=jax.devices()[:4]) if spread else None
    return from_pretrained(FAMILY_FOLDERS[family] / checkpoint, dtype=jnp.float32, mesh=mesh)


ALL = [(*folder, False) for folder in FOLDERS] + [(*folder, True) for folder in FIRST]


def _off(family, checkpoint, file, spread):
    """Two families have every kind of weight. The others run on the mesh among the slow tests only."""
    return spread and family not in ("ministral3", "qwen3_5")


every_checkpoint = pytest.mark.parametrize(
    ("family", "checkpoint", "file", "spread"),
    [pytest.param(*f, marks=[pytest.mark.slow] if _off(*f) else []) for f in ALL],
    ids=[name(f) + ("-mesh" if f[3] else "") for f in ALL],
)


@every_checkpoint
def test_logits_losses_and_cached_decoding(family, checkpoint, file, spread):
    decoder, gold = model(family, checkpoint, spread), golden(family, file)
    assert parity().check(gold, decoder, greedy=partial(greedy, decoder)) == []


def greedy(decoder, prompt, count):
    """The cached path: the prompt in chunks with padding at the end, then one token at a time."""
    chunk = 32
    cache = init_cache(decoder.config, 1, -(-(prompt.shape[1] + count) // chunk) * chunk)
    for start in range(0, prompt.shape[1], chunk):
        part = prompt[:, start : start + chunk]
        padded = np.pad(part, ((0, 0), (0, chunk - part.shape[1])))
        last, cache = read_on(decoder.params, decoder.config, padded, cache, np.full(1, part.shape[1], np.int32))
    tokens, steps = [], []
    for _ in range(count):
        steps.append(np.asarray(last)[0])
        tokens.append(int(steps[-1].argmax()))
        last, cache = read_on(decoder.params, decoder.config, np.int32([tokens[-1:]]), cache, np.ones(1, np.int32))
    return tokens, np.stack(steps)


@partial(jax.jit, static_argnums=1, donate_argnums=3)
def read_on(params, config, tokens, cache, valid):
    x, cache = cached_forward(params, config, tokens, cache, valid)
    return unembed(params, config, x[jnp.arange(1), valid - 1]), cache


WITH_GRADIENTS = [
    (*folder, spread, case)
    for folder in FIRST
    for spread, cases in ((False, ("len17", "len64", "len300", "packed")), (True, ("packed",)))
    for case in cases
]


@pytest.mark.parametrize(
    ("family", "checkpoint", "file", "spread", "case"),
    # Other lengths are other paddings of one program.
    [
        pytest.param(*g, marks=[pytest.mark.slow] if g[4] in ("len17", "len64") or _off(*g[:4]) else [])
        for g in WITH_GRADIENTS
    ],
    ids=[f"{name(g)}-{g[4]}" + ("-mesh" if g[3] else "") for g in WITH_GRADIENTS],
)
def test_gradient_of_every_parameter(family, checkpoint, file, spread, case):
    decoder, gold = model(family, checkpoint, spread), golden(family, file)
    if f"{case}/grad_names" not in gold:
        pytest.skip(f"no gradients for {case}")
    ids = gold[f"{case}/input_ids"]
    positions = gold.get(f"{case}/position_ids", np.broadcast_to(np.arange(ids.shape[1], dtype=np.int32), ids.shape))
    segments = gold.get(f"{case}/segment_ids", np.ones_like(ids))
    mask = gold.get(f"{case}/loss_mask", np.ones((ids.shape[0], ids.shape[1] - 1)))
    grads = mean_loss_gradient(decoder.params, decoder.config, ids, positions, segments, mask.astype(np.float32))
    named = {name: tensor.read() for name, tensor in hf_tensors(grads, decoder.config).items()}
    assert sorted(named) == sorted(gold[f"{case}/grad_names"])
    assert parity().check_grads(gold, case, named) == []


@partial(jax.jit, static_argnums=1)
def mean_loss_gradient(params, config, ids, positions, segments, mask):
    def loss(params):
        log_p = jax.nn.log_softmax(logits(params, config, ids, positions, segments, remat="full")[:, :-1])
        chosen = jnp.take_along_axis(log_p, ids[:, 1:, None], axis=-1)[..., 0]
        return -jnp.sum(chosen * mask) / jnp.sum(mask)

    return jax.grad(loss)(params)


ROUNDED = [folder for folder in FOLDERS if any("bf16_compute" in key for key in golden(folder[0], folder[2]))]


@pytest.mark.parametrize(("family", "checkpoint", "file"), ROUNDED, ids=map(name, ROUNDED))
def test_bfloat16_arithmetic_stays_close(family, checkpoint, file):
    gold = golden(family, file)
    case = next(key.split("/")[0] for key in gold if "bf16_compute" in key)
    decoder = model(family, checkpoint, False)
    x = hidden(decoder.params, decoder.config, jnp.asarray(gold[f"{case}/input_ids"]), compute_dtype=jnp.bfloat16)
    got = np.asarray(unembed(decoder.params, decoder.config, x))[:, gold.get(f"{case}/logits_pos", slice(None))]
    assert np.sqrt(np.mean((got - gold[f"{case}/logits"]) ** 2)) <= 0.15
