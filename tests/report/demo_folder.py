"""The folder of a demo run as ``polaris demo`` leaves it, with plausible numbers around real transcripts."""

import json
import math
import random
from pathlib import Path

from polaris_jax.trajectory import (
    KINDS,
    Arc,
    Book,
    Chapter,
    Described,
    Scene,
    Vector,
    count_words,
    render,
    spans,
    split_stages,
)

_VECTOR = Vector(10, 20, 30, 40, 0, 0, 50)
_BLURB = "A keeper counts the ships that pass a lamp nobody has asked him to light and tells no one why he stays "
_SENTENCE = "The water came up over the lower steps and he wrote the hour of it in the book. "


def _chapter(name: str) -> Chapter:
    scene = Scene("Dusk", 100, _VECTOR, ("the lamp", "a debt"), "Third person", ("He lights it.", "He waits."))
    text = "\n\n".join([(_SENTENCE * 4).strip()] * 4)
    return Chapter(name, 250, _VECTOR, ("the lamp",), ("He keeps the light.", "A ship comes."), (scene,), text)


def small_book(title: str = "The Lamp", prompt: str = "Write about a lamp.") -> Book:
    """A complete book of two chapters."""
    chapters = (_chapter("Chapter 1: The Lamp"), _chapter("Chapter 2: The Ship"))
    return Book(
        prompt=prompt,
        highlight=(_BLURB * 3).strip(),
        title=title,
        tags=("sea", "night", "duty", "debt", "quiet tone", "island life", "old age"),
        archetype=(_BLURB * 3).strip(),
        world_rules=("Ships pass only at night.", "Oil is rationed."),
        arcs=(Arc("Keeping", ("He keeps.",), ("He keeps it.",), ("He stays.",), tuple(c.name for c in chapters)),),
        character_archetypes=(Described("The Keeper", ("Stays.",)),),
        writing_style=("Plain.",),
        chapters=chapters,
        main_characters=(Described("Orrin", ("Keeps the lamp.",)),),
        side_characters=(Described("Mara", ("Rows.",)),),
    )


def metrics(steps: int = 48) -> list[dict]:
    """Losses that fall at different speeds, with noise."""
    noise = random.Random(7)
    levels = {
        "loss": (2.9, 0.8),
        "loss/prose": (3.3, 0.35),
        "loss/scaffold": (2.6, 1.3),
        "loss/copy": (1.9, 1.6),
        "loss/header": (1.2, 1.15),
        "loss/role/book_preview": (3.4, 0.7),
        "loss/role/book_plan": (2.5, 1.3),
        "loss/role/first_chapter_plan": (2.4, 1.2),
        "loss/role/first_chapter_text": (3.3, 0.3),
        "loss/role/full_book_chapters_plan": (2.4, 1.1),
        "loss/role/book_characters_list": (2.9, 0.9),
        "loss/role/scene_breakdown": (2.3, 1.0),
        "loss/role/chapter_text": (3.28, 0.36),
    }
    records = []
    for step in range(1, steps + 1):
        seconds = (9.5 if step == 1 else 2.4) * (1 + noise.uniform(-0.06, 0.06))
        record = {"step": step} | {
            name: start - fall * (1 - math.exp(-4 * step / steps)) + noise.gauss(0, 0.05)
            for name, (start, fall) in levels.items()
        }
        record |= {
            "learning_rate": 2e-4 * min(step / 5, 0.5 + 0.5 * math.cos(math.pi * step / steps)),
            "grad_norm": 1.1 + noise.random(),
            "update_norm": 0.2 + 0.1 * noise.random(),
            "param_norm": 180 + 0.03 * step,
            "tokens": 8192,
            "supervised": 7900,
            "step_time_s": seconds,
            "tokens_per_s": 8192 / seconds,
            "tokens_per_s_per_device": 2048 / seconds,
        }
        records.append(record)
    return records


def trajectory_row(file: str, transcript: str, title: str, author: str) -> dict:
    """What ``books.json`` says about a transcript, with four characters to the token."""
    roles: dict[str, dict] = {}
    for stage in split_stages(transcript):
        sums = roles.setdefault(stage.role, {"tokens": 0, "words": 0})
        sums["tokens"] += len(stage.text) // 4
        sums["words"] += count_words(stage.text)
    kinds = dict.fromkeys(KINDS, 0)
    for span in spans(transcript):
        kinds[span.kind] += (span.end - span.start) // 4
    return {
        "file": file,
        "title": title,
        "author": author,
        "volume": 1,
        "tokens": len(transcript) // 4,
        "words": count_words(transcript),
        "valid": True,
        "by_role": roles,
        "by_kind": kinds,
    }


