"""What every measure of style is worth, on known ground.

    python benchmarks/style_validation.py --machine=stories.jsonl [--human=FOLDER] [--out=DIR] [--per-author=12]

``stories.jsonl`` comes from ``benchmarks/style_stories.py``; ``--human`` defaults to the given corpus. Five grounds:

- machine: an instruct model's stories against novels; must separate, in the expected direction where one is claimed;
- halves: stretches of every author's book dealt alternately into two halves, all authors together; must show nothing;
- alarms: the same per author: for how many the halves differ (nominal intervals, and those of the family);
- authors: pairs of different authors; how often they differ;
- shuffled: the words of every passage shuffled; what depends on order must change, bags of words must not;
- looped: the second half of every text replaced by repetitions of its last sentence.

A measure is kept when machine separates with the expected sign and halves shows nothing. Prints the table, writes JSON,
Markdown and LaTeX with ``--out``.
"""

import argparse
import itertools
import os
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from polaris_jax.evals.documents import Document, DocumentSection, Table, markdown, write_document
from polaris_jax.evals.intervals import Interval
from polaris_jax.studies.style import CANDIDATES, Sample, contrast, read_stories
from polaris_jax.studies.style.burrows_delta import BurrowsDelta
from polaris_jax.studies.style.classifier import VIEWS, accuracy
from polaris_jax.studies.style.contrast import Contrast
from polaris_jax.studies.style.groups import StoryGroup
from polaris_jax.studies.style.measures import Measure
from polaris_jax.studies.style.overused import rates
from polaris_jax.studies.style.stories import Passage, Story, spread_by_author

STRETCH = 4  # passages dealt to one half before the next go to the other
PAIRS = 24
LONGEST = 48  # passages per author that are dealt
FAMILY = len(CANDIDATES) + 2


def dealt(passages: Sequence[Passage]) -> tuple[list[Passage], list[Passage]]:
    """Alternate stretches of each author's passages; the stretch becomes the cluster."""
    halves: tuple[list[Passage], list[Passage]] = ([], [])
    for passage in passages:
        number = passage.stretch // STRETCH
        halves[number % 2].append(replace(passage, work=f"{passage.author}/{number}"))
    return halves


def dealt_stories(stories: Sequence[Story]) -> tuple[list[Story], list[Story]]:
    """Alternate chapters of each author."""
    halves: tuple[list[Story], list[Story]] = ([], [])
    seen: dict[str, int] = {}
    for story in stories:
        number = seen[story.author] = seen.get(story.author, -1) + 1
        halves[number % 2].append(replace(story, work=f"{story.author}/{number}"))
    return halves


def by(texts: Sequence, cluster: str, measure: Measure) -> Sample:
    """Values with the clusters named by an attribute."""
    return Sample.of([measure.of(text) for text in texts], [getattr(text, cluster) for text in texts])


def shuffled(passage: Passage, rng: random.Random) -> Passage:
    """The same words and marks in random order."""
    pieces = passage.text.split()
    rng.shuffle(pieces)
    return replace(passage, text=" ".join(pieces))


def shuffled_story(story: Story, rng: random.Random) -> Story:
    """As ``shuffled``."""
    pieces = story.text.split()
    rng.shuffle(pieces)
    return replace(story, text=" ".join(pieces))


