"""``polaris serve``: answer OpenAI-compatible HTTP requests."""

import argparse
import contextlib
import ctypes
import os
import sys
from collections.abc import Sequence
from functools import partial

from polaris_jax.commands.devices import compilation_cache
from polaris_jax.commands.flag_types import real, whole
from polaris_jax.commands.sampler_flags import add_sampler_flags, sampler_options
from polaris_jax.errors import InputError
from polaris_jax.options import AT_LEAST_1, NOT_NEGATIVE, POSITIVE, Bounds
from polaris_jax.storage import is_remote, name_of

_PORT = Bounds("is between 0 (any free one) and 65535", least=0, most=65_535)
_M_ARENA_MAX = -8  # from glibc's malloc.h


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The verb's flags."""
    parser.add_argument("--checkpoint", "--model", required=True, help="training run or Hugging Face folder")
    parser.add_argument("--name", "--served-model-name", dest="name", help="the name for clients; default: the folder")
    parser.add_argument(
        "--adapter",
        "--lora-modules",
        dest="adapters",
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME=FOLDER",
        help="a LoRA adapter in PEFT's form, served beside the model: requests choose it by this name, and the weights "
        "of the model are there once (repeatable)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="one that other machines can reach needs --token-env")
    parser.add_argument("--port", type=whole(_PORT), default=8000, help="0 takes any free one")
    parser.add_argument("--token-env", metavar="NAME", help="environment variable with the token for clients")
    parser.add_argument(
        "--window",
        "--max-model-len",
        dest="window",
        type=whole(AT_LEAST_1),
        help="longest text in tokens, including the prompt; default: the model's own limit, at most 8192",
    )
    parser.add_argument(
        "--slots",
        "--max-num-seqs",
        dest="slots",
        type=whole(AT_LEAST_1),
        default=4,
        help="texts generated at the same time",
    )
    parser.add_argument(
        "--cache-tokens",
        type=whole(AT_LEAST_1),
        metavar="N",
        help="tokens that all texts together have room for, in pages of 512; a request waits until there are pages for "
        "its prompt and max_tokens (default: every slot has room of its own, as much as the longest text needs)",
    )
    parser.add_argument("--chat-template", metavar="FILE", help="Jinja template that replaces the checkpoint's own")
    add_sampler_flags(parser)
    limits = parser.add_argument_group("limits")
    limits.add_argument("--max-body-bytes", type=whole(AT_LEAST_1), default=8 << 20)
    limits.add_argument("--max-tokens", type=whole(AT_LEAST_1), default=65_536, help="most tokens of one text")
    limits.add_argument("--max-choices", type=whole(AT_LEAST_1), default=64, help="texts per request")
    limits.add_argument("--max-queue", type=whole(AT_LEAST_1), default=256, help="texts waiting or active")
    limits.add_argument("--max-connections", type=whole(AT_LEAST_1), default=1024, help="connections open at once")
    limits.add_argument("--header-seconds", type=real(POSITIVE), default=10.0, help="for a request's headers to arrive")
    limits.add_argument("--max-seconds", type=real(POSITIVE), default=3600.0, help="per request")
    limits.add_argument(
        "--shutdown-seconds", type=real(NOT_NEGATIVE), default=30.0, help="for active requests to finish"
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb; returns the exit code."""
    a = arguments
    _share_memory_between_threads()
    token = _token(a.token_env)
    try:
        from polaris_jax.serving import EngineThread, Limits, ServedModel, load_prompt_encoder, make_app, serve
        from polaris_jax.serving.generation_defaults import sampling_defaults
        from polaris_jax.serving.server import hosts_for
    except ModuleNotFoundError as error:
        raise InputError("polaris serve", error.name, "is not installed: pip install 'polaris-jax[serve]'") from error
    hosts = hosts_for(a.host, token)
    limits = Limits(
        body_bytes=a.max_body_bytes,
        tokens=a.max_tokens,
        choices=a.max_choices,
        queue=a.max_queue,
        seconds=a.max_seconds,
        header_seconds=a.header_seconds,
        connections=a.max_connections,
        shutdown_seconds=a.shutdown_seconds,
    )
    placement = sampler_options(a)
    place = a.checkpoint if is_remote(a.checkpoint) else os.path.abspath(a.checkpoint)
    name = a.name or name_of(place)
    adapters = _adapters(a.adapters, name)
    compilation_cache()
    from polaris_jax.checkpoint_sampler import open_sampler
    from polaris_jax.models.model_folder import find_model_folder
    from polaris_jax.sampling import Engine

    model = find_model_folder(a.checkpoint)
    placement |= {"within_positions": a.window is not None, "cache_tokens": a.cache_tokens, "adapters": adapters}
    sampler = open_sampler(model, a.window or 8192, stages=False, **placement)
    try:
        prompts = load_prompt_encoder(model.path, sampler.tokenizer, a.chat_template)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("--chat-template", a.chat_template, f"cannot be read: {error}") from error
    engine = EngineThread(partial(Engine, sampler, a.slots), limits.queue)
    served = ServedModel(
        name,
        sampler.tokenizer,
        engine.vocabulary,
        min(sampler.max_length, sampler.config.max_positions),
        prompts,
        sampling_defaults(model.path),
        a.checkpoint,
        adapters,
    )
    app = make_app(engine, served, limits, token=token, hosts=hosts)

    def ready(url: str) -> None:
        print(f"{', '.join(served.names)} at {url}/v1 (Ctrl-C ends it)", flush=True)

    serve(app, a.host, a.port, limits, ready, engine.end_all)
    print("polaris serve: ended", file=sys.stderr)
    return 0


def _adapters(given: Sequence[str], base: str) -> dict[str, str]:
    """The addresses of ``NAME=FOLDER`` by name; raises ``InputError`` if ``base`` or another has the name already."""
    found: dict[str, str] = {}
    for text in given:
        name, _, address = text.partition("=")
        if not name.strip() or not address.strip():
            raise InputError("--adapter", text, "use NAME=FOLDER, such as poems=runs/poems/peft")
        if name == base or name in found:
            whose = "the model's own name; give another, or another --name" if name == base else "given twice"
            raise InputError("--adapter", text, f"{name} is {whose}")
        found[name] = address
    return found


def _share_memory_between_threads() -> None:
    """Limits malloc to two heaps instead of eight per core, so that a thread reuses memory that another has freed.

    Memory then stays constant over tens of thousands of requests. Call it before the first thread starts. Only glibc
    has such heaps.
    """
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
