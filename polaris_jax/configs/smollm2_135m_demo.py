r"""SmolLM2-135M-Instruct on mini trajectories of one novel: the training run inside `polaris demo`.

Hardware: 2 CPU cores as 4 host devices (mesh context 4), about 5 GB of memory, float32.
Time and result: see benchmarks/RESULTS.md ("The demo, part by part").
Command, after `polaris demo` has made the model and the store:

    polaris train --config=smollm2_135m_demo --workdir=runs/smollm2_demo --devices=4 \
        --config.model.path=runs/demo/model --config.data.store=runs/demo/store

The same step on four chips, from a fresh checkout:

    polaris plan --config=smollm2_135m_demo --topology=v5p-8 --config.model.path=smollm2_135m
"""

from polaris_jax.demo_settings import DemoSettings, demo_config


def get_config():
    """The demo's own config; paths point into the demo's default work folder."""
    return demo_config(DemoSettings(), "runs/demo/model", "runs/demo/store")
