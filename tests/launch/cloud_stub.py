"""Stands in for gcloud, kubectl, xpk and docker: refuses what the real ones would, over a cloud that is a folder.

Flags are those of the public references: gcloud compute tpus queued-resources, kubectl, XPK's ``workload`` parser,
docker. ``$CLOUD`` holds ``calls`` (a JSON line per call), ``state`` (of the queued resource) and ``script`` (what
``describe`` answers, one per line; ``TRUTH``: the real state, which is also the answer after the last). While
``offline`` exists, the next copy fails. A worker is a folder: ``ssh`` runs its command in it, ``scp`` copies into it.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

CLOUD = Path(os.environ["CLOUD"])
WORKERS = ("worker-0", "worker-1")  # of one slice; those of slice 1 of several are worker-0-slice-1, ...
COMMON = {"--zone", "--project", "--quiet", "--format"}
GCLOUD = {
    "create": {
        "--node-id",
        "--node-count",
        "--node-prefix",
        "--accelerator-type",
        "--runtime-version",
        "--spot",
        "--reserved",
        "--service-account",
        "--network",
        "--subnetwork",
        "--internal-ips",
    },
    "describe": set(),
    "delete": {"--force", "--async"},
    "ssh": {"--node", "--worker", "--command", "--batch-size", "--internal-ip"},
    "scp": {"--node", "--worker", "--recurse", "--batch-size", "--internal-ip"},
}
KUBECTL = {
    "get": {"--ignore-not-found", "--output", "--selector"},
    "delete": {"--ignore-not-found", "--wait"},
    "apply": {"--filename"},
    "logs": {"--selector", "--tail"},
}
XPK = {
    "create": {
        "--workload",
        "--cluster",
        "--zone",
        "--project",
        "--tpu-type",
        "--num-slices",
        "--docker-image",
        "--max-restarts",
        "--restart-on-exit-codes",
        "--termination-grace-period-seconds",
        "--env",
        "--command",
    },
    "list": {"--cluster", "--zone", "--project", "--filter-by-job"},
    "delete": {"--workload", "--cluster", "--zone", "--project", "--force"},
}
DOCKER = {"build": {"--file", "--tag"}, "push": set()}
ALONE = {"--quiet", "--force", "--async", "--spot", "--reserved", "--internal-ips", "--ignore-not-found", "--wait"}


def fail(text: str, code: int = 1) -> None:
    print(f"ERROR: {text}", file=sys.stderr)
    sys.exit(code)


def split(words: list[str], allowed: set[str]) -> tuple[list[str], dict[str, str]]:
    """Names and ``--flag=value`` pairs; an unknown flag, or a flag without its value, ends the call."""
    names, flags = [], {}
    for word in words:
        flag, equals, value = word.partition("=")
        if not word.startswith("--"):
            names.append(word)
        elif flag not in allowed or bool(equals) == (flag in ALONE):
            fail(f"unrecognized arguments: {word}", 2)
        else:
            flags[flag] = value
    return names, flags


def slices() -> list[int]:
    """The numbers of the slices that exist; ``lost`` names the others."""
    count, lost = CLOUD / "slices", CLOUD / "lost"
    gone = lost.read_text().split() if lost.exists() else []
    return [n for n in range(int(count.read_text()) if count.exists() else 1) if str(n) not in gone]


def folders(number: int) -> list[Path]:
    """The folders of a slice's workers."""
    return [CLOUD / (f"{worker}-slice-{number}" if number else worker) for worker in WORKERS]


def workers() -> list[Path]:
    return [folder for number in slices() for folder in folders(number)]


def tpu_vm(words: list[str]) -> None:
    if words[:1] != ["describe"]:
        fail(f"Invalid choice: {words[:1]}", 2)
    names, flags = split(words[1:], COMMON)
    if "--zone" not in flags:
        fail("The [zone] must be set", 2)
    print("READY" if int(names[0].rpartition("-")[2]) in slices() else "PREEMPTED")


