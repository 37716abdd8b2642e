"""A person edits a plan: the edit is checked, and the rest of the book follows the new plan."""

import json

import pytest
from command_line import exit_code
from sampling_models import PROMPT, TINY, small_sampler

from polaris_jax.cli import main
from polaris_jax.errors import InputError
from polaris_jax.sampling.editing import edit_stage, replace_stage
from polaris_jax.sampling.writer import write_book
from polaris_jax.trajectory import extract_planned_chapters, split_stages
from polaris_jax.trajectory.transcript import find_stage


@pytest.fixture
def folder(written, tmp_path):
    for name in ("artifact.txt", "run.json"):
        (tmp_path / name).write_bytes((written[0] / name).read_bytes())
    return tmp_path


def other_names(plan: str) -> str:
    """The plan with another name for its last chapter."""
    name = extract_planned_chapters(plan)[-1]["chapter_name"]
    return plan.replace(f"- {name}\n", "- The Lamp Out\n").replace(f"#### {name}\n", "#### The Lamp Out\n")


def test_everything_after_an_edited_plan_is_written_anew(written, folder, model, tokenizer):
    book = written[1]
    plan = find_stage(book.transcript, "book_plan")
    assert edit_stage(folder, "book_plan", other_names(plan.text))
    edited = (folder / "artifact.txt").read_text()
    assert [stage.role for stage in split_stages(edited)] == ["prompt", "book_preview", "book_plan"]
    again = write_book(small_sampler(model, tokenizer), PROMPT, TINY, seed=3, out_dir=folder)
    assert again.verdict.ok, again.verdict.violations
    assert again.transcript.startswith(edited)
    assert split_stages(again.transcript)[-1].text.startswith("### The Lamp Out\n")
    steps = json.loads((folder / "run.json").read_text())["steps"]
    given = next(number for number, step in enumerate(steps) if step["name"] == "given")
    assert steps[given]["end"] == len(edited)
    assert steps[given + 1]["name"] == "first_chapter_plan/card"


def test_a_run_killed_after_an_edit_goes_on_to_the_same_bytes(folder, model, tokenizer):
    transcript = (folder / "artifact.txt").read_text()
    edit_stage(folder, "book_plan", other_names(find_stage(transcript, "book_plan").text))
    machine = small_sampler(model, tokenizer)
    stop = iter([False] * 200 + [True])

    def listen(event):
        if event.stage == "first_chapter_text" and next(stop, True):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_book(machine, PROMPT, TINY, seed=3, out_dir=folder, progress=listen)
    (folder / "copy").mkdir()
    for name in ("artifact.txt", "run.json"):
        (folder / "copy" / name).write_bytes((folder / name).read_bytes())
    one, two = (write_book(machine, PROMPT, TINY, seed=3, out_dir=where) for where in (folder, folder / "copy"))
    assert one.transcript == two.transcript


def test_what_editors_do_to_a_text_is_undone(folder, written):
    plan = find_stage(written[1].transcript, "book_plan").text
    assert not edit_stage(folder, "book_plan", plan.replace("\n", "  \r\n") + "\r\n\r\n")
    assert (folder / "artifact.txt").read_text() == written[1].transcript


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda text: text.replace("## World Rules", "## Rules"), "line 1"),
        (lambda text: text.replace("- ", "* ", 1), "line 2"),
        (lambda text: text.replace("* 2", "* 3"), "book_plan"),
        (lambda text: text + "<|eot_id|>", "reserved"),
    ],
)
def test_an_edit_that_breaks_a_rule_is_refused_and_changes_nothing(folder, written, change, complaint):
    plan = find_stage(written[1].transcript, "book_plan").text
    with pytest.raises(InputError, match=complaint):
        edit_stage(folder, "book_plan", change(plan))
    assert (folder / "artifact.txt").read_text() == written[1].transcript


