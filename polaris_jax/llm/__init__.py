"""Asks language models: one client for annotators and judges, for every provider.

``open_client(ClientSpec(provider, model, ...))`` gives a thread-safe client whose ``ask`` and ``ask_all`` take
``Request``s (messages, JSON schema, sampling) and return ``Reply``s. Replies are cached by content, on disk or in a
bucket, so a repeated run makes no calls. A ``UsageTracker`` counts tokens and money, and stops before the budget is
exceeded. Temporary failures are retried (table in ``failures``). A permanent one is a ``CallFailed``, never an invented
answer. Keys are read from the environment at every call and stored nowhere.
Providers: ``openai`` (any compatible server), ``gemini``, ``replay`` (cache only). The ``llm`` extra has the libraries.
"""

from polaris_jax.llm.client import Client, open_client
from polaris_jax.llm.failures import BudgetSpent, CallFailed
from polaris_jax.llm.request import Reply, Request
from polaris_jax.llm.spec import ClientSpec, ModelOrOfflineSpec
from polaris_jax.llm.usage import UsageTracker

__all__ = [
    "BudgetSpent",
    "CallFailed",
    "Client",
    "ClientSpec",
    "ModelOrOfflineSpec",
    "Reply",
    "Request",
    "UsageTracker",
    "open_client",
]
