# %% [markdown]
# # Where arrays are placed, and whether they fit
#
# How a row of tokens and a weight matrix are cut over devices, what travels between them, and what the planner says
# about a slice before anybody rents it. The devices here are host devices of the CPU. The planner compiles for TPUs
# where `libtpu` is installed, and estimates where it is not. A minute on a CPU.

# %%
import json
import os
from pathlib import Path

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
import jax
import jax.numpy as jnp

jax.config.update('jax_num_cpu_devices', 8)

print(len(jax.devices()), 'devices')

# %% [markdown]
# ## The mesh: four axes, always all four
#
# Rows of a batch are split over `data` and `fsdp`, positions of a row over `context`, heads over `tensor`.

# %%
from jax.sharding import NamedSharding, PartitionSpec

from polaris_jax.sharding import activation_spec, make_mesh

mesh = make_mesh({'fsdp': 2, 'context': 4})
print(dict(mesh.shape))
tokens = jax.device_put(jnp.zeros((2, 64), jnp.int32), NamedSharding(mesh, activation_spec(('batch', 'sequence'))))
print('a batch of two rows of 64 tokens:')
jax.debug.visualize_array_sharding(tokens)

# %% [markdown]
# ## Weights and momenta are spread over everything
#
# One table of weights says which axis of an array may be cut (ZeRO-3 over `fsdp` × `context`).

# %%
from polaris_jax.models import ModelConfig, init_params
from polaris_jax.models.weights import param_shardings

SMALL = {'model_type': 'llama', 'hidden_size': 64, 'intermediate_size': 128, 'num_hidden_layers': 2,
         'num_attention_heads': 4, 'num_key_value_heads': 2, 'vocab_size': 512, 'max_position_embeddings': 4096,
         'rms_norm_eps': 1e-5, 'rope_theta': 10_000.0, 'tie_word_embeddings': True}
small = ModelConfig.from_hf(SMALL)
params = jax.device_put(init_params(small, jax.random.key(0)), param_shardings(small, mesh))
up = params['blocks']['0']['mlp']['up']
print('up-projections, stacked over layers:', up.shape, up.sharding.spec)
print('one layer of them:')
layer = jax.device_put(up[0], NamedSharding(mesh, PartitionSpec(*up.sharding.spec[1:])))
jax.debug.visualize_array_sharding(layer)

# %% [markdown]
# ## Zigzag: every context shard gets an early and a late chunk
#
# Later positions attend to more of the row. With N shards the row is cut in 2N chunks; shard *i* holds chunks *i* and
# 2N − 1 − *i*, so causal work is equal everywhere. Keys and values then travel around a ring.

# %%
from IPython.display import HTML

from polaris_jax.report.mesh_pictures import hop_picture, mesh_picture, ring_hops, shard_chunks, zigzag_picture
from polaris_jax.report.page import render

style = f"<style>{render('style.css')}</style>"
print('chunks of each shard:', shard_chunks(4))
hops = ring_hops(4)
pictures = ''.join(f'<div><h4>hop {hop}</h4>{hop_picture(4, hops, hop)}</div>' for hop in range(4))
HTML(f'{style}{mesh_picture(dict(mesh.shape))}{zigzag_picture(4, 4096)}<div class="hops">{pictures}</div>')

# %% [markdown]
# ## Will it fit?
#
# A model of 80 million parameters at 65,536 tokens on four v5p chips. `verdict.source` says whether the answer is
# the TPU compiler's or an estimate.

# %%
from rich.console import Console

from polaris_jax.planner import largest_context, plan, with_suggestion
from polaris_jax.planner.table import show
from polaris_jax.training import default_config

Path('small').mkdir(exist_ok=True)
shape = SMALL | {'hidden_size': 1024, 'intermediate_size': 4096, 'num_hidden_layers': 4, 'num_attention_heads': 8,
                 'vocab_size': 8192}
Path('small/config.json').write_text(json.dumps(shape))
config = default_config()
config.model.update({'path': 'small', 'remat': 'attention', 'mlp_chunk': 2048, 'attention_block': 1024})
config.optim.update({'precision': 'bf16_stochastic', 'state_dtype': 'bfloat16'})
config.data.window = 65_536
verdict = plan(config, 'v5p-8')
show(verdict, Console(width=110))

# %% [markdown]
# ## The 14B at 262,144 tokens on a v6e-256 slice
#
# An estimate takes no time; `polaris plan` without `--estimate` asks the compiler, which takes minutes.

# %%
Path('ministral').mkdir(exist_ok=True)
Path('ministral/config.json').write_text(json.dumps({
    'model_type': 'ministral3', 'vocab_size': 131072, 'hidden_size': 5120, 'intermediate_size': 16384,
    'num_hidden_layers': 40, 'num_attention_heads': 32, 'num_key_value_heads': 8, 'head_dim': 128,
    'max_position_embeddings': 262144, 'rms_norm_eps': 1e-5, 'tie_word_embeddings': False, 'sliding_window': None,
    'rope_parameters': {'rope_type': 'yarn', 'rope_theta': 1e9, 'factor': 16.0,
                        'original_max_position_embeddings': 16384, 'beta_fast': 32.0, 'beta_slow': 1.0, 'mscale': 1.0,
                        'mscale_all_dim': 1.0, 'llama_4_scaling_beta': 0.1}}))
config.model.update({'path': 'ministral', 'segments': 8})
config.mesh.update({'fsdp': 8, 'context': 32})
config.data.update({'window': 262_144, 'batch_size': 24})
config.train.microbatches = 3
big = plan(config, 'v6e-256', estimate=True)
show(big, Console(width=110))

# %% [markdown]
# The picture of that verdict: the bar against the limit of a chip, and what moves.

# %%
from html import escape

from polaris_jax.planner.picture import page

HTML(f'<div><iframe srcdoc="{escape(page(big))}" width="100%" height="520"></iframe></div>')

# %% [markdown]
# ## What if it does not fit
#
# The planner looks for the smallest change that helps, and for the longest context that fits.

# %%
config.mesh.update({'fsdp': 1, 'context': 4})
config.data.update({'batch_size': 1, 'window': 1_048_576})
config.train.microbatches = 1
too_long = with_suggestion(config, plan(config, 'v5p-8', estimate=True), estimate=True)
print('fits:', too_long.fits, '- suggestion:', too_long.suggestion)
longest = largest_context(config, 'v5p-8', estimate=True)
print(f'longest context on four v5p chips: {longest.window:,} tokens, {longest.hbm_gib_per_chip:.1f} GiB per chip')
assert longest.fits
