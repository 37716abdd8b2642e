"""``launch/tpu_pod.sh`` against a cloud that checks every argument and runs the workers' commands for real."""

import subprocess

import pytest

CONFIG = "configs/ministral3_14b_books_262k.py"
RUN = ("--name=books", "--type=v6e-256", "--zone=us-east5-a", "--spot", f"--config={CONFIG}", "--workdir=gs://b/books",
       "--poll=0")  # fmt: skip


def test_a_run_goes_from_nothing_to_the_end(cloud):
    done = cloud.run("tpu_pod.sh", "run", *RUN, "--", "--config.data.store=gs://b/it's here")
    assert done.returncode == 0, done.stderr
    [created] = cloud.queued("create")
    assert {"--accelerator-type=v6e-256", "--runtime-version=v2-alpha-tpuv6e", "--spot", "--node-id=books",
            "--zone=us-east5-a"} <= set(created)  # fmt: skip
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
    cloud.polaris('if [[ -e $CLOUD/again-$(basename $HOME) ]]; then exit 0; fi\n'
                  'touch "$CLOUD/again-$(basename $HOME)"; while :; do sleep 0.05; done\n')
    cloud.answers("TRUTH", "WAITING_FOR_RESOURCES", "ACTIVE", "ACTIVE", "SUSPENDED")
    done = cloud.run("tpu_pod.sh", "run", *RUN)
    assert done.returncode == 0, done.stderr
    assert "start 2, from the newest checkpoint of gs://b/books" in done.stderr
    assert len(cloud.queued("delete")) == 1
    assert len(cloud.queued("create")) == 2


def test_a_killed_worker_is_started_again(cloud):
    cloud.polaris('if [[ -e $CLOUD/again-$(basename $HOME) ]]; then exit 0; fi\n'
                  'touch "$CLOUD/again-$(basename $HOME)"; kill -KILL $$\n')
    done = cloud.run("tpu_pod.sh", "run", *RUN)
    assert done.returncode == 0, done.stderr
    assert len(cloud.queued("create")) == 1


@pytest.mark.parametrize(("code", "starts"), [(2, 1), (1, 3)])
def test_a_mistake_ends_a_run_at_once_and_a_defect_after_three_tries(cloud, code, starts):
    cloud.polaris(f"echo started >>$HOME/starts; echo 'polaris train: the reason'; exit {code}\n")
    done = cloud.run("tpu_pod.sh", "run", *RUN)
    assert done.returncode == code
    assert "polaris train: the reason" in done.stdout
    assert (cloud.path / "worker-0/starts").read_text().count("started") == starts


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


@pytest.mark.parametrize(("wrong", "says"), [
    (("--type=v6e-250",), "no such slice"), (("--type=v4-8",), "v5p or v6e"), (("--name=Books",), "--name=Books"),
    (("--config=configs/none.py",), "no such file"), (("--workdir=/home/me",), "gs://"), (("--spt",), "no such option"),
    (("--zone=",), "--zone"),
])  # fmt: skip
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
        "describe", "create", "describe", "scp", "ssh", "ssh", "ssh"]  # fmt: skip


def test_a_printed_command_can_be_pasted(cloud):
    printed = cloud.run("tpu_pod.sh", "start", *RUN, "--dry-run", "--", "--config.data.store=gs://b/it's here").stdout
    cloud.run("tpu_pod.sh", "create", *RUN)
    cloud.run("tpu_pod.sh", "install", *RUN)
    environment = {"CLOUD": str(cloud.path), "PATH": f"{cloud.path / 'bin'}:/usr/bin:/bin"}
    subprocess.run(["bash", "-c", printed], env=environment, cwd=cloud.checkout, check=True, timeout=30)
    assert cloud.run("tpu_pod.sh", "status", *RUN).stdout
    assert "--config.data.store=gs://b/it's here" in (cloud.path / "worker-0/told").read_text()
