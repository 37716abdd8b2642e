# %% [markdown]
# # From a folder of manuscripts to an adapter that llama.cpp runs
#
# Put your texts (`.txt`, `.md`, `.epub`, `.docx`, `.odt`) into `manuscripts/`, run all cells, and download two files: the
# base model as GGUF and your adapter as GGUF, for llama.cpp, Ollama or LM Studio. The adapter (QLoRA) learns beside a base
# model in four bits. On a free TPU or GPU the base is SmolLM2-1.7B. On a CPU it is a random model of half a million
# parameters, and the text is two chapters of the bundled novel: the cells take a minute, the prose is worth nothing.
#
# Stored outputs are from a CPU. On Colab, choose *Runtime → Change runtime type* first.

# %%
import warnings
from importlib.resources import files
from pathlib import Path

import jax

from polaris_jax.cli import main

warnings.filterwarnings('ignore', 'install "ipywidgets"')  # of progress bars
CHIP = jax.default_backend() != 'cpu'
BASE = 'hf://HuggingFaceTB/SmolLM2-1.7B'  # any model of a supported family
WINDOW, STEPS, RANK = (4096, 200, 16) if CHIP else (512, 12, 8)


def polaris(*words):
    """One command of the program, as in a terminal."""
    print('polaris', *words)
    assert main([str(word) for word in words]) == 0


print(jax.devices())

# %% [markdown]
# ## The manuscripts
#
# Your own folder is used unchanged. `--join` in the build below makes one document of files in natural order (a chapter
# each). Leave it out when every file is a text of its own.

# %%
manuscripts = Path('manuscripts')
if not manuscripts.exists():
    from polaris_jax.library import read_novel

    manuscripts.mkdir()
    novel = read_novel(str(files('polaris_jax') / 'library' / 'books' / 'the_hallin_inventory.txt'))
    for number, chapter in enumerate(novel.chapters[:2], 1):
        (manuscripts / f'chapter {number}.txt').write_text(chapter.text, encoding='utf-8')
for file in sorted(manuscripts.iterdir()):
    print(f'{file.stat().st_size:8,} bytes  {file.name}')

# %% [markdown]
# ## The base model

# %%
if CHIP:
    polaris('convert', BASE, 'base', '--to=hf')
else:
    from polaris_jax.data import train_sentencepiece
    from polaris_jax.models import Decoder, ModelConfig, init_params, save_pretrained

    texts = [file.read_text(encoding='utf-8') for file in sorted(manuscripts.iterdir())]
    tokenizer = train_sentencepiece(texts, 600)
    shape = ModelConfig.from_hf({
        'model_type': 'llama', 'hidden_size': 128, 'intermediate_size': 256, 'num_hidden_layers': 2,
        'num_attention_heads': 4, 'num_key_value_heads': 2, 'vocab_size': tokenizer.vocab_size,
        'max_position_embeddings': WINDOW, 'rms_norm_eps': 1e-5, 'rope_theta': 10_000.0, 'tie_word_embeddings': True})
    save_pretrained(Decoder(shape, init_params(shape, jax.random.key(0))), 'base')
    tokenizer.save('base')

# %% [markdown]
# ## The texts as tokens
#
# What was read, what was left out, and what is held out to measure on. `inspect` shows one row; green is learned.

# %%
polaris('build', '--data', manuscripts, '--join', '--tokenizer=base', f'--window={WINDOW}', '--split=80/20/0', '--out=store')

# %%
polaris('inspect', 'store', '--row=0', '--tokenizer=base')

# %% [markdown]
# ## Training
#
# The base stays frozen, in four bits. Beside each of its matrices two thin ones learn. If the runtime ends, run the
# cells again: the run goes on from its last checkpoint.

# %%
from polaris_jax.training import default_config, quarter_means, read_metrics, train

config = default_config()
config.model.update({'path': 'base', 'remat': 'full', 'compute_dtype': 'bfloat16' if CHIP else 'float32'})
config.mesh.context = 1
config.mesh.fsdp = -1
config.adapter.update({'rank': RANK, 'base': 'nf4'})
config.data.update({'store': 'store', 'window': WINDOW, 'batch_size': jax.device_count()})
config.optim.update({'learning_rate': 2e-4 if CHIP else 2e-2, 'warmup': 2})
config.train.update({'steps': STEPS, 'checkpoint_every': STEPS // 2})
config.eval.update({'every': STEPS // 2, 'split': 'validation', 'rows': 1})
result = train(config, 'run')
first, last = quarter_means(read_metrics('run'))['loss/prose']
print(f'{result.steps} steps; loss of the first quarter {first:.3f}, of the last {last:.3f}')
assert last < first

# %% [markdown]
# ## The files to keep
#
# The adapter in PEFT's layout, the same for llama.cpp, the base model for llama.cpp, and both in one file.

# %%
polaris('convert', 'run', 'adapter', '--to=peft')
polaris('convert', 'run', 'adapter-gguf', '--to=gguf-lora')
polaris('convert', 'base', 'base-gguf', '--to=gguf')
polaris('convert', 'run', 'merged-gguf', '--to=gguf')
for folder in ('adapter', 'adapter-gguf', 'base-gguf', 'merged-gguf'):
    for file in sorted(Path(folder).iterdir()):
        if file.is_file():
            print(f'{file.stat().st_size:10,} bytes  {file}')

# %% [markdown]
# ```bash
# llama-cli --model base-gguf/base-F16.gguf --lora adapter-gguf/run-lora.gguf --prompt "The lamp in the harbour office"
# polaris convert run hf://you/my-voice --to=peft --licence=apache-2.0     # with a card, private until you change it
# ```
#
# ## The adapter at work
#
# The merged model on a passage of the manuscripts, beside the base.

# %%
import jax.numpy as jnp
import numpy as np

from polaris_jax.data import load_tokenizer
from polaris_jax.models import from_pretrained

text = sorted(manuscripts.iterdir())[-1].read_text(encoding='utf-8', errors='replace')[-2000:]
tokens = np.asarray(load_tokenizer('base', stages=False).encode(text), np.int32)[None, :256]


def loss(folder):
    logits = from_pretrained(folder, dtype='float32')(tokens[:, :-1])
    found = jnp.take_along_axis(jax.nn.log_softmax(logits), tokens[:, 1:, None], axis=-1)
    return -float(found.mean())


before, after = loss('base'), loss('adapter')
print(f'base {before:.3f}, with the adapter {after:.3f} nats per token')
assert after < before
