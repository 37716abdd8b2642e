"""A post-training run in a process that a test can kill: ``python post_train_process.py CONFIG WORKDIR``."""

import sys

import jax
from ml_collections import ConfigDict

from polaris_jax.rl import post_train

if __name__ == "__main__":
    import json

    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    config = ConfigDict(json.loads(open(sys.argv[1]).read()))  # noqa: SIM115
    config.optim.groups = tuple(map(tuple, config.optim.groups))
    for part, name in ((config.data, "words"), (config.judge, "prices"), (config.rl.auto_weights, "components"),
                       (config.rl.auto_weights, "penalty_keys")):
        part[name] = tuple(part[name])
    post_train(config, sys.argv[2], devices=jax.devices()[:1])
