"""Checkpoints in a bucket: the same folder as on a disk, through an emulated Cloud Storage server."""

from polaris_jax.models import save_pretrained

from .test_loading import made

CLIENT = """
import sys
import jax, numpy as np
from polaris_jax.converting import convert
from polaris_jax.errors import InputError
from polaris_jax.models import from_pretrained, save_pretrained
from polaris_jax.models.checkpoint import read_json
from polaris_jax.models.folder import open_folder
local, work = sys.argv[1:]
model = from_pretrained(local)
save_pretrained(model, "gs://library/models/tiny", shard_bytes=20_000)
save_pretrained(model, "gs://library/models/tiny", shard_bytes=40_000)
folder = open_folder("gs://library/models/tiny")
shards = sorted(set(read_json(folder, "model.safetensors.index.json")["weight_map"].values()))
assert len(shards) > 1 and shards[0].endswith(f"-of-{len(shards):05d}.safetensors"), shards
assert not any(folder.exists(f"model-00001-of-{n:05d}.safetensors") for n in range(30) if n != len(shards))
again = from_pretrained("gs://library/models/tiny")
jax.tree.map(np.testing.assert_array_equal, again.params, model.params)
convert("gs://library/models/tiny", work + "/orbax")
convert(work + "/orbax", "gs://library/models/again")
jax.tree.map(np.testing.assert_array_equal, from_pretrained("gs://library/models/again").params, model.params)
for address, says in (("gs://library/nothing", "no such file"), ("gs://library/models/broken", "truncated")):
    if says == "truncated":
        whole = open_folder("gs://library/models/again")
        broken = open_folder(address)
        broken.write("config.json", [whole.read("config.json")])
        broken.write("model.safetensors", [whole.read("model.safetensors")[:-9]])
    try:
        from_pretrained(address)
        raise SystemExit("loaded " + address)
    except InputError as error:
        assert says in str(error), error
print("done")
"""


def test_a_bucket_holds_the_same_checkpoint_as_a_disk(bucket_client, tmp_path):
    save_pretrained(made("qwen3"), tmp_path / "model")
    assert bucket_client(CLIENT, tmp_path / "model", tmp_path) == "done"
