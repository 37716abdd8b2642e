# %% [markdown]
# # What is inside a trajectory
#
# Reads the novel that ships with the package, plans it backwards with the offline annotator, and shows the transcript
# a model is trained on: its stages, what is supervised, and the verdict with its reasons. Runs on a CPU in well under a
# minute.

# %%
from importlib.resources import files
from pathlib import Path

from polaris_jax.library import read_novel
from polaris_jax.scaffold import OfflineAnnotator, build_books, mini_profile
from polaris_jax.trajectory import check, describe_transcript, parse, render, spans

novel_file = next(Path(str(files('polaris_jax'))).glob('library/books/*.txt'))
novel = read_novel(novel_file)
print(novel.title, 'by', novel.author, '-', len(novel.chapters), 'chapters,', novel.structure)

# %% [markdown]
# ## From chapters to small books
#
# The budget is in characters here; `polaris build` counts tokens.

# %%
books = build_books(novel, OfflineAnnotator(), mini_profile(12_000, len, chapters=(2, 3)))
transcripts = [render(book) for book in books]
for book, transcript in zip(books, transcripts):
    print(len(transcript), 'characters:', [chapter.name for chapter in book.chapters])

# %% [markdown]
# ## Stages and verdict

# %%
for row in describe_transcript(transcripts[0], 'corpus'):
    print(f"{row['role']:26}{row['words']:6} words  {'ok' if row['ok'] else row['violation']}")
assert check(transcripts[0], 'corpus')
assert render(parse(transcripts[0])) == transcripts[0]

# %% [markdown]
# ## What is supervised

# %%
from collections import Counter

kinds = Counter()
for span in spans(transcripts[0]):
    kinds[span.kind] += span.end - span.start
for kind, characters in kinds.most_common():
    print(f'{kind:10}{characters:7} characters')

# %% [markdown]
# ## The same, in colour

# %%
from html import escape

from IPython.display import HTML

from polaris_jax.report import transcript_html

page = transcript_html(transcripts[0], novel.title)
Path('transcript.html').write_text(page, encoding='utf-8')
HTML(f'<div><iframe srcdoc="{escape(page)}" width="100%" height="600"></iframe></div>')
