"""Serving a checkpoint over HTTP in the shape of OpenAI's API, from the same engine that everything else samples with.

``make_app`` is an ASGI application (completions, chat completions, models, health, its own OpenAPI document);
``serve`` runs it. What a request may say is declared once, in ``schema``, for checking and for the document alike;
``EngineThread`` owns the engine; limits are in ``Limits``.
"""

from polaris_jax.serving.app import make_app
from polaris_jax.serving.chat import read_prompts
from polaris_jax.serving.engine_thread import EngineThread
from polaris_jax.serving.limits import Limits
from polaris_jax.serving.requests import Served
from polaris_jax.serving.server import serve

__all__ = ["EngineThread", "Limits", "Served", "make_app", "read_prompts", "serve"]
