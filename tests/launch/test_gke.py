"""``launch/gke/gke.sh``: a manifest that says what the run needs, applied once, and the same run through XPK."""

import json

import pytest
import yaml

from polaris_jax.planner.topology import find_slice
from polaris_jax.training import default_config

CONFIG = "configs/ministral3_14b_books_1m.py"
RUN = ("--name=books", "--image=registry.example/polaris:1", f"--config={CONFIG}", "--workdir=gs://b/books")
XPK = ("--type=v5p-128", "--cluster=c", "--zone=us-east5-a", "--project=p")


def manifest(cloud, *arguments):
    done = cloud.run("gke/gke.sh", "render", *RUN, *arguments)
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)


@pytest.mark.parametrize(
    ("kind", "accelerator"),
    [
        ("v5p-8", "tpu-v5p-slice"),
        ("v5p-128", "tpu-v5p-slice"),
        ("v6e-4", "tpu-v6e-slice"),
        ("v6e-256", "tpu-v6e-slice"),
    ],
)
def test_the_manifest_asks_for_the_slice_that_was_planned(cloud, kind, accelerator):
    slice_ = find_slice(kind)
    [job] = manifest(cloud, f"--type={kind}")["spec"]["replicatedJobs"]
    spec = job["template"]["spec"]
    pod = spec["template"]["spec"]
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": accelerator,
        "cloud.google.com/gke-tpu-topology": slice_.layout,
    }
    assert spec["parallelism"] == spec["completions"] == slice_.chips // 4
    assert pod["containers"][0]["resources"]["limits"] == {"google.com/tpu": 4}


def test_several_slices_are_replicas_of_one_job(cloud):
    [job] = manifest(cloud, "--type=v5p-128", "--slices=3")["spec"]["replicatedJobs"]
    assert job["replicas"] == 3
    assert job["template"]["spec"]["parallelism"] == 16
    assert cloud.run("gke/gke.sh", "xpk", *RUN, *XPK, "--slices=3").returncode == 0
    [created] = cloud.calls("xpk", "workload", "create")
    assert "--num-slices=3" in created


def test_arguments_reach_the_container_as_they_are(cloud):
    odd = """--config.data.store=gs://b/a "quoted" \\ 'name' & more"""
    [job] = manifest(cloud, "--type=v5p-128", "--", odd)["spec"]["replicatedJobs"]
    container = job["template"]["spec"]["template"]["spec"]["containers"][0]
    assert container["args"] == ["train", f"--config={CONFIG}", "--workdir=gs://b/books", odd]
    assert container["env"][0]["value"].startswith("--xla_tpu_enable_latency_hiding_scheduler=true ")
    assert container["image"] == "registry.example/polaris:1"


def test_preemption_restarts_without_end_and_failure_does_not(cloud):
    spec = manifest(cloud, "--type=v5p-128", "--restarts=4")["spec"]
    assert spec["failurePolicy"]["maxRestarts"] == 4
    [rule] = spec["failurePolicy"]["rules"]
    assert rule == {"action": "RestartJobSetAndIgnoreMaxRestarts", "onJobFailureReasons": ["PodFailurePolicy"]}
    job = spec["replicatedJobs"][0]["template"]["spec"]
    codes = [rule["onExitCodes"]["values"] for rule in job["podFailurePolicy"]["rules"] if "onExitCodes" in rule]
    assert codes == [[75]]
    assert job["template"]["spec"]["terminationGracePeriodSeconds"] > 60
    assert job["template"]["spec"]["restartPolicy"] == "Never"  # podFailurePolicy needs it


