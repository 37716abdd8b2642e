"""The page of a library build, from a report as the builder writes it (whole pages: tests/corpus)."""

import re

import pytest

from polaris_jax.report.build_report import build_page, length_histogram

RUN = {
    "novels": 2,
    "read_now": 2,
    "planned_now": 1,
    "found_planned": 0,
    "unfinished": 0,
    "errors": 1,
    "seconds": 20.0,
    "bytes_planned": 4_000_000,
    "tokens_planned": 100_000,
    "runner": "local",
    "seconds_by_book": {"aa": 9.5},
    "seconds_by_stage": {"read": 1.0, "scaffold": 7.0, "write": 2.0},
    "ledger": {
        "calls": 321,
        "cached": 4,
        "retries": 5,
        "failed": 6,
        "prompt_tokens": 700,
        "completion_tokens": 80,
        "usd": 1.25,
    },
}


@pytest.fixture
def report():
    book = {
        "file": "a.txt",
        "title": "A <b>Bold</b> Title",
        "author": "Ann Other",
        "split": "test",
        "status": "built",
        "accepted": True,
        "reason": "",
        "structure": "chapters",
        "chapter_count": 9,
        "words": 40_000,
        "sha256": "aa",
        "trajectories": 1,
        "tokens": 1000,
        "truncated": 1,
        "fields": 200,
        "fallback": 3,
        "plan": {
            "score": 81.25,
            "parts": {"supported": 0.9},
            "bullets": 210,
            "worst": [["scene 1.2", "He open the door.", 0.2, "grammar"]],
            "template": 0.04,
        },
    }
    broken = book | {
        "file": "b.txt",
        "title": "b",
        "status": "error",
        "accepted": False,
        "reason": "error: KeyError: 'x'",
        "sha256": "bb",
        "trajectories": 0,
        "plan": None,
    }
    return {
        "options": {"profile": "full", "window": 262_144, "max_fallback": 0.05},
        "window": 262_144,
        "tokenizer": "t" * 64,
        "annotator": {"name": "openai/model", "version": "3"},
        "content_hash": "c" * 64,
        "inputs_hash": "i" * 64,
        "tokens": 1000,
        "words": 800,
        "by_kind": {"prose": 600, "copy": 50, "header": 40, "prompt": 10, "scaffold": 300},
        "fields": {"chapters/summary": 200},
        "fallback": {"chapters/summary": 3},
        "failures": {"timeout": 3},
        "faithfulness": {"unknown_names": 11, "copied_ngrams": 12, "rewrites": 13},
        "books": [book, broken],
        "splits": {
            name: {"books": name == "test", "trajectories": name == "test", "tokens": 1000 * (name == "test")}
            for name in ("train", "validation", "test")
        },
        "trajectories": [{"tokens": 1000, "truncated": True}],
    }


def test_what_is_in_the_store_and_what_is_not(report):
    page = build_page(report)
    for text in ("Ann Other", "error: KeyError", "60.00 %", "39.00 %", "1.00 %", "1.50 %", "timeout 3", "c" * 64):
        assert text in page
    assert "<b>Bold</b>" not in page
    assert build_page(report) == page
    assert page.index("train</td>") < page.index("validation</td>") < page.index("test</td>")


def test_how_the_run_went(report):
    page = build_page(report, RUN)
    for text in ("0.400 MB/s", "10,000 tokens/s", "5,000 tokens/s", "321", "1.25 USD", "9.50 s"):
        assert text in page
    assert "tokens/s" not in build_page(report)


def test_every_trajectory_is_in_the_histogram_once():
    lengths = [1, 10_000, 10_000, 20_001, 99_999, 100_000]
    drawn = length_histogram(lengths)
    assert sum(map(int, re.findall(r"<title>(\d+) of ", drawn))) == len(lengths)
    assert length_histogram([]) is None
