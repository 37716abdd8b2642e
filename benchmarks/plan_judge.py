"""How well the judge of plans tells good bullets from bad ones.

    python benchmarks/plan_judge.py [--half=dev|held-out] [--show] [--planted=N] [--judge=JUDGE]

Two tables. First, agreement with the 209 bullets that were labelled by hand before there was a judge
(``tests/scaffold/labelled_bullets.jsonl``; five books for development, five held out), by where they come from: the
offline scaffold, planted faults, written by hand. Second, the AUC of each kind of planted fault: bullets of the offline
scaffold with the fault against those without, up to N of each kind and book (``scaffold/review/faults.py``).
With ``--judge`` (as ``--plan-judge`` of ``polaris build``), a model judges the labelled bullets besides.
"""

import argparse
import json
import os
import random
import re
from collections import defaultdict
from functools import lru_cache
from pathlib import Path

from polaris_jax.commands.client_flags import plan_judge
from polaris_jax.library import read_novel
from polaris_jax.scaffold import Entailment, open_entailment
from polaris_jax.scaffold.analysis.novel_stats import NovelStats, analyse
from polaris_jax.scaffold.annotator import Context
from polaris_jax.scaffold.drafts import drafts, fit_scenes
from polaris_jax.scaffold.offline import OfflineAnnotator
from polaris_jax.scaffold.profile import ROOMY, share
from polaris_jax.scaffold.review.bullets import GOOD, judge_bullet
from polaris_jax.scaffold.review.faults import KINDS, plant

SHARED = Path(os.environ.get("POLARIS_SHARED") or Path(__file__).resolve().parents[2] / "shared")
LABELS = Path(__file__).resolve().parents[1] / "tests" / "scaffold" / "labelled_bullets.jsonl"


@lru_cache(maxsize=4)
def prose(book: str) -> tuple[str, NovelStats, list[str]]:
    """A novel's text, its statistics and its scenes."""
    parts = drafts(read_novel(SHARED / book), 10_000)
    text = "\n\n".join(draft.text for draft in parts)
    return text, analyse(text), [scene.strip() for draft in parts for scene in fit_scenes(draft.scenes, 12)]


def passage(text: str, opens: str, ends: str) -> str:
    """The passage that begins and ends with these words, however the lines are set."""
    spaced = lambda words: r"\s+".join(re.sub(r"['’]", "['’]", re.escape(word)) for word in words.split())  # noqa: E731
    start = re.search(spaced(opens), text)
    assert start, opens
    end = re.search(spaced(ends), text[start.start() :])
    assert end, ends
    return text[start.start() : start.start() + end.end()]


def labelled(half: str, judge: Entailment | None = None) -> list[tuple[dict, float, str]]:
    """Every label of a half with the judge's score and reason."""
    rows = [json.loads(line) for line in LABELS.read_text(encoding="utf-8").splitlines()]
    found = []
    for row in sorted((row for row in rows if row["half"] == half), key=lambda row: row["book"]):
        text, stats, _ = prose(row["book"])
        scene = passage(text, row["opens"], row["ends"])
        (entailed,) = judge.probabilities([(scene, row["bullet"])]) if judge else [None]
        said = judge_bullet(row["bullet"], scene, stats, row["beside"], entailed)
        found.append((row, said.score, said.why))
    return found


def agreement(half: str, show: bool, judge: Entailment | None) -> None:
    """Prints the share of labels that the judge shares."""
    found, parts = labelled(half, judge), defaultdict(list)
    for row, score, why in found:
        right = (score >= GOOD) == row["good"]
        for key in ("all", row["origin"], f"fault {row['fault']}" if row["fault"] else "good"):
            parts[key].append(right)
        if show and not right:
            print(f"  {'good' if row['good'] else row['fault']:12} {score:.2f} {why:28} {row['bullet']}")
    auc = area([s for r, s, _ in found if r["good"]], [s for r, s, _ in found if not r["good"]])
    print(f"{half}: AUC {auc:.3f}; " + ", ".join(f"{k} {sum(v) / len(v):.3f} of {len(v)}" for k, v in parts.items()))


def area(good: list[float], bad: list[float]) -> float:
    """Probability that a good one has the higher score; ties count half."""
    wins = sum((a > b) + 0.5 * (a == b) for a in good for b in bad)
    return wins / max(1, len(good) * len(bad))


def planted(books: list[str], most: int) -> dict[str, tuple[float, int]]:
    """AUC and number of cases of every kind of planted fault."""
    rng, offline = random.Random(1), OfflineAnnotator()
    good: dict[str, list[float]] = defaultdict(list)
    bad: dict[str, list[float]] = defaultdict(list)
    lines_of: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for book in books:
        text, _, scenes = prose(book)
        context = Context("", "", text, text)
        chosen = rng.sample([s for s in scenes if 300 < len(s.split()) < 1_600], 10)
        lines_of[book] = [
            (s, offline.summary(s, context, share(len(s.split()), ROOMY.scene_words, ROOMY.scene))) for s in chosen
        ]
    for book in books:
        _, stats, _ = prose(book)
        elsewhere = [line for other in books if other != book for _, lines in lines_of[other] for line in lines]
        for kind in KINDS:
            pairs = [(scene, line, lines) for scene, lines in lines_of[book] for line in lines]
            rng.shuffle(pairs)
            made = 0
            for scene, line, lines in pairs:
                beside = [other for other in lines if other != line]
                spoilt = plant(kind, line, scene, stats, rng, elsewhere, beside)
                if spoilt is None or made == most:
                    continue
                made += 1
                good[kind].append(judge_bullet(line, scene, stats, beside).score)
                bad[kind].append(judge_bullet(spoilt, scene, stats, beside).score)
    return {kind: (area(good[kind], bad[kind]), len(bad[kind])) for kind in KINDS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", default="dev,held out")
    parser.add_argument("--show", action="store_true", help="list the labels that the judge does not share")
    parser.add_argument("--planted", type=int, default=25)
    parser.add_argument("--judge", metavar="JUDGE", help="nli:FOLDER or PROVIDER:MODEL[@BASE_URL][,field=value...]")
    arguments = parser.parse_args()
    judge = open_entailment(plan_judge("--judge", arguments.judge, None)) if arguments.judge else None
    for half in arguments.half.split(","):
        half = half.replace("-", " ")
        agreement(half, arguments.show, judge)
        if arguments.planted:
            rows = [json.loads(line) for line in LABELS.read_text(encoding="utf-8").splitlines()]
            books = sorted({row["book"] for row in rows if row["half"] == half})
            found = planted(books, arguments.planted)
            print("  AUC " + ", ".join(f"{kind} {auc:.3f} ({count})" for kind, (auc, count) in found.items()))


if __name__ == "__main__":
    main()
