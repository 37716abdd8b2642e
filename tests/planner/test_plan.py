"""``plan``: verdicts from the compiler and from arithmetic, kept on disk, with the change that makes a step fit."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from topology_programs import ROOT, needs_libtpu

from polaris_jax.cli import main
from polaris_jax.errors import InputError, RunError
from polaris_jax.planner import PlanVerdict, largest_context, plan, with_suggestion
from polaris_jax.planner import compile as compiling
from polaris_jax.planner import plan as planning
from polaris_jax.planner.abstract import to_rows
from polaris_jax.planner.picture import page, write_picture
from polaris_jax.planner.topology import find_slice
from polaris_jax.training import load_config

BOOKS = str(ROOT / "configs" / "ministral3_14b_books_1m.py")


def config_file(tmp_path, small, *overrides):
    """A config file as a person writes one."""
    path = small().model.path
    file = tmp_path / "run.py"
    file.write_text(
        "from polaris_jax.training import default_config\n\n\ndef get_config():\n    config = default_config()\n"
        f"    config.model.path = {path!r}\n    config.data.window = 65536\n    return config\n"
    )
    return str(file)


def test_an_estimate_says_that_it_is_one_and_its_parts_add_up(small):
    verdict = plan(small(), "v5p-8", estimate=True)
    assert verdict.source == "analytic"
    assert verdict.fits
    held = sum(size for name, size in verdict.parts.items() if name != "offloaded")
    assert held == pytest.approx(verdict.hbm_gib_per_chip)
    assert sum(verdict.terms.values()) == pytest.approx(verdict.step_time_s)


def test_a_verdict_survives_json(small):
    verdict = plan(small(), "v5p-8", estimate=True)
    assert PlanVerdict.from_json(json.loads(json.dumps(verdict.to_json()))) == verdict


def test_offloading_moves_layer_inputs_to_the_host(small):
    here, there = (plan(small(f"model.offload={flag}"), "v5p-8", estimate=True) for flag in (False, True))
    assert there.host_gib_per_chip == pytest.approx(4 * 65536 / 4 * 1024 * 2 / 2**30)
    assert there.hbm_gib_per_chip < here.hbm_gib_per_chip


def test_a_chip_of_two_devices_counts_both(small):
    one, two = (plan(small("mesh.context=8"), name, estimate=True) for name in ("v5p-16", "tpu7x-8"))
    assert two.chips == 4
    assert two.hbm_gib_per_chip == pytest.approx(2 * one.hbm_gib_per_chip)


def test_verdicts_are_kept_on_disk_by_what_they_depend_on(small, monkeypatch):
    first = plan(small(), "v5p-8", estimate=True)
    made = []
    arithmetic = planning.__globals__["_by_arithmetic"]
    monkeypatch.setitem(planning.__globals__, "_by_arithmetic", lambda *a: made.append(a) or arithmetic(*a))
    assert plan(small("data.store=elsewhere"), "v5p-8", estimate=True) == first
    assert not made
    plan(small("data.window=32768"), "v5p-8", estimate=True)
    plan(small(), "v5p-16", estimate=True)
    assert len(made) == 2


def test_a_torn_verdict_on_disk_is_made_again(small, tmp_path):
    first = plan(small(), "v5p-8", estimate=True)
    [file] = (tmp_path / "plans").glob("*.json")
    file.write_text("{")
    assert plan(small(), "v5p-8", estimate=True) == first


def test_what_does_not_fit_gets_a_change_that_fits(small):
    config = small("data.window=67108864", "model.remat=attention")
    verdict = plan(config, "v5p-8", estimate=True)
    assert not verdict.fits
    suggested = with_suggestion(config, verdict, estimate=True).suggestion
    topology = suggested.split("--topology=")[1] if "--topology=" in suggested else "v5p-8"
    changes = [text.removeprefix("--config.") for text in suggested.split() if text.startswith("--config.")]
    assert plan(small("data.window=67108864", "model.remat=attention", *changes), topology, estimate=True).fits


def test_the_least_change_comes_first(small):
    config = small("data.window=8388608", "model.remat=attention", "model.mlp_chunk=0")
    verdict = plan(config, "v5p-8", estimate=True)
    assert not verdict.fits
    assert with_suggestion(config, verdict, estimate=True).suggestion == "--config.model.mlp_chunk=2048"


def test_the_largest_context_fits_and_the_next_does_not(small):
    verdict = largest_context(small(), "v5p-8", estimate=True)
    assert verdict.fits
    further = verdict.window + verdict.window // 64 // 8 * 8 + 16384
    assert not plan(small(f"data.window={further}"), "v5p-8", estimate=True).fits


def test_the_page_is_whole_and_shows_every_part(small, tmp_path):
    verdict = plan(small(), "v5p-8", estimate=True)
    timed = dataclasses.replace(
        verdict,
        timeline=(
            (0, {"gradients": 0.0, "saved_activations": 0.1, "workspace": 0.2}),
            (9, {"gradients": 0.1, "saved_activations": 0.0, "workspace": 0.1}),
        ),
    )
    write_picture(timed, tmp_path / "out" / "plan.html")
    text = (tmp_path / "out" / "plan.html").read_text()
    assert text.startswith("<!doctype html>")
    assert text.endswith("</html>")
    assert text.count("<polygon") == 5
    assert "http" not in page(verdict)


def test_the_verb_prints_json_and_its_exit_code_is_the_verdict(small, tmp_path, capsys):
    file = config_file(tmp_path, small)
    assert main(["plan", f"--config={file}", "--topology=v5p-8", "--estimate", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {
        "fits",
        "hbm_gib_per_chip",
        "hbm_limit_gib",
        "source",
        "parts",
        "host_gib_per_chip",
        "collectives",
        "step_time_s",
        "limiting_term",
        "mfu",
        "tokens_per_s_per_chip",
        "cost",
    } <= set(said)
    assert {"kind", "count", "bytes", "asynchronous", "overlapped_with"} <= set(said["collectives"][0])
    assert main(["plan", f"--config={file}", "--topology=v5p-8", "--estimate", "--config.data.window=67108864"]) == 1


def test_the_verb_refuses_bad_input_in_one_line(small, tmp_path, capsys):
    file = config_file(tmp_path, small)
    for wrong, advice in (("--topology=v5p-20", "v5p-16"), ("--topology=v5p-16 --config.data.window=65537", "65552")):
        assert main(["plan", f"--config={file}", "--estimate", *wrong.split()]) == 2
        line = capsys.readouterr().err
        assert advice in line
        assert line.count("\n") == 1


def test_a_model_without_a_shape_is_refused(small):
    with pytest.raises(InputError, match=r"config\.model\.path='/nowhere': no such folder"):
        plan(small("model.path=/nowhere"), "v5p-8", estimate=True)


@pytest.mark.parametrize(
    ("name", "topology", "overrides"),
    [
        ("262k", "v6e-256", []),
        ("1m", "v5p-128", []),
        ("1m", "v5p-16", ["--config.model.remat=full"]),
    ],
)
def test_the_shipped_configs_fit_where_they_say(name, topology, overrides):
    file = str(ROOT / "configs" / f"ministral3_14b_books_{name}.py")
    assert main(["plan", f"--config={file}", f"--topology={topology}", "--estimate", "--json", *overrides]) == 0


def test_the_compiler_ends_with_whoever_started_it(small, tmp_path):
    """A killed planner leaves no process behind that compiles for minutes."""
    request = tmp_path / "request.json"
    request.write_text(json.dumps({"config": to_rows(small()), "topology": "v5:2x2x1", "options": {}}))
    process = subprocess.Popen(
        [sys.executable, "-m", "polaris_jax.planner.compiler_process", str(request)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    process.stdin.close()
    words = process.stderr.read().decode()
    assert process.wait() == 1, words
    assert "Traceback" not in words  # it ended, it did not fail
    assert not (tmp_path / "result.json").exists()


@pytest.mark.parametrize(("limit", "said"), [(None, "killed by SIGKILL"), (1.0, "no verdict within 1 s")])
def test_a_full_compile_that_did_not_end_is_no_verdict(small, tmp_path, limit, said):
    """The files of the shorter verdict are there by then; they say nothing of the kernels."""

    def end():
        for ending in compiling._ENDINGS:
            (tmp_path / "dump" / f"module_1.jit_train_step.{ending}").write_text("one")
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if limit is None and str(tmp_path / "dump").encode() in process.read_bytes():
                    os.kill(int(process.parent.name), signal.SIGKILL)

    threading.Timer(0.5, end).start()
    with pytest.raises(RunError, match=said):
        compiling.compile_step(to_rows(small()), find_slice("v5p-8"), tmp_path / "dump", full=True, limit=limit)


def test_a_process_that_fails_is_one_line_with_its_last_words(tmp_path):
    with pytest.raises(RunError, match=r"has no attribute.*--keep=DIR") as failed:
        compiling.compile_step([], find_slice("v5p-8"), tmp_path / "dump")
    assert "\n" not in str(failed.value)
    assert "Traceback" in (tmp_path / "dump" / "log.txt").read_text()


def test_a_folder_that_cannot_be_written_is_named(small, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--keep"):
        compiling.compile_step(to_rows(small()), find_slice("v5p-8"), tmp_path / "file")


def test_files_of_another_compile_are_not_taken_for_the_verdict(small, tmp_path):
    (tmp_path / "dump").mkdir()
    (tmp_path / "dump" / "result.json").write_text("{}")
    with pytest.raises(InputError, match="not empty"):
        compiling.compile_step(to_rows(small()), find_slice("v5p-8"), tmp_path / "dump")


@needs_libtpu
def test_the_compiler_and_arithmetic_agree_on_a_small_model(small, tmp_path):
    folder = tmp_path / "dump"
    compiled, estimated = plan(small(), "v5p-8", keep=str(folder)), plan(small(), "v5p-8", estimate=True)
    assert compiled.source == "compiler"
    assert estimated.hbm_gib_per_chip == pytest.approx(compiled.hbm_gib_per_chip, rel=0.1)
    assert compiled.parts["saved_activations"] == pytest.approx(estimated.parts["saved_activations"], rel=0.01)
    assert compiled.attention_forward_runs == 2
    permuted = sum(c.bytes for c in compiled.collectives if c.kind == "collective-permute" and "forward" in c.where)
    expected = sum(c.bytes for c in estimated.collectives if c.kind == "collective-permute" and "forward" in c.where)
    assert permuted >= expected
    assert compiled.timeline
    assert plan(small(), "v5p-8") == compiled  # from disk


@needs_libtpu
@pytest.mark.slow
def test_one_chip_lets_a_gradient_go_before_it_moves_the_next_matrix():
    """With all gradients kept to the optimizer's end the 14B takes 103.1 GiB on one chip, whatever its window."""
    alone = ["model.remat=full", "model.offload=True", "model.segments=1", "data.window=16384"]
    config = load_config(BOOKS, alone)
    compiled, estimated = plan(config, "v5p-2"), plan(config, "v5p-2", estimate=True)
    assert (compiled.chips, compiled.source, compiled.fits) == (1, "compiler", True)
    assert estimated.hbm_gib_per_chip == pytest.approx(compiled.hbm_gib_per_chip, rel=0.1)