def test_the_pods_act_as_their_own_account_and_get_secrets_by_reference(cloud):
    spec = manifest(cloud, "--type=v5p-128", "--verb=rl", "--secret=GEMINI_API_KEY=judges", "--service-account=writer")
    pod = spec["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "writer"
    assert "hostNetwork" not in pod  # on the host's network a pod acts as the node's account
    [container] = pod["containers"]
    assert container["args"][0] == "rl"
    secret = {"name": "GEMINI_API_KEY", "valueFrom": {"secretKeyRef": {"name": "judges", "key": "GEMINI_API_KEY"}}}
    assert secret in container["env"]


def test_apply_may_be_repeated_and_replaces_what_has_ended(cloud):
    for _ in range(2):
        assert cloud.run("gke/gke.sh", "apply", *RUN, "--type=v5p-128").returncode == 0
    assert not cloud.calls("kubectl", "--namespace=default", "delete")
    assert yaml.safe_load((cloud.path / "jobset").read_text())["kind"] == "JobSet"
    (cloud.path / "terminal").write_text("Completed")
    assert cloud.run("gke/gke.sh", "apply", *RUN, "--type=v5p-128").returncode == 0
    assert len(cloud.calls("kubectl", "--namespace=default", "delete")) == 1
    for verb in ("status", "logs", "delete", "delete"):
        assert cloud.run("gke/gke.sh", verb, "--name=books").returncode == 0
    assert not (cloud.path / "jobset").exists()


def test_xpk_gets_the_same_run_once(cloud):
    for _ in range(2):
        done = cloud.run("gke/gke.sh", "xpk", *RUN, *XPK, "--", "--config.data.store=gs://b/store")
        assert done.returncode == 0, done.stderr
    [created] = cloud.calls("xpk", "workload", "create")
    command = f"polaris train --config={CONFIG} --workdir=gs://b/books --config.data.store=gs://b/store"
    assert f"--command={command}" in created
    assert {"--tpu-type=v5p-128", "--num-slices=1", "--docker-image=registry.example/polaris:1"} <= set(created)
    assert "--restart-on-exit-codes=75" in created  # XPK fails the JobSet on any other code
    [grace] = [
        int(word.partition("=")[2]) for word in created if word.startswith("--termination-grace-period-seconds=")
    ]
    assert grace > default_config().train.grace_seconds
    assert cloud.run("gke/gke.sh", "xpk-delete", "--name=books", *XPK).returncode == 0


def test_the_image_is_built_from_the_checkout_and_pushed(cloud):
    assert cloud.run("gke/gke.sh", "image", "--image=registry.example/polaris:1").returncode == 0
    built, pushed = cloud.calls("docker")
    assert built[1] == "build"
    assert built[-1] == str(cloud.checkout)
    assert pushed == ["docker", "push", "registry.example/polaris:1"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (("--type=v5p-20",), "no such slice"),
        (("--image=",), "--image"),
        (("--name=" + "a" * 50,), "at most 40"),
        (("--workdir=/home",), "gs://"),
        (("--restarts=many",), "whole number"),
        (("--slices=x",), "whole number"),
        (("--type=v5p-8", "--slices=2"), "several hosts"),
        (("--tpye=v5p-8",), "no such option"),
        (("--verb=demo",), "train or rl"),
        (("--secret=KEY",), "VARIABLE=NAME"),
    ],
)
def test_bad_arguments_are_refused(cloud, wrong, says):
    done = cloud.run("gke/gke.sh", "apply", *RUN, "--type=v5p-128", *wrong)
    assert done.returncode == 2
    assert says in done.stderr
    assert not cloud.calls()


@pytest.mark.parametrize("verb", ["image", "apply", "status", "logs", "delete", "xpk", "xpk-delete"])
def test_a_dry_run_touches_nothing(cloud, verb):
    done = cloud.run("gke/gke.sh", verb, *RUN, *XPK, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert not cloud.calls()
    assert json.dumps(sorted(file.name for file in cloud.path.iterdir())) == '["bin", "polaris"]'


def test_xpk_takes_no_secret_on_its_command_line(cloud):
    done = cloud.run("gke/gke.sh", "xpk", *RUN, *XPK, "--secret=GEMINI_API_KEY=judges")
    assert done.returncode == 2
    assert "use apply" in done.stderr
    assert not cloud.calls()
