"""``polaris serve``: answer OpenAI-compatible HTTP requests."""

import argparse
import contextlib
import ctypes
import os
import sys
from functools import partial

from polaris_jax.commands.devices import compilation_cache
from polaris_jax.commands.sampler_flags import add_sampler_flags, sampler_options
from polaris_jax.errors import InputError
from polaris_jax.storage import is_remote, name_of

_M_ARENA_MAX = -8  # of glibc's malloc.h


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
    add_sampler_flags(parser)
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
    _share_memory_between_threads()
    token = _token(a.token_env)
    try:
        from polaris_jax.serving import EngineThread, Limits, Served, make_app, read_prompts, serve
        from polaris_jax.serving.server import hosts_for
    except ModuleNotFoundError as error:
        raise InputError("polaris serve", error.name, "is not installed: pip install 'polaris-jax[serve]'") from error
    hosts = hosts_for(a.host, token)
    limits = Limits(body_bytes=a.max_body_bytes, tokens=a.max_tokens, choices=a.max_choices, queue=a.max_queue,
                    seconds=a.max_seconds, shutdown_seconds=a.shutdown_seconds)
    placement = sampler_options(a)
    compilation_cache()
    from polaris_jax import flow
    from polaris_jax.sampling import Engine
    from polaris_jax.training.checkpoint import model_folder

    sampler = flow.open_sampler(a.checkpoint, a.window or 8192, within_positions=a.window is not None, **placement)
    try:
        prompts = read_prompts(model_folder(a.checkpoint), sampler.tokenizer, a.chat_template)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("--chat-template", a.chat_template, f"cannot be read: {error}") from error
    engine = EngineThread(partial(Engine, sampler, a.slots), limits.queue)
    place = a.checkpoint if is_remote(a.checkpoint) else os.path.abspath(a.checkpoint)
    served = Served(a.name or name_of(place), sampler.tokenizer, engine.vocabulary,
                    min(sampler.max_length, sampler.config.max_positions), prompts)
    app = make_app(engine, served, limits, token=token, hosts=hosts)

    def ready(url: str) -> None:
        print(f"{served.name} at {url}/v1 (Ctrl-C ends it)", flush=True)

    serve(app, a.host, a.port, limits, ready)
    print("polaris serve: ended", file=sys.stderr)
    return 0


def _share_memory_between_threads() -> None:
    """Two heaps for all threads instead of eight per core: what one has freed another takes, and memory stays flat over
    tens of thousands of requests. Before the first thread starts; only glibc has such heaps."""
    if "MALLOC_ARENA_MAX" not in os.environ:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def _token(name: str | None) -> str | None:
    if name is None:
        return None
    token = os.environ.get(name, "").strip()
    if not token:
        raise InputError("--token-env", name, "this environment variable is not set")
    return token