@needs_libtpu
@pytest.mark.slow
@pytest.mark.parametrize(("tensor", "context"), [(2, 2), (4, 1)])
def test_they_agree_on_a_tensor_axis(small, tensor, context):
    config = small(f"mesh.tensor={tensor}", f"mesh.context={context}")
    compiled, estimated = plan(config, "v5p-8"), plan(config, "v5p-8", estimate=True)
    assert estimated.hbm_gib_per_chip == pytest.approx(compiled.hbm_gib_per_chip, rel=0.1)
    sums = [sum(c.bytes for c in verdict.collectives if c.kind == "all-reduce") for verdict in (compiled, estimated)]
    assert sums[1] == pytest.approx(sums[0], rel=0.01)  # of activations; the rest are vectors


@needs_libtpu
@pytest.mark.slow
@pytest.mark.parametrize("slice_", ["v5p-8", "v6e-8"])
def test_machine_code_is_made_and_takes_no_more_memory(small, tmp_path, slice_):
    folder = tmp_path / "dump"
    soon, full = plan(small(), slice_), plan(small(), slice_, full=True, keep=str(folder))
    assert (full.source, full.error) == ("compiler-full", None)
    # The assignment of buffers counts a heap with its holes, the compiler's peak does not.
    assert 0.9 * soon.hbm_gib_per_chip < full.hbm_gib_per_chip <= soon.hbm_gib_per_chip
    assert full.collectives == soon.collectives
    assert "Fatal" not in (folder / "log.txt").read_text()  # the compiler's process ended, it did not die


