"""Writing through somebody else's engine: vLLM, llama.cpp, LM Studio, ``polaris serve``, or a hosted model.

``ServerModel`` takes the place of a sampler in ``write_book``: the prompts, the grammar, the checks, the loop guard and
the files are the same; only the tokens are sampled elsewhere.
"""

from polaris_jax.sampling.server.engines import ENGINES
from polaris_jax.sampling.server.model import ServerModel, open_server

__all__ = ["ENGINES", "ServerModel", "open_server"]
