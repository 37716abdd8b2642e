"""``launch/local_multiprocess.sh`` really starts processes: they find each other, end together, and start again."""

import os
import signal
import subprocess
import time

import pytest

from tests.launch.conftest import ROOT

SCRIPT = ROOT / "launch" / "local_multiprocess.sh"
SUM = """
import os, jax, numpy as np
jax.distributed.initialize(num_processes=int(os.environ["JAX_NUM_PROCESSES"]),
                           process_id=int(os.environ["JAX_PROCESS_ID"]))
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
mesh = Mesh(np.array(jax.devices()), ("all",))
made = jax.make_array_from_callback((6,), NamedSharding(mesh, P("all")), lambda i: np.arange(6.0)[i])
total = jax.jit(lambda x: x.sum(), out_shardings=NamedSharding(mesh, P()))(made)
print(jax.process_index(), len(jax.local_devices()), len(jax.devices()), float(total))
"""


def start(environment, folder, *arguments):
    return subprocess.Popen(
        ["bash", str(SCRIPT), f"--logs={folder / 'logs'}", *arguments],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(environment, folder, *arguments):
    process = start(environment, folder, *arguments)
    said, complained = process.communicate(timeout=60)
    return process.returncode, said, complained


def log(folder, index):
    return (folder / "logs" / f"process-{index}.log").read_text()


def wait_until_ready(folder):
    deadline = time.monotonic() + 20
    while not all(
        (folder / "logs" / f"process-{index}.log").exists() and "ready" in log(folder, index) for index in (0, 1)
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_processes_form_one_mesh_with_collectives(child_environment, tmp_path):
    command = ("--processes=2", "--devices=3", "--", "python", "-c", SUM)
    code, said, complained = ended(child_environment, tmp_path, *command)
    assert code == 0, complained + log(tmp_path, 1)
    assert "0 3 6 15.0" in said
    assert "1 3 6 15.0" in log(tmp_path, 1)


def test_one_failure_ends_the_others_in_bounded_time_and_is_the_exit_code(child_environment, tmp_path):
    begun = time.monotonic()
    code, _, complained = ended(
        child_environment,
        tmp_path,
        "--processes=3",
        "--grace=1",
        "--",
        "bash",
        "-c",
        "[ $JAX_PROCESS_ID != 1 ] || exit 3; exec sleep 300",
    )
    assert code == 3
    assert "ended with 3" in complained
    assert time.monotonic() - begun < 30


def test_a_signal_reaches_every_process_and_waits_for_their_checkpoints(child_environment, tmp_path):
    process = start(
        child_environment,
        tmp_path,
        "--",
        "bash",
        "-c",
        "trap 'sleep 0.3; echo saved; exit 75' TERM; echo ready; while :; do sleep 0.05; done",
    )
    wait_until_ready(tmp_path)
    code, _, complained = ended(child_environment, tmp_path, "--", "true")
    assert code == 2
    assert "another run" in complained
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 75
    assert "saved" in log(tmp_path, 0)
    assert "saved" in log(tmp_path, 1)


def test_processes_that_do_not_heed_a_signal_are_ended_after_the_grace(child_environment, tmp_path):
    process = start(
        child_environment,
        tmp_path,
        "--grace=1",
        "--restarts=5",
        "--",
        "bash",
        "-c",
        "trap '' TERM; echo ready; while :; do sleep 0.05; done",
    )
    wait_until_ready(tmp_path)
    process.send_signal(signal.SIGTERM)
    _, complained = process.communicate(timeout=40)
    assert process.returncode == 128 + signal.SIGKILL
    assert "told to stop; the others have 1 s" in complained


@pytest.mark.parametrize(("how", "code"), [("exit 75", 0), ("kill -KILL $$", 0), ("exit 1", 1)])
def test_what_was_killed_or_preempted_starts_again_and_a_defect_does_not(child_environment, tmp_path, how, code):
    script = f"[ ! -e started-$JAX_PROCESS_ID ] || exit 0; touch started-$JAX_PROCESS_ID; {how}"
    ran, _, complained = ended(child_environment, tmp_path, "--restarts=1", "--grace=1", "--", "bash", "-c", script)
    assert ran == code, complained


@pytest.mark.parametrize("lost", [0, 1])
def test_a_killed_process_takes_its_slice_with_it_and_the_others_start_again(child_environment, tmp_path, lost):
    """Failures of processes that waited for it do not count; a defect of one process still ends the run."""
    script = (
        'echo "$JAX_PROCESS_ID of $JAX_NUM_PROCESSES, slice $MEGASCALE_SLICE_ID of $MEGASCALE_NUM_SLICES"; '
        f"if [ $MEGASCALE_NUM_SLICES = 1 ]; then exit $LAST; fi; if [ $JAX_PROCESS_ID = {3 * lost} ]; then "
        "kill -KILL $$; fi; sleep 0.5; exit 1"
    )
    command = ("--processes=4", "--slices=2", "--restarts=1", "--grace=5", "--", "bash", "-c", script)
    for code in (0, 3):
        folder = tmp_path / str(code)
        folder.mkdir()
        ran, _, complained = ended(child_environment | {"LAST": str(code)}, folder, *command)
        assert ran == code, complained
        assert "slices lost: 1; going on with 1 of 2" in complained
        assert log(folder, 0).split("\n")[:2] == ["0 of 4, slice 0 of 2", "0 of 2, slice 0 of 1"]
        assert log(folder, 1).split("\n")[:2] == ["1 of 4, slice 0 of 2", "1 of 2, slice 0 of 1"]


def test_a_dry_run_prints_a_line_per_process(child_environment, tmp_path):
    code, said, _ = ended(
        child_environment,
        tmp_path,
        "--processes=2",
        "--devices=4",
        "--port=4000",
        "--dry-run",
        "--",
        "polaris",
        "train",
        "--workdir=my run",
    )
    assert code == 0
    first, second = said.splitlines()
    assert "JAX_PROCESS_ID=0 polaris train '--workdir=my run'" in first
    assert "JAX_PROCESS_ID=1 " in second
    assert "JAX_COORDINATOR_ADDRESS=127.0.0.1:4000" in second
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        ("--processes=0", "--", "true"),
        ("--processes=3", "--slices=2", "--", "true"),
        ("--devices=x", "--", "true"),
        ("--",),
        ("--proceses=2", "--", "true"),
    ],
)
def test_bad_arguments_are_refused(child_environment, tmp_path, wrong):
    code, _, complained = ended(child_environment, tmp_path, *wrong)
    assert code == 2
    assert complained.count("\n") == 1
    assert not os.listdir(tmp_path)
