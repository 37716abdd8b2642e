"""``polaris watch``: it shows what a run's files say, during the run, after it, and after a crash."""

import json
import os
import pty
import re
import subprocess
import sys

import pytest
from demo_folder import metrics
from pages import Page
from rich.console import Console

from polaris_jax.commands import watch
from polaris_jax.errors import InputError
from polaris_jax.report import dashboard, read_state, write_run_report
from polaris_jax.report.dashboard import sparkline

NOW = 1_700_000_000.0


def write_run(folder, records, *, steps=48, events=(), age=1.0, checkpoints=()):
    """A run that last wrote something ``age`` seconds before ``NOW``."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "run.json").write_text(json.dumps({"config": {"train.steps": steps, "optim.learning_rate": 2e-5}}))
    if events:
        (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    for name in checkpoints:
        (folder / "checkpoints" / name).mkdir()
        (folder / "checkpoints" / name / "_METADATA").write_text("{}")
    for file in folder.rglob("*"):
        os.utime(file, (NOW - age, NOW - age))
    return folder


def frame(state, width=120):
    console = Console(width=width, file=open(os.devnull, "w"), record=True)  # noqa: SIM115
    console.print(dashboard(state, width))
    return console.export_text()


def test_a_running_job_shows_where_it_is_and_how_long_it_takes(tmp_path):
    records = metrics(20)
    for record in records[1:]:
        record |= {"step_time_s": 3.0, "tokens_per_s": 1234.0, "tokens_per_s_per_device": 308.5, "mfu": 0.413}
    state = read_state(write_run(tmp_path / "run", records, checkpoints=("10", "15.orbax-checkpoint-tmp")), NOW)
    assert (state.health, state.step, state.steps, state.eta_s) == ("running", 20, 48, 28 * 3.0)
    assert state.checkpoint.step == 10
    text = frame(state)
    for shown in ("running", "step 20 of 48", "to go 1 min 24 s", "1,234", "308.5", "41.3 %", "checkpoint 10"):
        assert shown in text, shown


def test_the_host_that_makes_the_others_wait_is_named(tmp_path):
    records = metrics(20)
    for step, record in enumerate(records):
        record |= {"slowest_process": 0 if step % 4 == 1 else 2, "slowest_process_s": 0.25 if step % 4 != 1 else 9.0}
    start = {"time": NOW - 60, "event": "start", "step": 0, "seconds": 1.0, "hosts": ["tpu-w-0", "tpu-w-1", "tpu-w-2"]}
    state = read_state(write_run(tmp_path / "run", records, events=(start,)), NOW)
    assert (state.slowest.process, state.slowest.host, state.slowest.seconds) == (2, "tpu-w-2", 0.25)
    assert state.slowest.share == pytest.approx(14 / 19)  # the first step is left out: it also compiles
    text = frame(state)
    assert "slowest host" in text
    assert "tpu-w-2" in text
    alone = read_state(write_run(tmp_path / "alone", metrics(20)), NOW)
    assert alone.slowest is None
    assert "slowest" not in frame(alone)


def test_losses_are_quarter_means_per_role_with_a_curve(tmp_path):
    records = metrics(40)
    records[-1] |= {"eval/loss": 2.5, "eval/loss/prose": 2.75}
    state = read_state(write_run(tmp_path / "run", records), NOW)
    text = frame(state)
    for name, short in (("loss", "all"), ("loss/prose", "prose"), ("loss/role/chapter_text", "role/chapter_text")):
        first, last = (sum(record[name] for record in part) / 10 for part in (records[:10], records[-10:]))
        line = next(line for line in text.splitlines() if f" {short} " in line)
        assert f"{first:.3f}" in line
        assert f"{last:.3f}" in line
        assert re.search("[▁▂▃▄▅▆▇█]{10}", line)
    assert "eval/all" in text
    assert "eval/prose" in text


@pytest.mark.parametrize(
    ("age", "seconds", "health"),
    [
        (50, 3.0, "running"),
        (70, 3.0, "stale"),
        (70, 30.0, "running"),
        (400, 30.0, "stale"),
    ],
)
def test_a_run_is_stale_after_ten_of_its_own_steps_but_not_within_a_minute(tmp_path, age, seconds, health):
    records = [record | {"step_time_s": seconds} for record in metrics(20)]
    assert read_state(write_run(tmp_path / "run", records, age=age), NOW).health == health


def test_the_end_the_start_and_a_dump_are_told_apart(tmp_path):
    assert read_state(write_run(tmp_path / "done", metrics(48), age=1e6), NOW).health == "finished"
    starting = read_state(write_run(tmp_path / "new", []), NOW)
    assert starting.health == "starting"
    assert "no checkpoint yet" in frame(starting)
    folder = write_run(tmp_path / "broken", metrics(20))
    (folder / "failure-21.json").write_text("{}")
    failed = read_state(folder, NOW)
    assert failed.health == "failed"
    assert "failure-21.json" in frame(failed)


def test_goodput_and_its_losses_come_from_the_events(tmp_path):
    def event(kind, time, seconds, step=0):
        return {"time": NOW - 100 + time, "event": kind, "step": step, "seconds": seconds}

    events = [
        event("start", 10, 10),
        event("compile", 30, 20, 1),
        event("step", 60, 30, 2),
        event("checkpoint", 70, 10, 2),
        event("step", 100, 30, 3),
    ]
    state = read_state(write_run(tmp_path / "run", metrics(3), events=events, checkpoints=("2",)), NOW)
    assert state.goodput["goodput"] == pytest.approx(0.6)
    assert state.checkpoint.age_s == pytest.approx(30)
    text = frame(state)
    assert "60.0 %" in text
    assert "compile 20 s, startup 10 s, checkpoint 10 s" in text


def test_the_folder_of_a_demo_leads_to_its_run_and_other_folders_are_refused(tmp_path):
    write_run(tmp_path / "demo" / "run", metrics(5))
    assert read_state(tmp_path / "demo", NOW).step == 5
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(InputError, match="no training run"):
            read_state(folder)


def test_a_line_cut_off_by_a_kill_and_numbers_that_are_none_are_survived(tmp_path):
    records = metrics(6)
    records[2]["loss/prose"] = float("nan")
    folder = write_run(tmp_path / "run", records)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "loss": 2.')
    (folder / "run.json").write_text("{")
    state = read_state(folder)
    assert (state.step, state.steps, state.eta_s) == (6, None, None)
    assert "nan" not in frame(state)
    assert json.loads(json.dumps(state.to_json(), allow_nan=False))["losses"]["loss"]["now"] == records[-1]["loss"]


def test_the_page_draws_every_metric_and_stands_alone(tmp_path):
    more = {"mfu": 0.4, "qk_max_logit": 31.0, "odd/metric": 3.0}
    records = [record | more for record in metrics(12)]
    state = read_state(write_run(tmp_path / "run", records, checkpoints=("10",)), NOW)
    file = tmp_path / "pages" / "report.html"
    assert write_run_report(state, file) == str(file)
    source = file.read_text(encoding="utf-8")
    page = Page(source)
    labels = set(page.values("aria-label"))
    assert {"mfu", "qk_max_logit", "odd/metric", "gradient norm", "Loss of chapter_text"} <= labels
    assert "Training run, step 12 of 48" in page.text
    assert "optim.learning_rate" in page.text
    assert not {"script", "link", "img"} & set(page.tags)
    assert not [word for word in ("http:", "https:", "url(") if word in source]
    links = {link.removeprefix("#") for link in page.values("href")}
    assert links <= set(page.values("id"))


@pytest.mark.parametrize(
    ("numbers", "width", "shown"),
    [
        ([], 8, ""),
        ([1.0], 8, "▅"),
        ([0, 1, 2, 3, 4, 5, 6, 7], 8, "▁▂▃▄▅▆▇█"),
        ([2, 2, 2], 8, "▅▅▅"),
        ([0, 0, 7, 7], 2, "▁█"),
    ],
)
def test_a_curve_in_one_line(numbers, width, shown):
    assert sparkline(numbers, width) == shown


def watched(*words):
    import argparse

    parser = argparse.ArgumentParser()
    watch.add_flags(parser)
    return watch.run(parser.parse_args([str(word) for word in words]))


def test_the_verb_prints_a_frame_json_or_a_page_and_says_by_its_code_that_nothing_moves(tmp_path, capsys):
    folder = write_run(tmp_path / "run", metrics(20))
    assert watched(folder, "--once") == 1  # written in the past
    assert "stale" in capsys.readouterr().out
    done = write_run(tmp_path / "done", metrics(48))
    assert watched(done, "--json") == 0
    assert json.loads(capsys.readouterr().out)["health"] == "finished"
    assert watched(done, "--html", tmp_path / "page.html") == 0
    assert (tmp_path / "page.html").exists()
    assert watched(done) == 0  # no terminal: one frame
    capsys.readouterr()
    assert watched(done, "--json", "--html", tmp_path / "page.html") == 0
    assert json.loads(capsys.readouterr().out)["health"] == "finished"  # JSON alone on standard output


def test_a_terminal_shows_frames_until_the_run_is_finished(tmp_path):
    folder = write_run(tmp_path / "run", metrics(20), steps=21)
    here, there = pty.openpty()
    program = (
        "import argparse, sys; from polaris_jax.commands import watch; p = argparse.ArgumentParser();"
        "watch.add_flags(p); sys.exit(watch.run(p.parse_args()))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(folder), "--every", "0.1"],
        stdout=there,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(there)
    shown = b""
    while b"step 20 of 21" not in shown:
        shown += os.read(here, 1 << 16)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(metrics(21)[-1]) + "\n")
    while b"step 21 of 21" not in shown:
        shown += os.read(here, 1 << 16)
    assert process.wait(timeout=30) == 0
    assert b"finished" in shown


def test_a_run_in_a_bucket_is_watched_alike(tmp_path, bucket_client):
    events = [{"time": NOW, "event": "checkpoint", "step": 10, "seconds": 2.0}]
    write_run(tmp_path / "run", metrics(20), events=events)
    said = bucket_client(
        """
import sys
from pathlib import Path
from polaris_jax import storage
from polaris_jax.report import read_state, write_run_report
source = Path(sys.argv[1])
for file in source.rglob("*"):
    if file.is_file():
        storage.write(f"gs://library/run/{file.relative_to(source)}", file.read_bytes())
state = read_state("gs://library/run", now=float(sys.argv[2]))
write_run_report(state, "gs://library/pages/run.html")
print(state.health, state.step, state.checkpoint.step, len(storage.read("gs://library/pages/run.html")) > 10_000)
""",
        tmp_path / "run",
        NOW + 7,
    )
    assert said == "running 20 10 True"
