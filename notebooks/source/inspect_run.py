# %% [markdown]
# # What a training run reports
#
# Makes a small run from nothing: the novel that ships with the package, planned and packed, and a random model of a few
# hundred thousand parameters on four host devices of the CPU. Then reads what the run wrote: losses per stage role,
# speed, goodput and where the rest of the time went. Two minutes on a CPU; the same cells read the folder of a pod's
# run.

# %%
import os
from importlib.resources import files
from pathlib import Path

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
import jax

jax.config.update('jax_num_cpu_devices', 4)

# %% [markdown]
# ## A small data set
#
# Mini volumes of one novel, a tokenizer trained on them, and a token store.

# %%
from polaris_jax.corpus import BuildOptions, build_library, find_books, plan_novel
from polaris_jax.data import train_sentencepiece
from polaris_jax.library import read_novel
from polaris_jax.scaffold import OfflineAnnotator
from polaris_jax.trajectory import render

WINDOW = 2048
books = find_books([files('polaris_jax') / 'library' / 'books' / '*.txt'])
rough = BuildOptions(window=4 * WINDOW, chapters=(2, 2))
sample = [render(book) for book in plan_novel(read_novel(books[0]), OfflineAnnotator(), rough, len)]
tokenizer = train_sentencepiece(sample, 1000)
options = BuildOptions(window=WINDOW, chapters=(2, 2), shares=(1.0, 0.0, 0.0))
built = build_library(books, 'store', tokenizer, options, workers=1)
print(len(built.report['trajectories']), 'trajectories,', built.report['tokens'], 'tokens')

# %% [markdown]
# ## The run

# %%
from polaris_jax.models import Decoder, ModelConfig, init_params, save_pretrained
from polaris_jax.training import default_config, train

shape = ModelConfig.from_hf({
    'model_type': 'llama', 'hidden_size': 64, 'intermediate_size': 128, 'num_hidden_layers': 2,
    'num_attention_heads': 4, 'num_key_value_heads': 2, 'vocab_size': tokenizer.vocab_size,
    'max_position_embeddings': WINDOW, 'rms_norm_eps': 1e-5, 'rope_theta': 10_000.0, 'tie_word_embeddings': True})
save_pretrained(Decoder(shape, init_params(shape, jax.random.key(0))), 'model')
tokenizer.save('model')
config = default_config()
config.model.update({'path': 'model', 'compute_dtype': 'float32', 'attention_block': 256})
config.mesh.update({'context': 4})
config.data.update({'store': 'store', 'window': WINDOW, 'batch_size': 2, 'threads': 1})
config.optim.update({'learning_rate': 2e-2, 'warmup': 2, 'newton_schulz_dtype': 'float32'})
config.train.update({'steps': 12, 'checkpoint_every': 6})
result = train(config, 'run')
print('steps:', result.steps, 'finished:', result.finished)

# %% [markdown]
# ## Progress
#
# The frame that `polaris watch run` draws in a terminal.

# %%
from rich.console import Console

from polaris_jax.report import dashboard, read_state

state = read_state('run')
Console(width=110).print(dashboard(state, 110))

# %% [markdown]
# ## Losses per stage role
#
# Copies are easy and lower the average; prose is what counts.

# %%
for one in state.losses:
    print(f'{one.name:36}{one.first:8.3f} -> {one.last:6.3f}  ({one.difference:+.3f})')
prose = next(one for one in state.losses if one.name == 'loss/prose')
assert prose.last < prose.first

# %% [markdown]
# ## Goodput: how much of the time went into steps that count

# %%
print(f"goodput {state.goodput['goodput']:.1%} of {state.goodput['seconds']:.0f} s")
for name, seconds in sorted(state.goodput.items(), key=lambda item: -item[1]):
    if name.startswith('lost/') and seconds:
        print(f"  {name.removeprefix('lost/'):12}{seconds:8.2f} s")

# %% [markdown]
# A run of minutes spends most of its time compiling; a run of days must not.
#
# ## Everything it logged, as a page

# %%
from html import escape

from IPython.display import HTML

from polaris_jax.report import write_run_report

write_run_report(state, 'run/report.html')
HTML(f'<div><iframe srcdoc="{escape(Path("run/report.html").read_text())}" width="100%" height="700"></iframe></div>')
