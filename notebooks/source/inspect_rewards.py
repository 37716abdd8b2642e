# %% [markdown]
# # What a story is worth
#
# The reward of post-training, part by part: repetition inside the story, its length against what was asked for, blank
# text, and a judge's verdict. The stories are passages of the novel that ships with the package, as they are and
# spoiled in several ways. A few seconds on a CPU, no network.

# %%
from importlib.resources import files
from pathlib import Path

from polaris_jax.library import read_novel
from polaris_jax.rewards import JudgeSpec, RewardSpec, open_judge, score, split_thinking

novel = read_novel(next(Path(str(files('polaris_jax'))).glob('library/books/*.txt')))
words = ' '.join(chapter.text for chapter in novel.chapters).split(' ')
story = ' '.join(words[:600])
prompt, wanted = 'Write a story about an old quarrel in a village.', 600
print(novel.title, '-', len(story.split()), 'words:', story[:120], '...')

# %% [markdown]
# ## One story, every component
#
# 600 words were asked for. Without a judge there is no quality component; the rest is arithmetic.

# %%
def row(name, breakdown):
    shown = {part: 'none' if value is None else f'{value:+.3f}' for part, value in breakdown.components.items()}
    total = breakdown.failed if breakdown.scalar is None else f'{breakdown.scalar:+.3f}'
    print(f'{name:30}{total:>8}   ' + '  '.join(f'{part} {value}' for part, value in shown.items()))


plain = score(story, prompt, wanted)
row('the passage', plain)
plain.diagnostics

# %% [markdown]
# ## Faults, and what they cost

# %%
stories = {
    'the passage': story,
    'half as long': ' '.join(words[:300]),
    'four times as long': ' '.join(words[:2400]),
    'a sixth as long': ' '.join(words[:100]),
    'one paragraph over and over': '\n\n'.join([' '.join(words[:60])] * 10),
    'the same line over and over': 'He looked at the sea and said nothing.\n' * 75,
    'nothing': '',
    'thoughts without a story': '<think>What shall I write? ' + story,
    'thoughts, then the story': '<think>What shall I write?</think>' + story,
}
scores = {name: score(text, prompt, wanted) for name, text in stories.items()}
for name, breakdown in scores.items():
    row(name, breakdown)
assert scores['the passage'].scalar > scores['one paragraph over and over'].scalar
assert scores['the passage'].scalar > scores['nothing'].scalar

# %% [markdown]
# ## The reward of length
#
# The same novel cut at different lengths, scored against 600 words asked for.

# %%
from IPython.display import HTML

from polaris_jax.report.charts import Series, line_chart
from polaris_jax.report.page import render

lengths = range(50, 2001, 50)
curve = [(count, score(' '.join(words[:count]), prompt, wanted).scalar) for count in lengths]
style = f"<style>{render('style.css')}</style>"
chart = line_chart([Series('reward', 'plain', curve)], 'reward against words', x_label='words', smooth=False)
HTML(style + chart)

# %% [markdown]
# ## The reward of repetition
#
# A growing share of the story is its own first paragraph again.

# %%
paragraph = words[:60]
shares = []
for repeated in range(0, 10):
    text = ' '.join([*words[:60 * (10 - repeated)], *paragraph * repeated])
    shares.append((10 * repeated, score(text, prompt, wanted).scalar))
chart = line_chart([Series('reward', 'plain', shares)], 'reward against repetition', x_label='% repeated', smooth=False)
HTML(style + chart)

# %% [markdown]
# ## With a judge
#
# The offline judge fills in the rubric by rules, so that everything can be tried without a model. It does not measure
# quality. `JudgeSpec('llm', client=ClientSpec(...))` asks a real one; its replies are cached and can be stored.

# %%
judge = open_judge(JudgeSpec('offline'))
for name in ('the passage', 'one paragraph over and over', 'nothing'):
    text = stories[name]
    judgement = judge.judge(prompt, split_thinking(text).story)
    row(name, score(text, prompt, wanted, judgement=judgement))
judge.close()
print(judge.identity)

# %% [markdown]
# ## The numbers of the recipe
#
# Each is a config field; a run may change any of them.

# %%
from dataclasses import asdict

for name, value in asdict(RewardSpec()).items():
    print(f'{name:20}{value}')
