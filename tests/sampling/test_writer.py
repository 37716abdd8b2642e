"""Any model, however bad, writes a strictly valid book; and killing it on the way changes nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from sampling_models import TINY

from polaris_jax.errors import InputError
from polaris_jax.sampling.constraint import grammar_tokenizer
from polaris_jax.sampling.generate import Counts
from polaris_jax.sampling.guard import LoopGuard
from polaris_jax.sampling.manuscript import Manuscript
from polaris_jax.sampling.sampler import Sampler
from polaris_jax.sampling.step_writer import WriterSettings, WritingError, write_step
from polaris_jax.sampling.writer import write_book
from polaris_jax.trajectory import check, next_step, open_transcript, split_stages
from polaris_jax.trajectory.grammar import Literal, Token, repeat, seq

PROMPT = "Write a small book about a lighthouse."
# Room for the shortest continuation and little else: every list of the book has to be closed for the model.
STARVED = replace(TINY, caps=dict.fromkeys(TINY.caps, 20) | {"first_chapter_text": 60, "chapter_text": 60})


def sampler(model, tokenizer):
    return Sampler(*model, tokenizer, max_length=4096, prefill_chunk=64, first_capacity=2048)


@pytest.fixture(scope="module")
def written(model, tokenizer, tmp_path_factory):
    folder, events = tmp_path_factory.mktemp("book"), []
    book = write_book(sampler(model, tokenizer), PROMPT, TINY, seed=3, out_dir=folder, progress=events.append)
    return folder, book, events


def test_a_random_model_writes_a_strictly_valid_book(written, tokenizer):
    folder, book, _ = written
    assert book.verdict.ok, book.verdict.violations
    assert check(book.transcript, "strict").ok
    assert (folder / "artifact.txt").read_text() == book.transcript
    assert [stage.role for stage in split_stages(book.transcript)][-2:] == ["scene_breakdown", "chapter_text"]
    run = json.loads((folder / "run.json").read_text())
    assert run["verdict"] == {"ok": True, "violations": []}
    assert run["steps"][-1]["end"] == len(book.transcript)
    assert len({step["seed"] for step in run["steps"][1:]}) == len(run["steps"]) - 1
    assert 0 < book.totals["forced"] < book.totals["sampled"] + book.totals["forced"]
    assert 0.1 < book.totals["forced_share"] < 0.9
    # Each token is read about once as drawn and once in canonical form, whatever was retried.
    assert book.totals["prefilled"] < 1.2 * len(tokenizer.encode(book.transcript))
    assert not list(folder.glob(".*"))


def test_exported_text_has_no_markup(written):
    folder, _, _ = written
    text = next(path for path in folder.glob("*.txt") if path.name != "artifact.txt").read_text()
    assert "```" not in text
    assert "<|" not in text
    assert len(list(folder.glob("*.epub"))) == 1


def test_progress_tells_where_the_writer_is(written):
    _, book, events = written
    assert events[-1].done
    assert events[-1].words > 0
    assert {event.chapter for event in events if event.stage == "chapter_text"} == {2}
    assert events[-1].chapters == 2
    stage = next(stage for stage in split_stages(book.transcript) if stage.role == "book_characters_list")
    assert "".join(event.text for event in events if event.stage == stage.role).strip() == stage.text


def test_starved_of_tokens_it_still_closes_every_stage(model, tokenizer, tmp_path):
    book = write_book(sampler(model, tokenizer), PROMPT, STARVED, seed=4, out_dir=tmp_path)
    assert book.verdict.ok, book.verdict.violations
    notes = [note for step in json.loads((tmp_path / "run.json").read_text())["steps"] for note in step["notes"]]
    assert "finished by its shortest continuation" in notes


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_more_seeds_and_a_recurrent_model(hybrid, tokenizer, tmp_path, seed):
    book = write_book(sampler(hybrid, tokenizer), PROMPT, TINY, seed=seed, out_dir=tmp_path)
    assert book.verdict.ok, book.verdict.violations


class Killed(Exception):
    pass


def test_an_interrupted_run_goes_on_to_the_same_bytes(written, model, tokenizer, tmp_path):
    _, book, _ = written
    machine = sampler(model, tokenizer)

    def killer(role, token_share):
        def listen(event):
            if event.stage == role and len(event.text) > 0 and token_share():
                raise Killed

        return listen

    for role in ("book_plan", "first_chapter_text", "scene_breakdown"):
        remaining = iter([False] * 5 + [True])
        with pytest.raises(Killed):
            write_book(
                machine, PROMPT, TINY, seed=3, out_dir=tmp_path, progress=killer(role, lambda it=remaining: next(it))
            )
        partial = (tmp_path / "artifact.txt").read_text()
        assert book.transcript.startswith(partial)
        assert len(partial) < len(book.transcript)
    again = write_book(machine, PROMPT, TINY, seed=3, out_dir=tmp_path)
    assert again.transcript == book.transcript
    assert again.totals["sampled"] == book.totals["sampled"]


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
import jax
jax.config.update("jax_num_cpu_devices", 8)
from polaris_jax.data import train_sentencepiece
from polaris_jax.sampling.sampler import Sampler
from polaris_jax.sampling.writer import write_book
from sampling_models import TEXT, TINY, random_model
tokenizer = train_sentencepiece([TEXT] * 4, 420)
model = random_model(tokenizer.vocab_size)
sampler = Sampler(*model, tokenizer, max_length=4096, prefill_chunk=64, first_capacity=2048)
write_book(sampler, {prompt!r}, TINY, seed=3, out_dir={folder!r})
"""


