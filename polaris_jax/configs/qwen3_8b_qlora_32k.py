r"""QLoRA of Qwen3-8B at 32,768 tokens on one chip: the base in four bits, an adapter of rank 16 beside every matrix.

Hardware: one v6e chip, with 36 layer inputs of 0.25 GiB each kept on it:

    polaris plan --config=qwen3_8b_qlora_32k --topology=v6e-1

Longer rows let the layer inputs wait in host memory, 65,536 or 196,608 tokens on the same chip:

    polaris plan --config=qwen3_8b_qlora_32k --topology=v6e-1 --config.data.window=65536 --config.model.offload=True
    polaris plan --config=qwen3_8b_qlora_32k --topology=v6e-1 --config.data.window=196608 --config.model.offload=True

Time is an estimate (8 s a step at 32,768 tokens), memory the compiler's word: 19.8 GB, 14.1 GB and 28.0 GB per chip
(benchmarks/RESULTS.md, "Adapters by the compiler"). Expected result: a model that writes more like the texts it was
given; no loss is claimed here, since no run of this size has been made with this repository.

    polaris convert hf://Qwen/Qwen3-8B /path/to/base --to=hf
    polaris build --data manuscripts/ --window=32768 --tokenizer=/path/to/base --out=runs/store
    polaris train --config=qwen3_8b_qlora_32k --workdir=runs/voice \
        --config.model.path=/path/to/base --config.data.store=runs/store
    polaris convert runs/voice runs/voice-gguf --to=gguf-lora
"""

from polaris_jax.training import load_config


def get_config():
    """NF4 base, rank 16 beside every matrix of the layers, AdamW at 2e-4."""
    config = load_config("base")
    # The shape alone, so that `polaris plan` works from a fresh checkout.
    config.model.update({"path": "qwen3_8b", "remat": "full", "segments": 4, "mlp_chunk": 2048})
    config.mesh.context = 1
    config.adapter.update({"rank": 16, "base": "nf4"})
    config.data.update({"window": 32_768, "batch_size": 1})
    config.optim.update({"precision": "fp32_master", "learning_rate": 2e-4})
    config.train.update({"steps": 500, "checkpoint_every": 50})
    config.eval.every = 100
    return config
