"""Any model, however bad, writes a strictly valid book; and killing it on the way changes nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import pytest
from sampling_models import PROMPT, TINY, random_model
from sampling_models import small_sampler as sampler

from polaris_jax.errors import InputError
from polaris_jax.models.cache import unstack
from polaris_jax.sampling.book_model import RESERVE
from polaris_jax.sampling.generate import Counts
from polaris_jax.sampling.guard import LoopGuard
from polaris_jax.sampling.local_model import LocalSession, weights_fingerprint
from polaris_jax.sampling.run_record import lock_folder
from polaris_jax.sampling.sampler import Sampler
from polaris_jax.sampling.settings import WriterSettings
from polaris_jax.sampling.step_writer import WritingError, write_step
from polaris_jax.sampling.writer import write_book
from polaris_jax.trajectory import FIRST_CHAPTER, check, next_step, open_transcript, split_stages
from polaris_jax.trajectory.grammar import Literal, Token, repeat, seq

# Only a little more than the shortest continuation fits: the writer has to close every list for the model.
STARVED = replace(TINY, caps=dict.fromkeys(TINY.caps, 20) | {"first_chapter_text": 60, "chapter_text": 60})


def test_a_random_model_writes_a_strictly_valid_book(written, tokenizer):
    folder, book, _ = written
    assert book.verdict.ok, book.verdict.violations
    assert check(book.transcript, "strict").ok
    assert (folder / "artifact.txt").read_text() == book.transcript
    assert [stage.role for stage in split_stages(book.transcript)][-2:] == ["scene_breakdown", "chapter_text"]
    run = json.loads((folder / "run.json").read_text())
    assert run["verdict"] == {"ok": True, "violations": []}
    assert (run["end"]["how"], book.end) == ("complete", "complete")
    assert run["steps"][-1]["end"] == len(book.transcript)
    assert all(step["seconds"] > 0 for step in run["steps"][1:])
    assert len({step["seed"] for step in run["steps"][1:]}) == len(run["steps"]) - 1
    assert 0 < book.totals["forced"] < book.totals["sampled"] + book.totals["forced"]
    assert 0.1 < book.totals["forced_share"] < 0.9
    temperatures = {step["name"]: step["temperature"] for step in run["steps"]}
    assert (temperatures["book_preview"], temperatures["chapter_text"]) == (0.8, 0.2)
    # Each token is read about once as drawn and once in canonical form, whatever was retried.
    assert book.totals["prefilled"] < 1.2 * len(tokenizer.encode(book.transcript))
    assert not list(folder.glob(".*"))


def test_exported_text_has_no_markup(written):
    folder, _, _ = written
    text = next(path for path in folder.glob("*.txt") if path.name != "artifact.txt").read_text()
    assert "```" not in text
    assert "<|" not in text
    assert len(list(folder.glob("*.epub"))) == 1


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
sys.path[:0] = {tests!r}
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
    script = SCRIPT.format(
        tests=[str(folder) for folder in Path(__file__).parents[:2]], prompt=PROMPT, folder=str(tmp_path)
    )
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
        ("weights", {"weights": 1}),
    ],
)
def test_a_folder_belongs_to_one_book(written, model, tokenizer, name, change):
    folder, book, _ = written
    arguments = {"prompt": PROMPT, "profile": TINY, "seed": 3, "out_dir": folder} | change
    if arguments.pop("weights", None):
        model = random_model(tokenizer.vocab_size, seed=1)
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
    cached = LocalSession(sampler(model, tokenizer))
    cached.commit(open_transcript(PROMPT))
    step = next_step(cached.text, TINY)
    settings = WriterSettings(attempts=2, relaxed_attempts=2)
    tried = []

    def write(good_from):
        tried.clear()

        def accept(text):
            tried.append(text)
            return () if len(tried) > good_from else ("not this one",)

        return write_step(
            cached,
            replace(step, accept=accept, max_tokens=30),
            settings,
            seed=1,
            counts=Counts(),
        )

    accepted = write(3)
    assert accepted.attempts == 4
    refused = [note for note in accepted.notes if note.startswith("attempt")]
    assert [note.split(" (")[0] for note in refused] == [f"attempt {n}: not this one" for n in (1, 2, 3)]
    assert all("seed" in note and "temperature" in note for note in refused)
    assert len(set(tried)) == 4
    assert settings.options(step, 1).temperature == step.temperature
    assert settings.options(step, 3).temperature > settings.options(step, 2).temperature > step.temperature
    first = tried[0]
    with pytest.raises(WritingError, match="not this one"):
        write(9)
    assert tried[0] == first  # the failures before left no trace in the cache


def test_prose_that_ends_too_soon_is_reported_or_made_to_go_on(model, tokenizer):
    paragraphs = seq(repeat(Token("paragraph", Literal("The fog lay still.")), 1, None, "\n\n"), "\n```")
    cached = LocalSession(sampler(model, tokenizer))
    cached.commit(open_transcript(PROMPT))
    opening = next_step(cached.text, TINY)
    step = replace(opening, name="chapter_text", grammar=paragraphs, target_words=50, max_tokens=600)

    def words(settings, seed):
        accepted = write_step(cached, step, settings, seed=seed, counts=Counts())
        assert paragraphs.matches(accepted.sampled)
        return accepted.sampled.count("fog") * 4, accepted.notes

    lax = WriterSettings(temperature=3.0, guard=LoopGuard(times=99))
    seed, (short, notes) = next((s, found) for s in range(9) if (found := words(lax, s))[0] < 30)
    assert notes == (f"short: {short} of 50 words",)
    longer, notes = words(replace(lax, extend_short=20), seed)
    assert longer >= 30
    assert not any(note.startswith("short") for note in notes)


@pytest.mark.parametrize("share", [0.003, 0.11, 0.5, 0.72, 0.97])
def test_any_beginning_of_a_transcript_goes_on_to_the_same_book(written, model, tokenizer, tmp_path, share):
    folder, book, _ = written
    (tmp_path / "run.json").write_bytes((folder / "run.json").read_bytes())
    (tmp_path / "artifact.txt").write_text(
        book.transcript[: len(open_transcript(PROMPT)) + int(share * len(book.transcript))]
    )
    again = write_book(sampler(model, tokenizer), PROMPT, TINY, seed=3, out_dir=tmp_path)
    assert again.transcript == book.transcript
    assert [step for step in json.loads((tmp_path / "run.json").read_text())["steps"] if step["name"] == "given"] == []


def test_a_transcript_from_elsewhere_needs_no_record(written, model, tokenizer, tmp_path):
    _, book, _ = written
    begun = book.transcript[: book.transcript.index("<|start_header_id|>first_chapter_text")]
    (tmp_path / "artifact.txt").write_text(begun)
    again = write_book(sampler(model, tokenizer), PROMPT, TINY, seed=8, out_dir=tmp_path)
    assert again.verdict.ok, again.verdict.violations
    assert again.transcript.startswith(begun)
    assert json.loads((tmp_path / "run.json").read_text())["steps"][0]["name"] == "given"


def test_a_book_may_stop_early_and_go_on(model, tokenizer, tmp_path):
    three = replace(TINY, chapters=(3, 3))
    write = partial(write_book, sampler(model, tokenizer, 8192), PROMPT, three, seed=1)
    plan = write(out_dir=tmp_path / "a", until="book_plan")
    assert (plan.end, split_stages(plan.transcript)[-1].role) == ("until", "book_plan")
    assert [file.name for file in plan.files] == ["artifact.txt", "run.json"]
    two = write(out_dir=tmp_path / "a", later_chapters=1)
    assert (two.end, two.verdict.ok, two.verdict.truncated) == ("later_chapters", True, True)
    assert sum(stage.role == "chapter_text" for stage in split_stages(two.transcript)) == 1

    # A window with room for these two chapters alone ends the book at the same place; a second call changes nothing.
    narrow = sampler(model, tokenizer, len(tokenizer.encode(two.transcript)) + RESERVE + 60)
    for _ in range(2):
        full = write_book(narrow, PROMPT, three, seed=1, out_dir=tmp_path / "b")
        assert (full.end, full.verdict.ok) == ("window", True)
        assert full.transcript == two.transcript == (tmp_path / "b" / "artifact.txt").read_text()

    whole = write(out_dir=tmp_path / "a")
    assert (whole.end, whole.verdict.ok, whole.verdict.truncated) == ("complete", True, False)
    assert whole.transcript.startswith(two.transcript)


def test_a_first_chapter_without_end_leaves_the_next_one_its_room(written, model, tokenizer, tmp_path):
    _, book, _ = written
    begun = book.transcript[: book.transcript.index("<|start_header_id|>first_chapter_text")]
    caps = TINY.caps | {"first_chapter_text": 1_500, "chapter_text": 1_500}
    room = len(tokenizer.encode(begun)) + RESERVE + 1_500
    (tmp_path / "artifact.txt").write_text(begun)
    again = write_book(sampler(model, tokenizer, room), PROMPT, replace(TINY, caps=caps), seed=8, out_dir=tmp_path)
    assert again.verdict.ok, again.verdict.violations
    assert (again.end, again.transcript.count("chapter_text")) == ("complete", 2)
    steps = {step["name"]: step for step in json.loads((tmp_path / "run.json").read_text())["steps"]}
    assert steps["first_chapter_text"]["reason"] == "budget"  # left alone, it would have gone on


def test_a_first_chapter_book_has_its_own_stages(model, tokenizer, tmp_path):
    bounds = {
        name: getattr(TINY, name)
        for name in (
            "arcs",
            "chapter_words",
            "scenes",
            "rules",
            "short",
            "style",
            "archetypes",
            "archetype_bullets",
            "bullet_chars",
            "name_chars",
            "focus_chars",
            "perspective_chars",
            "word_chars",
            "highlight_words",
            "archetype_words",
        )
    }
    profile = replace(FIRST_CHAPTER, window=4096, chapter_summary=(1, 2), scene_summary=(1, 2), **bounds)
    events = []
    book = write_book(sampler(model, tokenizer), PROMPT, profile, out_dir=tmp_path, progress=events.append)
    assert book.verdict.ok, book.verdict.violations
    assert [stage.role for stage in split_stages(book.transcript)] == [
        "prompt",
        "book_plan",
        "first_chapter_plan",
        "first_chapter_scene_breakdown",
        "first_chapter_text",
    ]
    assert (events[-1].chapter, events[-1].chapters) == (1, 1)


def test_one_writer_per_folder(written, model, tokenizer, tmp_path):
    (tmp_path / ".artifact.txt.killed").write_text("half of a")
    with lock_folder(tmp_path), pytest.raises(InputError, match="another process"):
        write_book(sampler(model, tokenizer), PROMPT, TINY, out_dir=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("change", [{"until": "epilogue"}, {"later_chapters": 0}])
def test_a_wrong_place_to_stop_is_refused(model, tokenizer, tmp_path, change):
    with pytest.raises(InputError, match=next(iter(change)) if "later" in str(change) else "stage"):
        write_book(sampler(model, tokenizer), PROMPT, TINY, out_dir=tmp_path / "new", **change)
    assert not (tmp_path / "new").exists()


def test_prose_that_keeps_looping_is_cut_back_further_each_time_and_then_closed(model, tokenizer):
    sentence = "The fog lay still over the harbour and nobody in the house could see the boats."
    paragraphs = seq(repeat(Token("paragraph", Literal(sentence)), 1, None, "\n\n"), "\n```")
    cached = LocalSession(sampler(model, tokenizer))
    cached.commit(open_transcript(PROMPT))
    opening = next_step(cached.text, TINY)
    step = replace(opening, name="chapter_text", grammar=paragraphs, target_words=50, max_tokens=900)
    for seed in range(40):  # hot, so that any model is as likely to go on as to end
        heard = []

        def on_text(text, taken_back, attempt, heard=heard):
            whole = "".join(heard)
            heard[:] = [whole[: len(whole) - taken_back], text]

        accepted = write_step(
            cached,
            step,
            WriterSettings(temperature=30.0),
            seed=seed,
            counts=Counts(),
            on_text=on_text,
        )
        assert LoopGuard().first_loop(tokenizer.encode(accepted.sampled).tolist()) is None
        assert paragraphs.matches(accepted.sampled)
        assert "".join(heard).endswith(accepted.sampled)
        assert "".join(heard).count(sentence) == accepted.sampled.count(sentence)
        cuts = [int(note.split()[-2]) for note in accepted.notes if note.startswith("loop")]
        if len(cuts) > 1:
            break
    assert len(cuts) > 1
    assert cuts == sorted(set(cuts), reverse=True)
    assert any(note.startswith("short") for note in accepted.notes)


def test_a_window_that_is_too_small_is_the_callers_mistake(model, tokenizer, tmp_path):
    small = Sampler(*model, tokenizer, max_length=600, prefill_chunk=64, first_capacity=600)
    with pytest.raises(InputError, match="max_length"):
        write_book(small, PROMPT, TINY, out_dir=tmp_path)


def test_weights_are_known_again_however_they_are_stored(model, tokenizer):
    params, _ = model
    assert weights_fingerprint(unstack(params)) == weights_fingerprint(params)
    other = params | {"blocks": jax.tree.map(lambda x: x + 1e-3, params["blocks"])}
    assert weights_fingerprint(other) != weights_fingerprint(params)
