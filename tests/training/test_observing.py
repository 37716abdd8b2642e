"""What a run reports: held-out loss per role, where the time went, TensorBoard files, traces, clipped logits."""

import os
import signal
import struct
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from processes import environment, lines

from polaris_jax.cli import main
from polaris_jax.data import TokenStore, load_tokenizer
from polaris_jax.models import from_pretrained, logits
from polaris_jax.training import Checkpoints, load_weights, read_metrics, train
from polaris_jax.training.events import LOSSES, goodput, read_events
from polaris_jax.trajectory import ROLES


def with_held_out(config, path, every=3):
    """The config's store with every third trajectory held out."""
    store = TokenStore.open(config.data.store)
    writer = TokenStore.create(path, load_tokenizer(config.model.path))
    for index in range(len(store)):
        split = "train" if index % every else "validation"
        writer.append(store.read(index), store.meta(index) | {"split": split})
    return writer.commit()


@pytest.fixture(scope="module")
def observed(make_config, tmp_path_factory):
    """The folder, config and store of a run with everything switched on."""
    root = tmp_path_factory.mktemp("observed")
    config = make_config()
    store = with_held_out(config, root / "store")
    config.data.store = store.path
    config.eval.update({"every": 2, "rows": 100})
    config.train.update({"tensorboard": True, "keep_checkpoints": 1, "steps": 6, "rounding_statistics": True})
    config.optim.learning_rate = 1e-4  # no step moves the weights far from where they began

    def ask_for_a_trace(record):
        if record["step"] == 2:
            os.kill(os.getpid(), signal.SIGUSR1)

    assert train(config, root / "run", on_step=ask_for_a_trace).finished
    return root / "run", config, store


def test_held_out_loss_per_role_equals_a_plain_computation(observed):
    """One trajectory at a time, whole matrices, no packing, no mesh; the weights hardly move in six tiny steps."""
    run, _, store = observed
    model, params, _ = load_weights(run)
    sums = np.zeros((2, len(ROLES)))
    for index in store.where(split="validation"):
        found = store.read(int(index))
        scores = jax.nn.log_softmax(logits(params, model, jnp.asarray(found.tokens)[None]))[0]
        nll = -np.asarray(jnp.take_along_axis(scores[:-1], jnp.asarray(found.tokens[1:])[:, None], axis=-1))[:, 0]
        for row, values in enumerate((nll * found.weights[1:], found.weights[1:])):
            sums[row] += np.bincount(found.roles[1:], values, len(ROLES))
    last = read_metrics(run)[-1]
    assert last["eval/tokens"] == int(sums[1].sum())
    np.testing.assert_allclose(last["eval/loss"], sums[0].sum() / sums[1].sum(), rtol=1e-5)
    seen = {role: sums[0, n] / sums[1, n] for n, role in enumerate(ROLES) if sums[1, n]}
    assert {name for name in last if name.startswith("eval/loss/role/")} == {f"eval/loss/role/{r}" for r in seen}
    for role, want in seen.items():
        np.testing.assert_allclose(last[f"eval/loss/role/{role}"], want, rtol=1e-5, err_msg=role)


def test_held_out_rows_are_evaluated_on_time_and_never_trained_on(observed):
    run, _, _ = observed
    assert [line["step"] for line in read_metrics(run) if "eval/loss" in line] == [2, 4, 6]


def test_the_best_step_is_the_one_with_the_smallest_held_out_loss(observed):
    run, _, _ = observed
    losses = {line["step"]: line["eval/loss"] for line in read_metrics(run) if "eval/loss" in line}
    assert Checkpoints(run, read_only=True).best == min(losses, key=losses.get)


@pytest.mark.parametrize("step", ["best", "6", None])
def test_any_step_of_a_run_becomes_a_hugging_face_folder(observed, tmp_path, step):
    run, _, _ = observed
    assert main(["convert", str(run), str(tmp_path / "hf"), *(["--step", step] if step else [])]) == 0
    _, want, _ = load_weights(run, step=int(step) if step == "6" else step)
    found = from_pretrained(str(tmp_path / "hf")).params
    for mine, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(want), strict=True):
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(theirs))


def test_a_step_that_is_not_there_is_refused_with_those_that_are(observed, tmp_path, capsys):
    run, config, _ = observed
    assert main(["convert", str(run), str(tmp_path / "hf"), "--step", "5"]) == 2
    assert main(["convert", str(config.model.path), str(tmp_path / "hf"), "--step", "best"]) == 2
    said = capsys.readouterr().err
    assert "--step=5" in said
    assert "6" in said
    assert "is no training run" in said
    assert not (tmp_path / "hf").exists()


def test_the_time_of_a_run_is_accounted_for(observed):
    run, _, _ = observed
    events = read_events(run)
    found = goodput(events)
    assert {event["event"] for event in events} >= {"start", "data", "compile", "step", "evaluation", "checkpoint"}
    accounted = found["goodput"] * found["seconds"] + sum(found[f"lost/{kind}"] for kind in LOSSES)
    assert 0.8 * found["seconds"] < accounted <= found["seconds"] * 1.001
    assert read_metrics(run)[-1]["goodput"] == pytest.approx(found["goodput"], abs=0.2)


