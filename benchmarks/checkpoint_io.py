"""Loading, saving and converting a checkpoint of real width: bytes per second beside the disk's own, and peak memory.

    python benchmarks/checkpoint_io.py [--layers 4] [--folder DIR]

Writes a bfloat16 checkpoint with random weights in the shapes of a 14B Ministral 3 (width 5120, vocabulary 131072,
every tensor at its true size, fewer layers) and times, each in a process of its own: a plain sequential write and
read of as many bytes, loading, saving, Hugging Face → Orbax and back. The page cache is dropped before each
(``posix_fadvise``).

Memory is sampled from the process itself every 20 ms: resident anonymous plus file-backed pages (VmRSS), less what the
process had before it began and less the bytes of the arrays that were loaded (on a CPU the destination is host memory
too). The bound is the largest tensor + 1 GB.
"""

import argparse
import filecmp
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

GB = 1e9
WIDTH = {
    "model_type": "ministral3",
    "vocab_size": 131072,
    "hidden_size": 5120,
    "intermediate_size": 16384,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 262144,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "rope_parameters": {
        "rope_type": "yarn",
        "rope_theta": 1e9,
        "factor": 16.0,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "original_max_position_embeddings": 16384,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "llama_4_scaling_beta": 0.1,
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--folder", type=Path, help="where to work; default a temporary folder")
    parser.add_argument("--task", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.task:
        print(json.dumps(TASKS[args.task[0]](*map(Path, args.task[1:]))))
        return
    root = Path(tempfile.mkdtemp(prefix="checkpoint_io.", dir=args.folder))
    try:
        run(root, args.layers)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def run(root: Path, layers: int) -> None:
    size, largest = generate(root / "hf", layers)
    print(
        f"{size / GB:.2f} GB in bfloat16, {layers} layers; largest tensor {largest / GB:.2f} GB, "
        f"memory bound {(largest + GB) / GB:.2f} GB"
    )
    for name, source, target in (
        ("disk write", "hf", "plain"),
        ("disk read", "plain", ""),
        ("load", "hf", ""),
        ("save", "hf", "saved"),
        ("convert hf to orbax", "hf", "orbax"),
        ("convert orbax to hf", "orbax", "again"),
        ("disk read", "plain", ""),
    ):
        forget(root)
        command = [sys.executable, __file__, "--task", name, str(root / source), str(root / target)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        memory = f", {found['memory'] / GB:.2f} GB of memory beyond the weights" if "memory" in found else ""
        print(f"{name}: {size / GB / found['seconds']:.2f} GB/s ({found['seconds']:.1f} s){memory}", flush=True)
        if target in ("saved", "again"):
            equal = all(filecmp.cmp(root / "hf" / f, root / target / f, shallow=False) for f in weights(root / "hf"))
            print(f"  the same bytes: {equal}")
            shutil.rmtree(root / target)


def weights(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.glob("*.safetensors"))


def generate(folder: Path, layers: int) -> tuple[int, int]:
    """Writes the checkpoint; returns its bytes and those of its largest tensor."""
    import ml_dtypes
    import numpy as np

    from polaris_jax.models import ModelConfig, weight_table
    from polaris_jax.models.saving import write_checkpoint
    from polaris_jax.models.tensors import HFTensor

    config = ModelConfig.from_hf(WIDTH | {"num_hidden_layers": layers})
    random = np.random.default_rng(0)
    noise = (0.02 * random.standard_normal(1 << 24, np.float32)).astype(ml_dtypes.bfloat16)

    def tensor(shape: tuple[int, ...]) -> HFTensor:
        row = int(np.prod(shape[1:]))
        return HFTensor(
            shape,
            noise.dtype,
            lambda start, stop: np.resize(
                np.roll(noise, int(random.integers(noise.size))), (stop - start) * row
            ).reshape(stop - start, *shape[1:]),
        )

    tensors = {name: tensor(w.hf_shape) for w in weight_table(config).values() for name, _ in w.hf_tensors()}
    write_checkpoint(tensors, config, folder)
    return sum(t.bytes for t in tensors.values()), max(t.bytes for t in tensors.values())


def forget(root: Path) -> None:
    """Writes everything to the disk and drops it from the page cache."""
    os.sync()
    for file in root.rglob("*"):
        if file.is_file():
            with file.open("rb") as stream:
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class Memory:
    """The largest resident size while the block runs, less that at its start."""

    def __enter__(self):
        self._before = self.peak = self._now()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()
        self.peak = max(self.peak, self._now()) - self._before

    def _now(self) -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self.peak = max(self.peak, self._now())


def load(source: Path, _) -> dict:
    import jax

    from polaris_jax.models import from_pretrained

    jax.devices()
    with Memory() as memory:
        begun = time.perf_counter()
        params = jax.block_until_ready(from_pretrained(source).params)
        seconds = time.perf_counter() - begun
    return {"seconds": seconds, "memory": memory.peak - sum(leaf.nbytes for leaf in jax.tree.leaves(params))}


def save(source: Path, target: Path) -> dict:
    import jax

    from polaris_jax.models import from_pretrained, save_pretrained

    model = from_pretrained(source)
    jax.block_until_ready(model.params)
    with Memory() as memory:
        begun = time.perf_counter()
        save_pretrained(model, target)
        os.sync()
        seconds = time.perf_counter() - begun
    return {"seconds": seconds, "memory": memory.peak}


def convert(source: Path, target: Path) -> dict:
    import jax

    from polaris_jax.converting import convert

    jax.devices()
    with Memory() as memory:
        begun = time.perf_counter()
        convert(str(source), str(target))
        os.sync()
        seconds = time.perf_counter() - begun
    return {"seconds": seconds, "memory": memory.peak}


def disk_write(source: Path, target: Path) -> dict:
    """Writes as many bytes as ``source`` holds, from one buffer."""
    left, buffer = sum(file.stat().st_size for file in source.rglob("*") if file.is_file()), os.urandom(64 << 20)
    begun = time.perf_counter()
    with target.open("wb", buffering=0) as stream:
        while left > 0:
            left -= stream.write(buffer[: min(left, len(buffer))])
    os.sync()
    return {"seconds": time.perf_counter() - begun}


def disk_read(source: Path, _) -> dict:
    buffer = bytearray(64 << 20)
    begun = time.perf_counter()
    with source.open("rb", buffering=0) as stream:
        while stream.readinto(buffer):
            pass
    return {"seconds": time.perf_counter() - begun}


TASKS = {
    "load": load,
    "save": save,
    "convert hf to orbax": convert,
    "convert orbax to hf": convert,
    "disk write": disk_write,
    "disk read": disk_read,
}

if __name__ == "__main__":
    main()
