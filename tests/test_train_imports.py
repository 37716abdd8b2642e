"""What ``polaris train`` imports on every worker of a pod: the rooms of a training step, not those of the demo."""

import json
import subprocess
import sys

PROGRAM = """
import json, sys
from polaris_jax.cli import main
code = main(["train", "--config=" + sys.argv[1], "--workdir=" + sys.argv[2]])
print(json.dumps({"code": code, "modules": [name for name in sys.modules if name.startswith("polaris_jax.")]}))
"""
# Refused when the config is checked: by then everything is imported, and nothing has been made.
CONFIG = """
from polaris_jax.training import default_config

def get_config():
    config = default_config()
    config.train.steps = 0
    return config
"""


def test_training_imports_no_room_that_it_does_not_use(tmp_path):
    config = tmp_path / "config.py"
    config.write_text(CONFIG)
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(config), str(tmp_path / "run")], capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["code"] == 2, ran.stderr
    rooms = {name.split(".")[1] for name in found["modules"]}
    assert {"training", "models", "optim", "planner"} <= rooms
    unused = {"demo", "demo_settings", "corpus", "library", "scaffold", "sampling", "serving", "rl", "evals", "report"}
    assert not rooms & unused, f"{len(found['modules'])} modules"