def test_a_chapter_must_keep_the_name_that_the_plan_gave_it(written):
    transcript = written[1].transcript
    stage = find_stage(transcript, "chapter_text:1")
    head, _, prose = stage.text.partition("\n")
    with pytest.raises(InputError, match="chapter_text"):
        replace_stage(transcript, stage, f"{head} indeed\n{prose}")
    edited = replace_stage(transcript, stage, f"{head}\n```\nShort and new.\n```")
    assert split_stages(edited)[-1].text.endswith("Short and new.\n```")


def test_stages_are_found_by_role_and_number(written):
    transcript = written[1].transcript
    assert find_stage(transcript, "chapter_text") == split_stages(transcript)[-1]
    assert find_stage(transcript, "chapter_text:2") is None
    assert find_stage(transcript[:-3], "chapter_text") is None
    with pytest.raises(InputError, match="another prompt"):
        replace_stage(transcript, split_stages(transcript)[0], "Another book.")
    for wrong in ("plan", "book_plan:0", "book_plan:x"):
        with pytest.raises(InputError, match="role"):
            find_stage(transcript, wrong)


def test_edit_plan_on_the_command_line(checkpoint, tmp_path, monkeypatch, capsys):
    out = tmp_path / "book"
    write = [
        "write",
        "--model",
        str(checkpoint),
        "--prompt",
        PROMPT,
        "--output-directory",
        str(out),
        "--profile",
        "demo",
        "--max-model-len",
        "4096",
        "--until",
        "first_chapter_plan",
        "--json",
        "--edit-plan",
    ]
    breaks, mends = tmp_path / "break.sh", tmp_path / "mend.sh"
    breaks.write_text("#!/bin/sh\nsed -i 's/^## World Rules/## Rules/' \"$1\"\n")
    mends.write_text("#!/bin/sh\nsed -i -e 's/^## Rules/## World Rules/' -e '2s/.*/- Nobody lies./' \"$1\"\n")
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", f"sh {breaks}")
    assert main(write) == 2
    assert "your text is kept in" in capsys.readouterr().err
    assert (out / "edit-book_plan.txt").read_text().startswith("## Rules\n")
    assert [stage.role for stage in split_stages((out / "artifact.txt").read_text())][-1] == "book_plan"
    monkeypatch.setenv("EDITOR", f"sh {mends}")
    assert main(write) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["end"], summary["steps"] > 5) == ("until", True)
    transcript = (out / "artifact.txt").read_text()
    assert "## World Rules\n- Nobody lies.\n" in transcript
    assert split_stages(transcript)[-1].role == "first_chapter_plan"
    assert not (out / "edit-book_plan.txt").exists()


def test_an_editor_that_fails_is_the_callers_mistake(folder, monkeypatch, capsys):
    from polaris_jax.commands.editor import edit_by_hand

    monkeypatch.setenv("VISUAL", "no-such-editor --wait")
    with pytest.raises(InputError, match="no-such-editor"):
        edit_by_hand(folder, "book_plan", write_it_first=lambda which: None)


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--cap", "prologue=20"], "--cap"),
        (["--cap", "book_plan=0"], "--cap"),
        (["--window", "-3"], "--window"),
        (["--chapters", "1-3"], "profile.chapters"),
        (["--top-p", "1.5"], "--top-p"),
        (["--prompt-file", "/no/such/file"], "--prompt-file"),
        ([], "--prompt"),
    ],
)
def test_flags_that_make_no_sense_are_refused_before_anything_is_loaded(tmp_path, capsys, flags, complaint):
    given = [] if complaint.startswith("--prompt") else ["--prompt", "x"]
    out = tmp_path / "book"
    assert exit_code(["write", "--checkpoint", "/no/such/folder", "--out", str(out), *given, *flags]) == 2
    assert complaint in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("flag", ["--prompt-file", "--start-from"])
def test_a_file_that_never_ends_is_refused(tmp_path, capsys, flag):
    out = tmp_path / "book"
    assert main(["write", "--checkpoint", "/no/such/folder", "--out", str(out), flag, "/dev/zero"]) == 2
    assert f"{flag}='/dev/zero': is larger than" in capsys.readouterr().err
    assert not out.exists()
