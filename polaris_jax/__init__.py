"""polaris_jax: long-context training of models that write books, in JAX.

Rooms (see docs/architecture.md): ``library`` reads novels, ``scaffold`` plans them, ``trajectory`` owns the stage
language, ``data`` stores and packs tokens, ``models``/``ops``/``optim``/``sharding``/``training`` train,
``sampling`` writes books, ``report`` shows what happened.
"""

__version__ = "0.1.0"
