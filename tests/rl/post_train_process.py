"""A post-training run in a process that a test can kill: ``python post_train_process.py CONFIG WORKDIR``.

Alone it takes one device; as one of several processes it takes all.
"""

import json
import sys
from pathlib import Path

import jax
from ml_collections import ConfigDict

from polaris_jax.rl import post_train
from polaris_jax.training import cluster

if __name__ == "__main__":
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    cluster.join()
    config = json.loads(Path(sys.argv[1]).read_text())
    post_train(ConfigDict(config), sys.argv[2], devices=None if jax.distributed.is_initialized() else jax.devices()[:1])
