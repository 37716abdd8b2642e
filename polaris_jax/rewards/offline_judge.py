"""A judge without a model, for demonstrations and tests: it measures the surface of a text.

It does NOT measure literary quality. It only counts: how varied the vocabulary is, how much repeats, whether there is
dialogue, whether words of the prompt return. A text with a high score may be worthless. Its scores are deterministic
and have the format of a judge's reply, so that everything that needs a judge can run without a model.
"""

import json
import re
import statistics

from polaris_jax.rewards.dimensions import BONUS, DIMENSIONS, PENALTY
from polaris_jax.rewards.judgement import Judgement, read_replies
from polaris_jax.rewards.length_hiding import without_length_request
from polaris_jax.rewards.repetition import self_repetition

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]*")
_SPEECH = re.compile(r"[\"“][^\"”\n]{2,}[\"”]")
_NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]+")
_SENSES = re.compile(
    r"see|saw|look(ed)?|bright|dark|light|shadow|red|green|blue|white|black|hear|heard|sound|voice|whisper|loud|quiet|"
    r"silence|smell|scent|taste|bitter|sweet|cold|warm|hot|wet|dry|rough|smooth|soft|hard|sharp|touch|felt"
)
_ABSTRACT = re.compile(
    r"journey|destiny|tapestry|testament|realm|essence|resilience|hope|love|truth|courage|meaning|lesson|realized|"
    r"reminded|important|always|never|forever"
)
_WINDOW = 200  # words; vocabulary is measured in windows of this length, so that long texts are not at a disadvantage


class OfflineJudge:
    """Derives rubric scores from counts; see the module. Deterministic; not a measure of quality."""

    identity = "offline 1"
    concurrency = 1

    def judge(self, prompt: str, story: str) -> Judgement:
        """See ``Judge.judge``."""
        if not story.strip():
            return Judgement((), failed="no_story", detail="there is nothing to judge", judge=self.identity)
        return read_replies([json.dumps(_scores(without_length_request(prompt), story))], judge=self.identity)

    def close(self) -> None:
        """See ``Judge.close``."""


def _scores(prompt: str, story: str) -> dict[str, int]:
    words = [word.lower() for word in _WORD.findall(story)] or [""]
    sentences = [len(_WORD.findall(found)) for found in _SENTENCE.findall(story) if _WORD.search(found)] or [0]
    repeated = self_repetition(story)
    variety = _variety(words)
    asked = {word.lower() for word in _WORD.findall(prompt) if len(word) > 4}
    echoed = len(asked & set(words)) / len(asked) if asked else 0.5
    rhythm = min(1.0, statistics.pstdev(sentences) / 8)
    names = len(set(_NAME.findall(story)))
    senses = min(1.0, 40 * sum(map(bool, map(_SENSES.fullmatch, words))) / len(words))
    abstract = min(1.0, 60 * sum(map(bool, map(_ABSTRACT.fullmatch, words))) / len(words))
    speech = min(1.0, sum(map(len, _SPEECH.findall(story))) / max(1, len(story)) / 0.25)
    ended = story.rstrip()[-1] in ".!?\"”’'…"
    long = max(0.0, statistics.fmean(sentences) - 30) / 20
    shares = {
        "P1": echoed,
        "P2": 0.4 + 0.2 * rhythm + 0.2 * ended,
        "P3": min(0.8, 0.2 + 0.15 * names),
        "P4": (variety + rhythm) / 2,
        "P5": 0.2 + 0.6 * senses,
        "P6": 0.3 + 0.3 * variety,
        "N1": 0.4 * (1 - echoed),
        "N2": 0.2 + 0.3 * repeated.ngrams,
        "N3": 0.6 * (1 - variety),
        "N4": 0.5 * (1 - senses),
        "N5": repeated.ngrams,
        "N6": (repeated.near + repeated.lines) / 2,
        "N7": 0.2 * (1 - speech),
        "N8": 0.0 if ended else 0.5,
        "N9": 0.3 + 0.4 * abstract,
        "N10": min(1.0, long),
        BONUS.id: 0.0,
        PENALTY.id: 0.0,
    }
    return {d.id: round(min(max(shares[d.id], 0.0), 1.0) * d.most) for d in DIMENSIONS}


def _variety(words: list[str]) -> float:
    """Share of distinct words per window, averaged over windows and scaled to 0-1."""
    stretches = [words[start : start + _WINDOW] for start in range(0, max(1, len(words) - _WINDOW // 2), _WINDOW)]
    share = statistics.fmean(len(set(stretch)) / len(stretch) for stretch in stretches)
    return min(1.0, max(0.0, (share - 0.2) / 0.5))