def gcloud(words: list[str]) -> None:
    if words[:4] == ["secrets", "versions", "access", "latest"]:
        _, flags = split(words[4:], {"--secret", "--project"})
        secret = CLOUD / "secrets" / flags["--secret"]
        if not secret.exists():
            fail(f"NOT_FOUND: Secret {secret.name} not found")
        print(secret.read_text(), end="")
        return
    if words[:3] == ["compute", "tpus", "tpu-vm"]:
        return tpu_vm(words[3:])
    if words[:3] != ["compute", "tpus", "queued-resources"] or words[3] not in GCLOUD:
        fail(f"Invalid choice: {' '.join(words[:4])}", 2)
    verb = words[3]
    names, flags = split(words[4:], GCLOUD[verb] | COMMON)
    if "--zone" not in flags:
        fail("The [zone] must be set", 2)
    state = CLOUD / "state"
    if verb == "create":
        if not {"--accelerator-type", "--runtime-version"} <= set(flags) or ("--node-id" in flags) == (
            "--node-count" in flags
        ):
            fail("argument --accelerator-type --runtime-version --node-id | --node-count: Must be specified.", 2)
        if state.exists():
            fail("ALREADY_EXISTS")
        state.write_text("ACTIVE")
        (CLOUD / "slices").write_text(flags.get("--node-count", "1"))
        (CLOUD / "lost").unlink(missing_ok=True)
        for worker in workers():
            worker.mkdir()
        return
    script = CLOUD / "script"
    told = script.read_text().splitlines() if script.exists() else []
    if verb == "describe" and told:
        script.write_text("\n".join(told[1:]))
        if told[0] == "BROKEN":
            fail("PERMISSION_DENIED: no such right")
        if told[0] == "SUSPENDED":
            state.write_text("SUSPENDED")
            for worker in workers():
                end(worker)
        if told[0] != "TRUTH":
            print(told[0])
            return
    if not state.exists():
        fail(f"NOT_FOUND: Resource '{names[0]}' was not found")
    elif verb == "describe":
        print(state.read_text())
    elif verb == "delete":
        if "--force" not in flags and state.read_text() == "ACTIVE":
            fail("FAILED_PRECONDITION")
        state.unlink()
        for worker in workers():
            end(worker)
    else:
        asked = flags.get("--node", "0")
        for number in slices() if asked == "all" else map(int, asked.split(",")):
            if number not in slices():
                fail(f"ssh: connect to host of node {number}: No route to host", 255)
            for worker in folders(number)[: None if flags.get("--worker") == "all" else 1]:
                reach(verb, names, flags, worker)


def reach(verb: str, names: list[str], flags: dict[str, str], worker: Path) -> None:
    offline = CLOUD / "offline"
    if verb == "scp" and offline.exists():
        offline.unlink()
        fail("ssh: connect to host port 22: Connection refused", 255)
    if verb == "scp":
        for source in names[:-1]:
            shutil.copy(source, worker)
        return
    environment = {**os.environ, "HOME": str(worker), "POLARIS_HOME": str(worker / "polaris")}
    environment["LIBTPU_LOCK"] = str(CLOUD / "libtpu_lockfile")
    ran = subprocess.run(["bash", "-c", flags["--command"]], cwd=worker, env=environment, check=False)
    if ran.returncode:
        sys.exit(ran.returncode)


def end(worker: Path) -> None:
    """Ends the machine and what runs on it."""
    pid = worker / "polaris" / "run" / "pid"
    if pid.exists():
        subprocess.run(["pkill", "-KILL", "--session", pid.read_text().strip()], check=False)
    shutil.rmtree(worker, ignore_errors=True)


def kubectl(words: list[str]) -> None:
    namespace, verb = words[0], words[1]
    if not namespace.startswith("--namespace=") or verb not in KUBECTL:
        fail(f"unknown command {words[:2]}")
    _, flags = split(words[2:], KUBECTL[verb])
    state = CLOUD / "jobset"
    if verb == "apply":
        state.write_text(Path(flags["--filename"]).read_text())
        (CLOUD / "terminal").unlink(missing_ok=True)
    elif verb == "delete":
        state.unlink(missing_ok=True)
    elif verb == "get" and "terminalState" in flags.get("--output", "") and (CLOUD / "terminal").exists():
        print((CLOUD / "terminal").read_text())


def xpk(words: list[str]) -> None:
    if words[0] != "workload" or words[1] not in XPK:
        fail(f"invalid choice {words[:2]}", 2)
    _, flags = split(words[2:], XPK[words[1]])
    file = CLOUD / "workloads"
    if words[1] == "create":
        with file.open("a") as workloads:
            workloads.write(f"{flags['--workload']}   2025-01-01T00:00:00Z   medium   64\n")
    elif words[1] == "list" and file.exists():
        print("Jobset Name   Created Time\n" + file.read_text())


def main() -> None:
    name, words = sys.argv[1], sys.argv[2:]
    with (CLOUD / "calls").open("a") as calls:
        calls.write(json.dumps([name, *words]) + "\n")
    if name == "docker":
        split(words[1:], DOCKER[words[0]])
    else:
        {"gcloud": gcloud, "kubectl": kubectl, "xpk": xpk}[name](words)


if __name__ == "__main__":
    main()