@pytest.mark.slow
def test_a_killed_process_leaves_a_book_that_another_process_finishes(written, model, tokenizer, tmp_path):
    _, book, _ = written
    script = SCRIPT.format(tests=str(Path(__file__).parent), prompt=PROMPT, folder=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", script], env=os.environ | {"JAX_PLATFORMS": "cpu"})
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        run = tmp_path / "run.json"
        if run.exists() and len(json.loads(run.read_text())["steps"]) >= 6:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.02)
    assert process.wait(60) == -signal.SIGKILL
    assert len((tmp_path / "artifact.txt").read_text()) < len(book.transcript)
    again = write_book(sampler(model, tokenizer), PROMPT, TINY, seed=3, out_dir=tmp_path)
    assert again.transcript == book.transcript


def test_a_finished_book_is_not_written_again(written, model, tokenizer):
    folder, book, _ = written
    before = (folder / "artifact.txt").read_bytes()
    again = write_book(sampler(model, tokenizer), PROMPT, TINY, seed=3, out_dir=folder)
    assert again.totals == book.totals
    assert (folder / "artifact.txt").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("prompt", {"prompt": "Another book."}),
        ("seed", {"seed": 4}),
        ("profile", {"profile": STARVED}),
        ("settings", {"settings": WriterSettings(top_p=0.9)}),
    ],
)
def test_a_folder_belongs_to_one_book(written, model, tokenizer, name, change):
    folder, book, _ = written
    arguments = {"prompt": PROMPT, "profile": TINY, "seed": 3, "out_dir": folder} | change
    with pytest.raises(InputError, match=name):
        write_book(sampler(model, tokenizer), **arguments)
    assert (folder / "artifact.txt").read_text() == book.transcript


def test_edits_to_finished_stages_stand(written, model, tokenizer, tmp_path):
    folder, book, _ = written
    for name in ("artifact.txt", "run.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    cut = book.transcript[: book.transcript.index("<|start_header_id|>book_characters_list")]
    title = book.transcript.split("## Book Title\n")[1].split("\n")[0]
    edited = cut.replace(f"## Book Title\n{title}\n", "## Book Title\nThe Lamp\n") + "<|start_header_id|>book_char"
    (tmp_path / "artifact.txt").write_text(edited)
    again = write_book(sampler(model, tokenizer), PROMPT, TINY, seed=3, out_dir=tmp_path)
    assert again.verdict.ok, again.verdict.violations
    assert again.transcript.startswith(edited.removesuffix("<|start_header_id|>book_char"))
    assert (tmp_path / "The Lamp.txt").exists()


def test_prose_never_keeps_a_loop(written, tokenizer):
    _, book, _ = written
    guard = LoopGuard()
    for stage in split_stages(book.transcript):
        if stage.role.endswith("_text"):
            tokens = tokenizer.encode(stage.text).tolist()
            assert all(guard.repeats_from(tokens[:n]) is None for n in range(len(tokens)))


def test_a_step_that_breaks_a_rule_is_tried_again_hotter_and_then_given_up(model, tokenizer):
    manuscript = Manuscript(sampler(model, tokenizer))
    manuscript.commit(open_transcript(PROMPT))
    step = next_step(manuscript.text, TINY)
    settings = WriterSettings(attempts=2, relaxed_attempts=2)
    tried = []

    def write(good_from):
        tried.clear()

        def accept(text):
            tried.append(text)
            return () if len(tried) > good_from else ("not this one",)

        return write_step(
            manuscript, replace(step, accept=accept, max_tokens=30), settings, seed=1,
            vocabulary=grammar_tokenizer(tokenizer), counts=Counts(),
        )  # fmt: skip

    accepted = write(3)
    assert accepted.attempts == 4
    assert [note for note in accepted.notes if note.startswith("attempt")] == [
        f"attempt {n}: not this one" for n in (1, 2, 3)
    ]
    assert len(set(tried)) == 4
    assert settings.options(step, 1).temperature == step.temperature
    assert settings.options(step, 3).temperature > settings.options(step, 2).temperature > step.temperature
    first = tried[0]
    with pytest.raises(WritingError, match="not this one"):
        write(9)
    assert tried[0] == first  # the failures before left no trace in the cache


def test_prose_that_ends_too_soon_is_reported_or_made_to_go_on(model, tokenizer):
    paragraphs = seq(repeat(Token("paragraph", Literal("The fog lay still.")), 1, None, "\n\n"), "\n```")
    manuscript = Manuscript(sampler(model, tokenizer))
    manuscript.commit(open_transcript(PROMPT))
    opening = next_step(manuscript.text, TINY)
    step = replace(opening, name="chapter_text", grammar=paragraphs, target_words=50, max_tokens=600)

    def words(settings, seed):
        accepted = write_step(
            manuscript, step, settings, seed=seed, vocabulary=grammar_tokenizer(tokenizer), counts=Counts()
        )
        assert paragraphs.matches(accepted.sampled)
        return accepted.sampled.count("fog") * 4, accepted.notes

    lax = WriterSettings(temperature=3.0, guard=LoopGuard(times=99))
    seed, (short, notes) = next((s, found) for s in range(9) if (found := words(lax, s))[0] < 30)
    assert notes == (f"short: {short} of 50 words",)
    longer, notes = words(replace(lax, extend_short=20), seed)
    assert longer >= 30
    assert not any(note.startswith("short") for note in notes)


def test_a_window_that_is_too_small_is_the_callers_mistake(model, tokenizer, tmp_path):
    small = Sampler(*model, tokenizer, max_length=600, prefill_chunk=64, first_capacity=600)
    with pytest.raises(InputError, match="max_length"):
        write_book(small, PROMPT, TINY, out_dir=tmp_path)
