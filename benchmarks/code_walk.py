"""Which files of the package a default training step, or a written book, enters: how far a reader has to walk.

    python benchmarks/code_walk.py train    # tracing one default step of a small Llama on four devices
    python benchmarks/code_walk.py write    # writing the first role of a small book with random weights

Prints files in the order in which they are entered, with the function through which, then the number of functions and
the deepest stack of the package's own frames. ``--json`` prints one object.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp

import polaris_jax

ROOT = Path(polaris_jax.__file__).parent


@dataclass(frozen=True)
class Walk:
    """What was entered while something ran.

    Attributes:
      files: of the package, in order; entries: the function through which each was entered first.
      functions: how many different ones were called.
      deepest: the deepest stack, ``file function`` from the outermost on.
    """

    files: list[str]
    entries: list[str]
    functions: int
    deepest: list[str]


def walk(run: Callable[[], object]) -> Walk:
    """Runs ``run`` in this thread and notes every call into the package."""
    prefix = f"{ROOT}{os.sep}"
    entries: dict[str, str] = {}
    functions: set[tuple[str, str]] = set()
    deepest: list[str] = []

    def name(frame) -> str:
        return frame.f_code.co_filename[len(prefix) :]

    def note(frame, event, argument):
        nonlocal deepest
        if event != "call" or not frame.f_code.co_filename.startswith(prefix):
            return
        file, function = name(frame), frame.f_code.co_qualname
        entries.setdefault(file, function)
        if (file, function) in functions:
            return
        functions.add((file, function))
        stack = []
        while frame is not None:
            if frame.f_code.co_filename.startswith(prefix):
                stack.append(f"{name(frame)} {frame.f_code.co_qualname}")
            frame = frame.f_back
        deepest = max(deepest, stack[::-1], key=len)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(before)
    return Walk(list(entries), list(entries.values()), len(functions), deepest)


def train_step() -> Walk:
    """The walk of making and lowering one default step: ring attention over four shards, layers recomputed."""
    from polaris_jax.data.loader import FIELDS
    from polaris_jax.models.config import ModelConfig
    from polaris_jax.optim import make_schedule
    from polaris_jax.sharding import make_mesh
    from polaris_jax.training import default_config, train_config
    from polaris_jax.training.setup import build_optimizer
    from polaris_jax.training.state import abstract_state
    from polaris_jax.training.step import make_train_step

    model = ModelConfig.from_hf(
        {
            "model_type": "llama",
            "vocab_size": 256,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "rms_norm_eps": 1e-5,
            "max_position_embeddings": 512,
            "tie_word_embeddings": True,
            "rope_theta": 10000.0,
        }
    )
    fields = default_config()
    fields.data.window = 128
    fields.model.update({"path": "unread", "compute_dtype": "float32", "attention_block": 32})
    config = train_config(fields, data=False)
    mesh = make_mesh({"context": 4}, devices=jax.devices()[:4])
    schedule = make_schedule("cosine", 1e-4, 100, 10)
    optimizer, labels = build_optimizer(config, model, mesh, schedule)
    state = abstract_state(model, optimizer, mesh, jnp.float32)
    batch = {name: jax.ShapeDtypeStruct((1, config.data.window), dtype) for name, dtype in FIELDS.items()}

    def run():
        make_train_step(config, model, mesh, optimizer, schedule, labels).lower(state, batch)

    return walk(run)


def written_book() -> Walk:
    """The walk of writing a book to the end of its preview, the constraint, the cache and the folder included."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "sampling"))
    from sampling_models import PROMPT, TEXT, TINY, random_model, small_sampler

    from polaris_jax.data import train_sentencepiece
    from polaris_jax.sampling import write_book

    tokenizer = train_sentencepiece([TEXT] * 4, 420)
    sampler = small_sampler(random_model(tokenizer.vocab_size), tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        return walk(lambda: write_book(sampler, PROMPT, TINY, out_dir=f"{folder}/book", until="book_preview"))


WALKS = {"train": train_step, "write": written_book}


def main() -> None:
    """Prints a walk."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=WALKS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", 4)
    found = WALKS[arguments.what]()
    if arguments.json:
        print(json.dumps(asdict(found)))
        return
    print(f"{len(found.files)} files, {found.functions} functions, {len(found.deepest)} frames at the deepest")
    for file, entry in zip(found.files, found.entries, strict=True):
        print(f"  {file:40} {entry}")
    print("the deepest stack:")
    for line in found.deepest:
        print(f"  {line}")


if __name__ == "__main__":
    main()