def write_demo_folder(folder: Path, transcripts: list[str], artifact: str) -> Path:
    """Writes every file of a finished demo."""
    for name in ("transcripts", "run", "book"):
        (folder / name).mkdir(parents=True)
    rows = []
    for number, text in enumerate(transcripts, 1):
        file = f"transcripts/{number:04}.txt"
        (folder / file).write_text(text, encoding="utf-8")
        rows.append(trajectory_row(file, text, f"Novel {number}", "A. Writer"))
    accepted = [
        {
            "path": f"novel-{row['title'][-1]}.txt",
            "title": row["title"],
            "author": row["author"],
            "accepted": True,
            "reason": "",
            "structure": "chapters",
            "chapter_count": 21,
            "words": 48_123,
            "trajectories": 1,
            "seconds": 1.87,
        }
        for row in rows
    ]
    rejected = {
        "path": "sonnets.txt",
        "title": "Sonnets",
        "author": "B. Poet",
        "accepted": False,
        "reason": "verse, not a novel",
        "structure": "none",
        "chapter_count": 0,
        "words": 17_500,
        "trajectories": 0,
        "seconds": 0.31,
    }
    write_json(
        folder / "demo.json",
        {
            "version": "0.1.0",
            "created": "2025-03-02 14:05",
            "device": "2 CPU cores, 4 host devices",
            "estimate_s": 410,
            "settings": {"books": 3, "steps": 48, "seed": 11, "context": 4},
            "timings": {"books": 14.2, "model": 31.0, "training": 122.5, "writing": 171.3},
        },
    )
    write_json(
        folder / "books.json",
        {
            "books": [*accepted, rejected],
            "trajectories": rows,
            "tokens": sum(row["tokens"] for row in rows),
            "window": 8192,
            "fill": 0.873,
            "trained_on": [0],
        },
    )
    write_json(
        folder / "training.json",
        {
            "mesh": {"data": 1, "fsdp": 1, "context": 4, "tensor": 1},
            "groups": [["muon", 14, 106_168_320], ["adamw", 5, 28_346_688]],
            "parameters": 134_515_008,
            "rows": 9,
            "fill": 0.871,
            "steps": 48,
            "epochs": 5.33,
            "config": {"optim.learning_rate": 2e-4, "optim.precision": "stochastic_downcast", "seed": 12},
        },
    )
    (folder / "run" / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in metrics()))
    (folder / "book" / "artifact.txt").write_text(artifact, encoding="utf-8")
    write_json(
        folder / "book" / "run.json",
        {
            "identity": {"prompt": "?", "seed": 11},
            "totals": {
                "sampled": 3011,
                "forced": 1544,
                "prefilled": 6120,
                "seconds": 168.9,
                "steps": 2,
                "retries": 3,
                "tokens_per_second": 26.97,
                "forced_share": 0.339,
            },
            "verdict": {"ok": True, "violations": []},
            "steps": [
                {
                    "name": "prompt",
                    "start": 0,
                    "end": 90,
                    "sha256": "",
                    "capacity": 4096,
                    "seed": 0,
                    "attempts": 0,
                    "reason": "",
                    "sampled": 0,
                    "forced": 0,
                    "prefilled": 97,
                    "seconds": 0.11,
                    "model_logprob": 0.0,
                    "notes": [],
                },
                {
                    "name": "book_preview/book_preview",
                    "start": 90,
                    "end": 800,
                    "sha256": "",
                    "capacity": 4096,
                    "seed": 5,
                    "attempts": 4,
                    "reason": "complete",
                    "sampled": 289,
                    "forced": 41,
                    "prefilled": 12,
                    "seconds": 9.75,
                    "model_logprob": -1.83,
                    "notes": ["budget used up, closed by its shortest continuation"],
                },
            ],
        },
    )
    return folder


def write_json(file: Path, content: object) -> None:
    file.write_text(json.dumps(content), encoding="utf-8")


def small_demo(folder: Path) -> Path:
    """A finished demo whose transcripts are all ``small_book``."""
    transcript = render(small_book())
    return write_demo_folder(folder, [transcript, transcript], transcript)
