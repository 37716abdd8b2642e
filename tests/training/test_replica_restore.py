"""The first of several replicas in processes of their own reads a checkpoint, and all get it, bit for bit."""

import os
import subprocess
import sys

from processes import ROOT, environment

# Every process has a copy of the run's folder; that of the second has no arrays. -0.0 and NaN must survive.
PROGRAM = """
import os, shutil, sys
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
from polaris_jax.errors import RunError
from polaris_jax.sharding import make_mesh
from polaris_jax.training import cluster
from polaris_jax.training.checkpoint import Checkpoints
from polaris_jax.training.state import TrainState

cluster.join()
folder, number = sys.argv[1], jax.process_index()
mesh = make_mesh({"data": 2, "context": 2})
odd = np.array([-0.0, np.nan, 1.5, -3.0] * 4, np.float32).reshape(8, 2)

def put(x, *spec):
    return jax.make_array_from_callback(x.shape, NamedSharding(mesh, P(*spec)), lambda i: x[i])

state = TrainState(
    put(np.int32(3)),
    {"a": put(odd, "context"), "b": put(odd.astype(jnp.bfloat16), None, "context")},
    {"m": put(odd[:1])},
)
checkpoints = Checkpoints(f"{folder}/run", asynchronous=False)
checkpoints.save(3, state, {"step": 3})
checkpoints.wait()
cluster.barrier("saved")
mine = f"{folder}/run-{number}"
shutil.copytree(f"{folder}/run", mine)
if number == 1:
    for item in ("params", "optimizer"):
        for name in os.listdir(f"{mine}/checkpoints/3/{item}"):
            if name == "d" or name.startswith("ocdbt"):
                shutil.rmtree(f"{mine}/checkpoints/3/{item}/{name}")
abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)
reader = Checkpoints(mine, read_only=True)
found, data = reader.restore(3, abstract)
assert data == {"step": 3}
for want, got in zip(jax.tree.leaves(state), jax.tree.leaves(found), strict=True):
    assert got.sharding == want.sharding
    for one, other in zip(want.addressable_shards, got.addressable_shards, strict=True):
        assert np.asarray(one.data).tobytes() == np.asarray(other.data).tobytes()
cluster.barrier("restored")
if number == 0:
    for name in os.listdir(f"{mine}/checkpoints/3/params"):
        if name == "d" or name.startswith("ocdbt"):
            shutil.rmtree(f"{mine}/checkpoints/3/params/{name}")
try:
    reader.restore(3, abstract)
    said = "restored what is gone"
except RunError as error:
    said = f"refused: {error}"
with open(f"{folder}/said-{number}", "w") as file:  # a file of its own: gloo writes into the log, also within lines
    file.write(said)
cluster.barrier("the end")
"""


def test_the_first_replica_reads_for_all_and_its_failure_is_everybodys(tmp_path):
    ran = subprocess.run(
        [
            ROOT / "launch" / "local_multiprocess.sh",
            "--processes=2",
            "--slices=2",
            "--devices=2",
            f"--logs={tmp_path / 'logs'}",
            "--",
            sys.executable,
            "-c",
            PROGRAM,
            str(tmp_path),
        ],
        env=environment() | {"TMPDIR": os.environ.get("TMPDIR", "/tmp")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    logs = [(tmp_path / "logs" / f"process-{number}.log").read_text() for number in (0, 1)]
    assert ran.returncode == 0, logs[0][-3000:] + logs[1][-3000:]
    said = [(tmp_path / f"said-{number}").read_text() for number in (0, 1)]
    assert said[0].startswith("refused: checkpoint 3 of ")
    assert said[1].endswith("cannot be read by another process")
