"""``polaris serve``: answer OpenAI-compatible HTTP requests."""

import argparse
import os
import sys
from functools import partial
from pathlib import Path

from polaris_jax.commands.devices import compilation_cache
from polaris_jax.errors import InputError


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The verb's flags."""
    parser.add_argument("--checkpoint", "--model", required=True, help="training run or Hugging Face folder")
    parser.add_argument("--name", "--served-model-name", dest="name", help="what clients call it; default: the folder")
    parser.add_argument("--host", default="127.0.0.1", help="other than this machine's own needs --token-env")
    parser.add_argument("--port", type=int, default=8000, help="0 takes any free one")
    parser.add_argument("--token-env", metavar="NAME", help="environment variable with the token that callers need")
    parser.add_argument("--window", "--max-model-len", dest="window", type=int,
                        help="longest text in tokens, prompt included; default: the model's own, at most 8192")
    parser.add_argument("--slots", "--max-num-seqs", dest="slots", type=int, default=4,
                        help="texts written at the same time")
    parser.add_argument("--chat-template", metavar="FILE", help="Jinja template in the place of the checkpoint's own")
    limits = parser.add_argument_group("limits")
    limits.add_argument("--max-body-bytes", type=int, default=8 << 20)
    limits.add_argument("--max-tokens", type=int, default=65_536, help="that one text may ask for")
    limits.add_argument("--max-choices", type=int, default=64, help="texts per request")
    limits.add_argument("--max-queue", type=int, default=256, help="texts waiting or in work")
    limits.add_argument("--max-seconds", type=float, default=3600.0, help="per request")
    limits.add_argument("--shutdown-seconds", type=float, default=30.0, help="to finish what is in work")


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb; returns the exit code."""
    a = arguments
    token = _token(a.token_env)
    try:
        from polaris_jax.serving import EngineThread, Limits, Served, make_app, read_prompts, serve
        from polaris_jax.serving.server import hosts_for
    except ModuleNotFoundError as error:
        raise InputError("polaris serve", error.name, "is not installed: pip install 'polaris-jax[serve]'") from error
    hosts = hosts_for(a.host, token)
    limits = Limits(body_bytes=a.max_body_bytes, tokens=a.max_tokens, choices=a.max_choices, queue=a.max_queue,
                    seconds=a.max_seconds, shutdown_seconds=a.shutdown_seconds)
    compilation_cache()
    from polaris_jax import flow
    from polaris_jax.sampling import Engine

    checkpoint = Path(a.checkpoint)
    folder = checkpoint / "model" if (checkpoint / "model" / "config.json").exists() else checkpoint
    sampler = flow.open_sampler(a.checkpoint, a.window or 8192)
    known = sampler.config.max_positions
    if (a.window or 0) > known:
        raise InputError("--window", a.window, f"the model knows {known} positions")
    try:
        prompts = read_prompts(folder, sampler.tokenizer, a.chat_template and Path(a.chat_template))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("--chat-template", a.chat_template, f"cannot be read: {error}") from error
    engine = EngineThread(partial(Engine, sampler, a.slots), limits.queue)
    served = Served(a.name or checkpoint.resolve().name, sampler.tokenizer, engine.vocabulary,
                    min(sampler.max_length, known), prompts)
    app = make_app(engine, served, limits, token=token, hosts=hosts)

    def ready(url: str) -> None:
        print(f"{served.name} at {url}/v1 (Ctrl-C ends it)", flush=True)

    serve(app, a.host, a.port, limits, ready)
    print("polaris serve: ended", file=sys.stderr)
    return 0


def _token(name: str | None) -> str | None:
    if name is None:
        return None
    token = os.environ.get(name, "").strip()
    if not token:
        raise InputError("--token-env", name, "this environment variable is not set")
    return token
