"""``launch/tpu_pod.sh`` against a cloud that checks every argument and runs the workers' commands for real."""

import subprocess

import pytest

CONFIG = "configs/ministral3_14b_books_262k.py"
RUN = (
    "--name=books",
    "--type=v6e-256",
    "--zone=us-east5-a",
    "--spot",
    f"--config={CONFIG}",
    "--workdir=gs://b/books",
    "--poll=0",
)


def test_a_run_goes_from_nothing_to_the_end(cloud):
    done = cloud.run("tpu_pod.sh", "run", *RUN, "--", "--config.data.store=gs://b/it's here")
    assert done.returncode == 0, done.stderr
    [created] = cloud.queued("create")
    assert {
        "--accelerator-type=v6e-256",
        "--runtime-version=v2-alpha-tpuv6e",
        "--spot",
        "--node-id=books",
        "--zone=us-east5-a",
    } <= set(created)
    for number, worker in enumerate(("worker-0", "worker-1")):
        flags, command, joined = (cloud.path / worker / "told").read_text().splitlines()
        assert "--xla_tpu_enable_latency_hiding_scheduler=true" in flags
        assert command == f"train --config={CONFIG} --workdir=gs://b/books --config.data.store=gs://b/it's here"
        assert joined == f"{number} of 2 at 10.0.0.7:8476"
        assert (cloud.path / worker / "polaris/current/source/polaris_jax/cli.py").exists()


def test_what_exists_is_kept(cloud):
    for _ in range(2):
        assert cloud.run("tpu_pod.sh", "create", "--name=books", "--type=v5p-128", "--zone=us-east5-a").returncode == 0
        assert cloud.run("tpu_pod.sh", "wait", "--name=books", "--zone=us-east5-a").returncode == 0
    assert len(cloud.queued("create")) == 1
    for _ in range(2):
        assert cloud.run("tpu_pod.sh", "install", *RUN).returncode == 0
    assert sum(not folder.is_symlink() for folder in (cloud.path / "worker-0/polaris").iterdir()) == 1
    for _ in range(2):
        assert cloud.run("tpu_pod.sh", "delete", *RUN).returncode == 0
    assert len(cloud.queued("delete")) == 1


def test_a_job_is_started_once_and_stops_with_a_checkpoint(cloud):
    cloud.polaris('trap "echo saved; exit 75" TERM; echo "step 1"; while :; do sleep 0.05; done\n')
    cloud.run("tpu_pod.sh", "create", *RUN)
    cloud.run("tpu_pod.sh", "install", *RUN)
    first, second = (cloud.run("tpu_pod.sh", "start", *RUN).stdout for _ in range(2))
    assert first == second
    assert first.count("running") == 2
    assert cloud.run("tpu_pod.sh", "stop", *RUN).stdout.splitlines() == ["exited 75"] * 2
    assert cloud.run("tpu_pod.sh", "status", *RUN).stdout.splitlines() == ["exited 75"] * 2
    assert cloud.run("tpu_pod.sh", "logs", *RUN).stdout.splitlines() == ["step 1", "saved"]


def test_a_preempted_slice_is_asked_for_again_and_the_run_resumes(cloud):
    cloud.polaris(
        "if [[ -e $CLOUD/again-$(basename $HOME) ]]; then exit 0; fi\n"
        'touch "$CLOUD/again-$(basename $HOME)"; while :; do sleep 0.05; done\n'
    )
    cloud.answers("TRUTH", "WAITING_FOR_RESOURCES", "ACTIVE", "ACTIVE", "SUSPENDED")
    done = cloud.run("tpu_pod.sh", "run", *RUN)
    assert done.returncode == 0, done.stderr
    assert "start 2, from the newest checkpoint of gs://b/books" in done.stderr
    assert len(cloud.queued("delete")) == 1
    assert len(cloud.queued("create")) == 2


def test_a_killed_worker_is_started_again(cloud):
    cloud.polaris(
        "if [[ -e $CLOUD/again-$(basename $HOME) ]]; then exit 0; fi\n"
        'touch "$CLOUD/again-$(basename $HOME)"; kill -KILL $$\n'
    )
    done = cloud.run("tpu_pod.sh", "run", *RUN)
    assert done.returncode == 0, done.stderr
    assert len(cloud.queued("create")) == 1


def told(cloud, worker):
    return (cloud.path / worker / "told").read_text().splitlines()[-1]


