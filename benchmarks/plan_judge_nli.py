"""What packaged classifiers add to the judge of plans.

    python benchmarks/plan_judge_nli.py FOLDER [--half=dev|held-out] [--embeddings=FOLDER] [--tokens=N] [--denies=INDEX]

FOLDER holds an ONNX classifier of pairs with its ``tokenizer.json``; onnxruntime reads it, which the package does not
need. Its label DENIES means that the second text contradicts the first. Such a classifier says nothing about a passage
that has nothing to do with the bullet, so it is asked about one window of three sentences: the one with most of the
bullet's words or, with a model of sentence embeddings in Hugging Face's layout, the most similar one. Its log-odds,
``WEIGHT * (log-odds - NEUTRAL)``, are pooled with the comparison of words (``review.bullets.pooled``). Both numbers are
chosen on the dev half, whose grid is printed. Agreement and AUC as in ``plan_judge.py``.
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
from polaris_jax.scaffold.review.bullets import ABOUT_SUPPORT, GOOD, content_roots, judge_bullet, pooled
from polaris_jax.scaffold.review.support import root

WEIGHT, NEUTRAL = 0.7, -3.0
SPAN = 3  # sentences
GRID = [(weight, neutral) for weight in (0.3, 0.5, 0.7, 1.0, 1.5) for neutral in (-4.0, -3.0, -2.0, 0.0)]


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


class Embeddings:
    """Similarity of texts by a model of sentence embeddings: the mean of its last states."""

    def __init__(self, folder: Path):
        import torch
        from transformers import AutoModel, AutoTokenizer

        torch.set_num_threads(1)
        self._torch, self._tokenizer = torch, AutoTokenizer.from_pretrained(folder)
        self._model = AutoModel.from_pretrained(folder).eval()

    def _vectors(self, texts: list[str]) -> np.ndarray:
        found = []
        for start in range(0, len(texts), 16):
            read = self._tokenizer(texts[start : start + 16], padding=True, truncation=True, return_tensors="pt")
            with self._torch.inference_mode():
                states = self._model(**read).last_hidden_state
            mask = read["attention_mask"][..., None].float()
            mean = (states * mask).sum(1) / mask.sum(1)
            found.append(self._torch.nn.functional.normalize(mean, dim=1).numpy())
        return np.concatenate(found)

    def __call__(self, windows: list[str], line: str, stats: NovelStats) -> np.ndarray:
        return self._vectors(windows) @ self._vectors([line])[0]


def common_words(windows: list[str], line: str, stats: NovelStats) -> np.ndarray:
    """The bullet's words in every window, by their rarity."""
    weights = {one: stats.weight(one) or 2.0 for one in content_roots(line)}
    roots = [{root(word.lower()) for word in WORD.findall(window)} for window in windows]
    return np.array([sum(weights[one] for one in weights if one in there) for there in roots])


def nearest(text: str, line: str, stats: NovelStats, similarity) -> str:
    """The window that is most similar to the bullet."""
    parts = [one.text for one in sentences(text, stats.quotes)]
    windows = [" ".join(parts[start : start + SPAN]) for start in range(max(1, len(parts) - SPAN + 1))]
    return windows[int(similarity(windows, line, stats).argmax())]


def judged(half: str, classify: Classifier, similarity) -> list[tuple[dict, float, float, float, float]]:
    """Every label of a half: score by words, its two parts, and the classifier's log-odds."""
    rows = [json.loads(line) for line in LABELS.read_text(encoding="utf-8").splitlines()]
    found = []
    for row in sorted((row for row in rows if row["half"] == half), key=lambda row: row["book"]):
        text, stats, _ = prose(row["book"])
        scene = passage(text, row["opens"], row["ends"])
        said = judge_bullet(row["bullet"], scene, stats, row["beside"])
        others = math.prod(1 - sure for kind, sure in said.faults.items() if kind not in ABOUT_SUPPORT)
        odds = classify(nearest(scene, row["bullet"], stats, similarity), row["bullet"])
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
    parser.add_argument("--embeddings", type=Path)
    parser.add_argument("--file", default="*.onnx")
    parser.add_argument("--tokens", type=int, default=160, help="length of a pair that the model was exported for")
    parser.add_argument("--denies", type=int, default=1)
    a = parser.parse_args()
    half = a.half.replace("-", " ")
    similarity = Embeddings(a.embeddings) if a.embeddings else common_words
    found = judged(half, Classifier(a.folder, a.file, a.tokens, a.denies), similarity)
    print(f"{half}, words alone: {line_of(found, [score for _, score, *_ in found])}")
    for name, least, most in (("without a fault of support", 0.8, 1.0), ("with a plain one", 0.0, 0.1)):
        some = [row["good"] for row, _, supported, others, _ in found if least <= supported <= most and others >= GOOD]
        print(f"{half}, {name}: {sum(some)} of {len(some)} good")
    for weight, neutral in GRID if half == "dev" else [(WEIGHT, NEUTRAL)]:
        scores = [
            others * pooled(supported, 1 / (1 + math.exp(-weight * (odds - neutral))))
            for _, _, supported, others, odds in found
        ]
        print(f"{half}, weight {weight}, neutral {neutral}: {line_of(found, scores)}")


if __name__ == "__main__":
    main()
