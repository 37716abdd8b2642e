"""Short tasks from a novel: a prompt gives some words and a length; the novel's passage is the human reference.

They are hard without a judge, because the length is easy to miss and easy to measure. So they suit demonstrations and
first tests of a new model.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from polaris_jax.data.prompt_story import PromptStory
from polaris_jax.errors import InputError
from polaris_jax.rewards.length import count_words

_SENTENCE = re.compile(r"[^.!?]+[.!?]+[\"'”’)]*")
_WORD = re.compile(r"[A-Za-z]{4,}")
NAMED = 2  # words that a prompt names


def passages(chapters: Sequence[str], shortest: int, longest: int, seed: int = 0) -> list[PromptStory]:
    """Passages that cover the paragraphs of ``chapters``, in order, with lengths spread over the range.

    Args:
      chapters: clean prose, paragraphs separated by a blank line.
      shortest, longest: words; target lengths are uniform on a logarithmic scale.

    Raises:
      InputError: an empty range, or no passage fits it.
    """
    if not 0 < shortest < longest:
        raise InputError("config.data.words", (shortest, longest), "two numbers of words, the smaller first")
    draw = np.random.default_rng(seed)
    common = Counter(word.lower() for chapter in chapters for word in _WORD.findall(chapter))
    rows: list[PromptStory] = []
    for number, chapter in enumerate(chapters):
        sentences = [
            " ".join(found.split()) for paragraph in chapter.split("\n\n") for found in _SENTENCE.findall(paragraph)
        ]
        while sentences:
            wanted = shortest * (longest / shortest) ** draw.random()
            taken = [sentences.pop(0)]
            while sentences and count_words(" ".join(taken)) + count_words(sentences[0]) / 2 < wanted:
                taken.append(sentences.pop(0))
            text = " ".join(taken)
            words = count_words(text)
            if shortest <= words <= longest:
                rows.append(PromptStory(f"{number}-{len(rows)}", _prompt(text, words, common), words, text, system=""))
    if not rows:
        raise InputError("config.data.words", (shortest, longest), "no passage of the novel has such a length")
    return rows


def _prompt(text: str, words: int, common: Counter) -> str:
    """A request that names the passage's rarest words (the longest ones among equally rare words)."""
    found = dict.fromkeys(word.lower() for word in _WORD.findall(text))
    named = sorted(found, key=lambda word: (common[word], -len(word), word))[:NAMED]
    about = f" with the words {' and '.join(named)} in it" if named else ""
    return f"Tell a story{about}, {words} words long."
