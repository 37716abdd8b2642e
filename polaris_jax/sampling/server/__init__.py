"""Writes books with another engine: vLLM, llama.cpp, LM Studio, ``polaris serve``, or a hosted model.

``ServerModel`` replaces a sampler in ``write_book``. Prompts, grammars, checks, loop guard and files are the same; only
the tokens are sampled elsewhere.
"""

from polaris_jax.sampling.server.engines import ENGINES
from polaris_jax.sampling.server.model import ServerModel, open_server

__all__ = ["ENGINES", "ServerModel", "open_server"]