def looped(text: str, words: int) -> str:
    """``words`` words, the second half of which say one sentence again and again."""
    pieces = text.split()[:words]
    half = " ".join(pieces[: words // 2])
    last = re.split(r"(?<=[.!?])\s+", half)[-1].split()[-14:] or pieces[:8]
    return half + " " + " ".join(itertools.islice(itertools.cycle(last), words // 2))


def judge(measure: Measure, machine: Contrast, halves: Contrast) -> str:
    """``kept``, or why not."""
    if halves.separates:
        return "finds halves different"
    if not machine.separates:
        return "does not separate"
    if measure.expected and measure.expected * machine.delta < 0:
        return "separates the wrong way"
    return "kept"


def interval(found: Contrast) -> Interval:
    return Interval(found.delta, found.low, found.high)


def rows_of(human: StoryGroup, machine: StoryGroup, every: Sequence[Story], seed: int) -> list[list]:
    """The table's rows, one per candidate."""
    rng = random.Random(seed)
    authors = list(dict.fromkeys(p.author for p in human.passages))
    thick = [p for author in authors for p in [q for q in human.every if q.author == author][:LONGEST]]
    pairs = [rng.sample(authors, 2) for _ in range(PAIRS)]
    mixed = [shuffled(p, rng) for p in human.passages], [shuffled_story(s, rng) for s in human.stories]
    loops = (
        [replace(p, text=looped(p.text, 200)) for p in human.passages],
        [replace(s, text=looped(s.text, 300)) for s in human.stories],
    )
    rows = []
    for measure in CANDIDATES:
        passage = measure.level == "passage"
        texts = thick if passage else every
        first, second = dealt(texts) if passage else dealt_stories(texts)
        values = by(texts, "author", measure)
        base, a, b = human.sample(measure), by(first, "work", measure), by(second, "work", measure)
        against = contrast(machine.sample(measure), base, family=FAMILY, seed=seed)
        null = contrast(a, b, family=FAMILY, seed=seed)
        alarms, sure, tried = 0, 0, 0
        for author in authors:
            mine = [
                Sample(s.values[m], s.labels[m])
                for s in (a, b)
                for m in [[label.startswith(f"{author}/") for label in s.labels]]
            ]
            found = contrast(*mine, family=FAMILY, resamples=1000, seed=seed)
            if min(found.clusters_a, found.clusters_b) >= 3:
                tried += 1
                alarms += found.low > 0 or found.high < 0
                sure += found.separates
        differ = 0
        for x, y in pairs:
            one, other = (
                [
                    Sample(s.values[m], s.labels[m])
                    for s in (a, b)
                    for m in [[label.startswith(f"{name}/") for label in s.labels]]
                ]
                for name in (x, y)
            )
            joined = [Sample.of([*p[0].values, *p[1].values], [*p[0].labels, *p[1].labels]) for p in (one, other)]
            differ += contrast(*joined, family=FAMILY, resamples=1000, seed=seed).separates
        mix = contrast(by(mixed[0 if passage else 1], "author", measure), base, resamples=1000, seed=seed)
        loop = contrast(by(loops[0 if passage else 1], "author", measure), base, resamples=1000, seed=seed)
        rows.append(
            [
                measure.name,
                {1: "+", -1: "−", 0: ""}[measure.expected],
                float(values.values.mean()),
                against.mean_a,
                interval(against),
                interval(null),
                f"{alarms}/{tried}",
                f"{sure}/{tried}",
                f"{differ / PAIRS:.2f}",
                interval(mix),
                interval(loop),
                judge(measure, against, null),
            ]
        )
        print(markdown(Table(measure.name, COLUMNS, rows[-1:])).splitlines()[-1], flush=True)
    return rows


COLUMNS = (
    "measure",
    "claimed",
    "novels",
    "machine",
    "machine: effect",
    "halves: effect",
    "alarms 95 %",
    "alarms family",
    "author pairs",
    "shuffled: effect",
    "looped: effect",
    "verdict",
)


def whole_text_rows(human: StoryGroup, machine: StoryGroup, seed: int) -> list[list]:
    """Delta, over-used phrases, classifier: machine and halves."""
    rows = []
    delta = BurrowsDelta(human.delta_texts)
    a, b = dealt(human.every)
    halves = [StoryGroup("half", (), (), tuple(half), False) for half in (a, b)]
    null = contrast(*(delta.deltas(half.delta_texts) for half in halves), family=FAMILY, seed=seed)
    found = contrast(delta.deltas(machine.delta_texts), delta.deltas(human.delta_texts), family=FAMILY, seed=seed)
    rows.append(["Burrows' Delta", found.mean_b, found.mean_a, interval(found), interval(null)])
    first, second = dealt(human.passages)
    ours, theirs = rates(machine.passages, human.passages)
    found = contrast(
        Sample.of(ours, [p.author for p in machine.passages]),
        Sample.of(theirs, [p.author for p in human.passages]),
        family=FAMILY,
        seed=seed,
    )
    mine, other = rates(first, second)
    null = contrast(
        Sample.of(mine, [p.author for p in first]),
        Sample.of(other, [p.author for p in second]),
        family=FAMILY,
        seed=seed,
    )
    rows.append(["over-used n-grams", found.mean_b, found.mean_a, interval(found), interval(null)])
    for view in VIEWS:
        hit = accuracy(machine.passages, human.passages, view, seed=seed)
        none = accuracy(first, second, view, seed=seed)
        rows.append(
            [
                f"classifier, {view}",
                None,
                None,
                Interval(hit.value, hit.low, hit.high),
                Interval(none.value, none.low, none.high),
            ]
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    shared = Path(os.environ.get("POLARIS_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machine", required=True)
    parser.add_argument("--human", default=str(shared / "corpus"))
    parser.add_argument("--per-author", type=int, default=12)
    parser.add_argument("--out")
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    every, stories = read_stories(a.human), read_stories(a.machine)
    human, machine = StoryGroup.of("novels", every, a.per_author), StoryGroup.of("machine", stories, a.per_author)
    print(human.facts(), machine.facts(), sep="\n", flush=True)
    table = Table(
        "Measures on known ground",
        COLUMNS,
        rows_of(human, machine, spread_by_author(every, 40), a.seed),
        "Effects are Cliff's delta with 95 % cluster-bootstrap intervals.",
    )
    whole = Table(
        "Whole-text measures",
        ("measure", "novels", "machine", "machine: effect or accuracy", "halves: effect or accuracy"),
        whole_text_rows(human, machine, a.seed),
    )
    print("\n" + markdown(table) + "\n" + markdown(whole))
    if a.out:
        lead = f"{len(stories)} machine stories and {human.facts()['authors']} novelists."
        write_document(
            Document(
                "Validation of the style measures",
                lead,
                [DocumentSection("Measures", "", [table, whole])],
                {"human": human.facts(), "machine": machine.facts()},
            ),
            a.out,
        )


if __name__ == "__main__":
    main()
