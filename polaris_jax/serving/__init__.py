"""Serves a checkpoint over HTTP with OpenAI's API, by the engine of ``sampling``.

``make_app`` is an ASGI application (completions, chat completions, models, health, its own OpenAPI document);
``serve`` runs it. The fields of a request are declared once, in ``schema``, for the checks and for the document.
``EngineThread`` owns the engine. ``Limits`` has all limits.
"""

from polaris_jax.serving.app import make_app
from polaris_jax.serving.chat import load_prompt_encoder
from polaris_jax.serving.engine_thread import EngineThread
from polaris_jax.serving.limits import Limits
from polaris_jax.serving.requests import ServedModel
from polaris_jax.serving.server import serve

__all__ = ["EngineThread", "Limits", "ServedModel", "load_prompt_encoder", "make_app", "serve"]