@needs_libtpu
@pytest.mark.slow
@pytest.mark.parametrize(
    ("topology", "overrides"),
    [
        ("v5p-8", ["data.window=262144", "model.remat=full"]),
        ("v5p-16", ["model.remat=full"]),
        ("v5p-16", ["data.window=262144", "model.remat=full", "optim.precision=fp32_master"]),
        ("v5p-16", ["data.window=262144"]),
        ("v5p-16", ["data.window=2097152", "model.remat=full", "model.offload=True"]),
        ("v5p-128", []),
    ],
)
def test_the_compiler_and_arithmetic_agree_on_the_14b(topology, overrides):
    from polaris_jax.training import load_config

    config = load_config(BOOKS, overrides)
    compiled, estimated = plan(config, topology), plan(config, topology, estimate=True)
    assert estimated.hbm_gib_per_chip == pytest.approx(compiled.hbm_gib_per_chip, rel=0.1)
    assert estimated.host_gib_per_chip == pytest.approx(compiled.host_gib_per_chip, rel=0.1)


def test_what_a_run_costs_follows_the_table_of_prices(tmp_path, monkeypatch):
    """A user's prices apply at once, also to a verdict that was kept on disk."""
    config = load_config(BOOKS)
    before = plan(config, "v5p-128", estimate=True)
    own = tmp_path / "prices.toml"
    own.write_text("[chips]\nv5p = 1.0\n")
    monkeypatch.setenv("POLARIS_PRICES", str(own))
    after = plan(config, "v5p-128", estimate=True)
    assert after.cost["usd_per_hour"] == 64.0
    assert after.cost["usd_per_run"] == pytest.approx(64 * after.step_time_s / 3600 * config.train.steps)
    assert before.cost["usd_per_run"] == pytest.approx(4.2 * after.cost["usd_per_run"])
    assert plan(config, "tpu7x-128", estimate=True).cost is None
