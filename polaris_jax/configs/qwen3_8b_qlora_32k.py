from polaris_jax.training import load_config


def get_config():
    """NF4 base, rank 16 beside every matrix of the layers, AdamW at 2e-4."""
    config = load_config("base")
    config.model.update({"path": "qwen3_8b", "remat": "full", "segments": 4, "mlp_chunk": 2048})
    config.mesh.context = 1
    config.adapter.update({"rank": 16, "base": "nf4"})
    config.data.update({"window": 32_768, "batch_size": 1})
    config.optim.update({"learning_rate": 2e-4, "precision": "fp32_master"})
    config.train.update({"steps": 500, "checkpoint_every": 50})
    return config
