"""What a packaged classifier adds to the judge of plans.

    python benchmarks/plan_judge_nli.py FOLDER [--half=dev|held-out] [--file=NAME] [--tokens=N] [--denies=INDEX]

FOLDER holds an ONNX classifier of pairs with its ``tokenizer.json``; onnxruntime reads it, which the package does not
need. Its label DENIES means that the second text contradicts the first. Such a classifier says nothing about a passage
that has nothing to do with the bullet, so it is asked about one window of three sentences: the one with most of the
bullet's words. Its log-odds are pooled with those of the comparison of words: ``WEIGHT * (log-odds - NEUTRAL)``, both
chosen on the dev half, whose grid is printed. Then agreement and AUC as in ``plan_judge.py``.
"""

import argparse
import json
import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import onnxruntime
from plan_judge import LABELS, area, passage, prose
from tokenizers import Tokenizer

from polaris_jax.scaffold.analysis.novel_stats import NovelStats
from polaris_jax.scaffold.analysis.sentences import WORD, sentences
from polaris_jax.scaffold.review.bullets import GOOD, content_roots, judge_bullet
from polaris_jax.scaffold.review.support import root

WEIGHT, NEUTRAL = 1.0, -3.25
SPAN = 3  # sentences
GRID = [(weight, neutral) for weight in (0.3, 0.5, 0.7, 1.0, 1.5) for neutral in (-4, -3.25, -2.5, -1.5, 0)]


class Classifier:
    """Log-odds that the second text of a pair does not contradict the first."""

    def __init__(self, folder: Path, file: str, tokens: int, denies: int):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        (model,) = folder.rglob(file)
        (tokenizer,) = folder.rglob("tokenizer.json")
        self._session = onnxruntime.InferenceSession(str(model), options)
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.enable_truncation(tokens, strategy="only_first")
        self._tokenizer.enable_padding(length=tokens)
        self._denies = denies

    def __call__(self, text: str, line: str) -> float:
        read = self._tokenizer.encode(text, line)
        given = {"input_ids": read.ids, "attention_mask": read.attention_mask, "token_type_ids": read.type_ids}
        wanted = {one.name: np.array([given[one.name]], np.int64) for one in self._session.get_inputs()}
        logits = self._session.run(None, wanted)[0][0]
        others = np.delete(logits, self._denies)
        return float(np.logaddexp.reduce(others) - logits[self._denies])


def nearest(text: str, line: str, stats: NovelStats) -> str:
    """The window with most of the bullet's words, by their rarity."""
    parts = [one.text for one in sentences(text, stats.quotes)]
    windows = [" ".join(parts[start : start + SPAN]) for start in range(max(1, len(parts) - SPAN + 1))]
    weights = {one: stats.weight(one) or 2.0 for one in content_roots(line)}

    def share(window: str) -> float:
        return sum(weights.get(one, 0.0) for one in {root(word.lower()) for word in WORD.findall(window)})

    return max(windows, key=share)


def joined(supported: float, others: float, denial: float, weight: float, neutral: float) -> float:
    """The bullet's score with the classifier's log-odds."""
    inside = min(0.98, max(0.02, supported))
    odds = math.log(inside / (1 - inside)) + weight * (denial - neutral)
    return others / (1 + math.exp(-odds))


def judged(half: str, classify: Classifier) -> list[tuple[dict, float, float, float, float]]:
    """Every label of a half: score by words, its two parts, and the classifier's log-odds."""
    rows = [json.loads(line) for line in LABELS.read_text(encoding="utf-8").splitlines()]
    found = []
    for row in sorted((row for row in rows if row["half"] == half), key=lambda row: row["book"]):
        text, stats, _ = prose(row["book"])
        scene = passage(text, row["opens"], row["ends"])
        said = judge_bullet(row["bullet"], scene, stats, row["beside"])
        others = said.score / said.supported if said.supported else math.prod(
            1 - sure for kind, sure in said.faults.items()
            if kind not in ("unsupported", "referent", "gender", "negation")
        )  # fmt: skip
        odds = classify(nearest(scene, row["bullet"], stats), row["bullet"])
        found.append((row, said.score, said.supported, others, odds))
    return found


def line_of(found: list, scores: list[float]) -> str:
    """AUC and agreement, also by origin."""
    parts = defaultdict(list)
    for (row, *_), score in zip(found, scores, strict=True):
        for key in ("all", row["origin"]):
            parts[key].append((score >= GOOD) == row["good"])
    good = [score for (row, *_), score in zip(found, scores, strict=True) if row["good"]]
    bad = [score for (row, *_), score in zip(found, scores, strict=True) if not row["good"]]
    shares = ", ".join(f"{key} {sum(right) / len(right):.3f} of {len(right)}" for key, right in parts.items())
    return f"AUC {area(good, bad):.3f}; {shares}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--half", default="dev")
    parser.add_argument("--file", default="*.onnx")
    parser.add_argument("--tokens", type=int, default=160, help="length of a pair that the model was exported for")
    parser.add_argument("--denies", type=int, default=1)
    a = parser.parse_args()
    half = a.half.replace("-", " ")
    found = judged(half, Classifier(a.folder, a.file, a.tokens, a.denies))
    print(f"{half}, words alone: {line_of(found, [score for _, score, *_ in found])}")
    for weight, neutral in GRID if half == "dev" else [(WEIGHT, NEUTRAL)]:
        scores = [joined(supported, others, odds, weight, neutral) for _, _, supported, others, odds in found]
        print(f"{half}, weight {weight}, neutral {neutral}: {line_of(found, scores)}")


if __name__ == "__main__":
    main()
