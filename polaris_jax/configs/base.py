"""What all training runs on books share; the other configs start from it. Not a run of its own: it names no model.

Every field, its default and its unit: polaris_jax/training/config/sections.py. Any of them can be overridden on the
command line as --config.section.field=value.
"""

from polaris_jax.training import default_config


def get_config():
    """Muon with 25 steps of warm-up and cosine decay; float32 masters, stochastically rounded bfloat16 copies."""
    config = default_config()
    config.model.remat = "attention"
    config.data.overlong = "drop"
    config.data.split = "train"
    config.optim.precision = "stochastic_downcast"
    config.optim.schedule = "cosine"
    config.optim.warmup = 25
    config.train.checkpoint_every = 25
    config.eval.every = 50  # on the authors that the store holds out
    return config
