"""The vector of a passage from word counts (trajectory specification 2.5, fallback without a model)."""

from polaris_jax.scaffold.analysis.lexicons import ACTION, EROTIC, EXPOSITION, ROMANTIC, WORLD, stem
from polaris_jax.scaffold.analysis.sentences import dialogue_share, sentences, words
from polaris_jax.trajectory import DIMENSIONS, Vector

# lexicon, and the hits per 100 words that give the highest score
_CAPS = {
    "action": (ACTION, 6.0),
    "romantic": (ROMANTIC, 4.0),
    "erotic": (EROTIC, 1.5),
    "world_building": (WORLD, 8.0),
    "exposition": (EXPOSITION, 8.0),
}
_TOP = 99


def score(text: str, quotes: str) -> Vector:
    """Seven integers 0-99 for a passage; ``quotes`` is the book's quotation style."""
    stems = [stem(word.lower()) for word in words(text)]
    per_hundred = 100 / max(1, len(stems))
    values = {
        name: _TOP * min(1.0, sum(word in lexicon for word in stems) * per_hundred / cap)
        for name, (lexicon, cap) in _CAPS.items()
    }
    values["dialog"] = _TOP * dialogue_share(text, quotes)
    mean_length = len(stems) / max(1, len(sentences(text, quotes)))
    pace = 0.5 * (1 - mean_length / 40) + 0.3 * values["action"] / _TOP + 0.2 * values["dialog"] / _TOP
    values["pacing"] = _TOP * min(1.0, max(0.0, pace))
    return Vector(**{name: min(_TOP, max(0, round(values[name]))) for name in DIMENSIONS})