def test_several_slices_are_one_request_and_one_run(cloud):
    done = cloud.run("tpu_pod.sh", "run", *RUN, "--slices=3", timeout=240)
    assert done.returncode == 0, done.stderr
    [created] = cloud.queued("create")
    assert {"--node-count=3", "--node-prefix=books"} <= set(created)
    assert not any(word.startswith("--node-id") for word in created)
    assert told(cloud, "worker-1") == "1 of 6 at 10.0.0.7:8476, slice 0 of 3 at 10.0.0.7"
    assert told(cloud, "worker-0-slice-2") == "4 of 6 at 10.0.0.7:8476, slice 2 of 3 at 10.0.0.7"


@pytest.mark.parametrize(("lost", "left"), [(0, "-slice-1"), (1, "")])
def test_when_a_slice_is_lost_the_run_goes_on_with_the_rest(cloud, lost, left):
    """The other slice fails without it, and is started again as a run of one slice."""
    cloud.polaris(
        "if [[ -e $CLOUD/lost ]]; then exit 0; fi; echo start >>$CLOUD/starts\n"
        "until (($(wc -l <$CLOUD/starts) == 4)); do sleep 0.05; done\n"
        f"if [[ $MEGASCALE_SLICE_ID == {lost} ]]; then sleep 0.5; echo {lost} >$CLOUD/lost; kill -KILL $$; fi\n"
        "until [[ -e $CLOUD/lost ]]; do sleep 0.05; done; exit 1\n"
    )
    done = cloud.run("tpu_pod.sh", "run", *RUN, "--slices=2", timeout=240)
    assert done.returncode == 0, done.stderr
    assert "start 2, from the newest checkpoint of gs://b/books" in done.stderr
    assert len(cloud.queued("create")) == 1
    address = f"10.0.{1 - lost}.7"
    assert told(cloud, f"worker-1{left}") == f"1 of 2 at {address}:8476, slice 0 of 1 at {address}"
    assert cloud.run("tpu_pod.sh", "logs", *RUN, "--slices=2").returncode == 0


def test_a_slice_that_comes_back_is_taken_in_again(cloud):
    cloud.polaris(
        "if [[ $MEGASCALE_NUM_SLICES == 2 && -e $CLOUD/back ]]; then exit 0; fi\n"
        "if [[ $MEGASCALE_NUM_SLICES == 2 ]]; then echo start >>$CLOUD/starts\n"
        "until (($(wc -l <$CLOUD/starts) == 4)); do sleep 0.05; done\n"
        "sleep 0.5; echo 1 >$CLOUD/lost; exit 1; fi\n"
        'trap "exit 75" TERM; sleep 0.5; touch $CLOUD/back; rm -f $CLOUD/lost; while :; do sleep 0.05; done\n'
    )
    done = cloud.run("tpu_pod.sh", "run", *RUN, "--slices=2", timeout=240)
    assert done.returncode == 0, done.stderr
    assert "slices 0,1 are there again" in done.stderr
    assert told(cloud, "worker-0-slice-1") == "2 of 4 at 10.0.0.7:8476, slice 1 of 2 at 10.0.0.7"


@pytest.mark.parametrize(("code", "starts"), [(2, 1), (1, 3)])
def test_a_mistake_ends_a_run_at_once_and_a_defect_after_three_tries(cloud, code, starts):
    cloud.polaris(f"echo started >>$HOME/starts; echo 'polaris train: the reason'; exit {code}\n")
    done = cloud.run("tpu_pod.sh", "run", *RUN)
    assert done.returncode == code
    assert "polaris train: the reason" in done.stdout
    assert (cloud.path / "worker-0/starts").read_text().count("started") == starts


def test_a_worker_that_is_killed_on_a_machine_that_stays_is_a_failure(cloud):
    """As the kernel kills it when the host's memory is too small: it is started three times, not nine."""
    cloud.polaris("echo started >>$HOME/starts; kill -KILL $$\n")
    done = cloud.run("tpu_pod.sh", "run", *RUN, "--restarts=8")
    assert done.returncode == 1
    assert (cloud.path / "worker-0/starts").read_text().count("started") == 3


def test_the_machines_are_given_back_after_a_run_that_finished(cloud):
    assert cloud.run("tpu_pod.sh", "run", *RUN, "--delete-when-done").returncode == 0
    assert len(cloud.queued("delete")) == 1
    cloud.polaris("exit 2\n")
    assert cloud.run("tpu_pod.sh", "run", *RUN, "--delete-when-done").returncode == 2
    assert len(cloud.queued("delete")) == 1  # one that failed is kept: its logs are there


