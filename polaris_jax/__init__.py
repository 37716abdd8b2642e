"""polaris_jax: long-context training of models that write books, in JAX.

What flows through the rooms, in this order (docs/architecture.md says which may import which):

- ``library`` reads novels, ``scaffold`` plans them, ``trajectory`` owns the stage language, ``llm`` asks language
  models, ``corpus`` makes a library of novels into a token store, ``data`` packs it into batches;
- ``models``, ``ops``, ``sharding`` and ``optim`` are the model and its mathematics, ``training`` the run, ``planner``
  what it would cost on a TPU;
- ``sampling`` writes books, ``serving`` answers over HTTP, ``rewards`` scores stories, ``rl`` learns from the scores;
- ``evals`` measures a model, ``studies`` compare models, ``report`` shows what happened;
- ``commands`` are the verbs of ``polaris``, ``configs`` the runs that come with it, ``options`` the form of every
  config field.
"""

__version__ = "0.1.0"