def test_goodput_of_a_run_that_was_killed_once():
    """Ten seconds of start, steps of one second; killed after step 3, a checkpoint at 2, down for 20 s."""

    def event(kind, time, seconds, step=0):
        return {"event": kind, "time": float(time), "seconds": float(seconds), "step": step}

    before = [
        event("start", 10, 10),
        event("compile", 15, 5, 1),
        event("step", 16, 1, 2),
        event("checkpoint", 18, 2, 2),
        event("step", 19, 1, 3),
    ]
    events = [*before, event("start", 49, 10, 2), event("compile", 54, 5, 3), event("step", 55, 1, 4)]
    found = goodput(events)
    assert found["seconds"] == 55
    assert found["goodput"] == pytest.approx(3 / 55)
    assert {kind: found[f"lost/{kind}"] for kind in LOSSES if found[f"lost/{kind}"]} == {
        "startup": 20,
        "compile": 10,
        "checkpoint": 2,
        "down": 20,
    }


def test_tensorboard_files_hold_what_the_lines_hold(observed):
    pb = pytest.importorskip("tensorboardX.proto.event_pb2", reason="pip install tensorboardX")
    run, _, _ = observed
    scalars = {}
    for file in (run / "tensorboard").glob("events*"):
        content, place = file.read_bytes(), 0
        while place < len(content):  # length, its checksum, record, its checksum
            (size,) = struct.unpack_from("<Q", content, place)
            event = pb.Event.FromString(content[place + 12 : place + 12 + size])
            scalars |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
            place += 12 + size + 4
    for line in read_metrics(run):
        for name in ("loss", "loss/role/chapter_text", "grad_norm/muon", "update_norm/adamw", "changed_share"):
            assert scalars[name, line["step"]] == pytest.approx(line[name], rel=1e-6)


def test_a_signal_leaves_a_trace_of_the_next_steps(observed):
    run, _, _ = observed
    traces = list((run / "profile").rglob("*.xplane.pb"))
    assert len(traces) == 1
    content = traces[0].read_bytes()
    assert b"train_step" in content  # the program of the step
    assert b"step_num" in content  # and where each step began, by which xprof groups what it shows


TRACES_BESIDE_TENSORSTORE = """
import os, sys, threading, time
import numpy as np
import tensorstore
from polaris_jax.training.profiling import Profiler

def write_and_read():
    array = tensorstore.open({"driver": "zarr3", "kvstore": "memory://"}, create=True, dtype=np.float32, shape=[64])
    array = array.result()
    while True:
        futures = [array.write(np.ones(64, np.float32)) for _ in range(4)] + [array.read() for _ in range(4)]
        for future in futures:
            future.add_done_callback(lambda done: sum(range(50)))  # runs in a thread of TensorStore's own
        for future in futures:
            future.result()

for _ in range(2):
    threading.Thread(target=write_and_read, daemon=True).start()
profiler, end, step = Profiler(sys.argv[1], 1, 0), time.monotonic() + 8, 0
while time.monotonic() < end:
    step += 1
    profiler._ask(None, None)
    profiler.before(step)
    profiler.close()
print(step, flush=True)
os._exit(0)
"""


def test_a_trace_beside_the_threads_of_tensorstore_does_not_end_the_process(tmp_path):
    """With Python's frames in the trace the process dies of a segmentation fault in about a second."""
    ran = subprocess.run(
        [sys.executable, "-c", TRACES_BESIDE_TENSORSTORE, str(tmp_path)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert ran.returncode == 0, (ran.returncode, ran.stderr[-2000:])
    assert int(ran.stdout) > 20


def test_qk_clip_holds_the_largest_logit_down(make_config, tmp_path):
    """At a rate that makes logits grow: without clipping they pass the threshold, with it they stay near it."""
    largest = {}
    for threshold in (0.0, 0.05):
        config = make_config()
        config.optim.update({"qk_clip": threshold, "learning_rate": 1e-2})
        config.train.update({"steps": 5, "checkpoint_every": 5})
        train(config, tmp_path / str(threshold))
        largest[threshold] = [line["qk_max_logit"] for line in read_metrics(tmp_path / str(threshold))]
    assert largest[0.0][-1] > 4 * 0.05
    assert max(largest[0.05][1:]) < 2.5 * 0.05
    clipped = read_metrics(tmp_path / "0.05")[-1]
    assert clipped["qk_clipped_heads"] > 0
    assert clipped["qk_smallest_factor"] < 1


@pytest.mark.slow
def test_a_curriculum_resumes_in_the_middle_of_its_second_stage(make_config, tmp_path):
    config = make_config()
    config.data.curriculum = ((2, 2048, 4),)
    config.data.update({"window": 4096, "batch_size": 2})
    config.train.update({"steps": 5, "checkpoint_every": 1})
    train(config, tmp_path / "whole")

    def stop(record):
        if record["step"] == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    assert not train(config, tmp_path / "run", on_step=stop).finished
    assert train(config, tmp_path / "run").finished
    assert lines(tmp_path / "run") == lines(tmp_path / "whole")