def test_a_secret_reaches_the_run_and_no_command_line(cloud):
    (cloud.path / "secrets").mkdir()
    (cloud.path / "secrets" / "judge-key").write_text("very secret")
    cloud.polaris('printf "%s" "$GEMINI_API_KEY" >"$HOME/key"; exit 0\n')
    done = cloud.run("tpu_pod.sh", "run", *RUN, "--verb=rl", "--secret=GEMINI_API_KEY=judge-key")
    assert done.returncode == 0, done.stderr
    assert (cloud.path / "worker-1/key").read_text() == "very secret"
    assert (cloud.path / "worker-1/told").read_text().splitlines()[1].startswith("rl --config=")
    said = [done.stdout, done.stderr, (cloud.path / "calls").read_text(), (cloud.path / "worker-0/told").read_text()]
    assert not [text for text in said if "very secret" in text]


def test_a_lock_that_a_killed_process_left_is_removed(cloud):
    lock = cloud.path / "libtpu_lockfile"
    lock.touch()
    assert cloud.run("tpu_pod.sh", "run", *RUN).returncode == 0
    assert not lock.exists()


def test_build_and_evaluate_run_on_one_host(cloud):
    one = [word for word in RUN if not word.startswith(("--type", "--config", "--workdir"))]
    flags = ("--", "length", "--generations=gs://b/stories.jsonl", "--out=gs://b/evals")
    done = cloud.run("tpu_pod.sh", "run", *one, "--type=v6e-4", "--verb=evaluate", *flags)
    assert done.returncode == 0, done.stderr
    told = (cloud.path / "worker-0/told").read_text().splitlines()[1]
    assert told == "evaluate length --generations=gs://b/stories.jsonl --out=gs://b/evals"


def test_a_connection_that_fails_is_tried_again(cloud):
    cloud.path.joinpath("offline").write_text("1")
    done = cloud.run("tpu_pod.sh", "run", *RUN)
    assert done.returncode == 0, done.stderr
    assert "could not be started" in done.stderr


def test_a_failing_look_is_not_an_absent_slice(cloud):
    cloud.answers(*["BROKEN"] * 5)
    done = cloud.run("tpu_pod.sh", "create", *RUN)
    assert done.returncode == 1
    assert "PERMISSION_DENIED" in done.stderr
    assert not cloud.queued("create")
    cloud.answers("BROKEN", "ACTIVE")
    assert cloud.run("tpu_pod.sh", "wait", *RUN).returncode == 0


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (("--type=v6e-250",), "no such slice"),
        (("--type=v4-8",), "v5p or v6e"),
        (("--name=Books",), "--name=Books"),
        (("--config=configs/none.py",), "no such file"),
        (("--workdir=/home/me",), "gs://"),
        (("--spt",), "no such option"),
        (("--zone=",), "--zone"),
        (("--reserved",), "--spot was given too"),
        (("--restarts=many",), "whole number"),
        (("--poll=0.5",), "whole number"),
        (("--verb=write",), "train, rl, build or evaluate"),
        (("--verb=build",), "one host"),
        (("--secret=KEY=with space",), "--secret=VARIABLE=NAME"),
        (("--slices=0",), "--slices=0"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_asked_for(cloud, wrong, says):
    done = cloud.run("tpu_pod.sh", "run", *RUN, *wrong)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert not cloud.calls()


def test_a_dry_run_touches_nothing(cloud):
    done = cloud.run("tpu_pod.sh", "run", *RUN, "--dry-run")
    assert done.returncode == 0
    assert not cloud.calls()
    assert [line.split()[4] for line in done.stdout.splitlines() if line.startswith("gcloud")] == [
        "describe",
        "create",
        "describe",
        "scp",
        "ssh",
        "ssh",
        "ssh",
    ]


def test_a_printed_command_can_be_pasted(cloud):
    printed = cloud.run("tpu_pod.sh", "start", *RUN, "--dry-run", "--", "--config.data.store=gs://b/it's here").stdout
    cloud.run("tpu_pod.sh", "create", *RUN)
    cloud.run("tpu_pod.sh", "install", *RUN)
    environment = {"CLOUD": str(cloud.path), "PATH": f"{cloud.path / 'bin'}:/usr/bin:/bin"}
    subprocess.run(["bash", "-c", printed], env=environment, cwd=cloud.checkout, check=True, timeout=30)
    assert cloud.run("tpu_pod.sh", "status", *RUN).stdout
    assert "--config.data.store=gs://b/it's here" in (cloud.path / "worker-0/told").read_text()
