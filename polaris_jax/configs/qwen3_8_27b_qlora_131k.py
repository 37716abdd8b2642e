r"""QLoRA of Qwen3.8-27B at 131,072 tokens on four chips: qwen3_8b_qlora_32k with the larger, hybrid model.

Hardware: one v6e-4 slice (4 chips), one row over all of them (context 4), layer inputs in host memory:

    polaris plan --config=qwen3_8_27b_qlora_131k --topology=v6e-4

Time is an estimate (31 s a step), memory the compiler's word: 18.8 GB per chip and 21.5 GB of host memory for each
(benchmarks/RESULTS.md, "Adapters by the compiler"). Expected result: as for qwen3_8b_qlora_32k.

    polaris train --config=qwen3_8_27b_qlora_131k --workdir=runs/voice \
        --config.model.path=/path/to/base --config.data.store=runs/store
"""

from polaris_jax.training import load_config


def get_config():
    """The adapter of the 8B with the shape of the 27B, a row over four chips."""
    config = load_config("qwen3_8b_qlora_32k")
    config.model.update({"path": "qwen3_8_27b", "segments": 1, "offload": True})
    config.mesh.context = 4
    config.data.window = 131_072
    return config
