"""The guide for a pod, every command of it in order, at tiny scale: from a folder of novels to a shared model.

Replaced are the model (two random layers in a folder of the guide's name, with a tokenizer that has no stage tokens),
the sizes, Google's cloud (``cloud_stub``, whose two workers really train together), Cloud Storage (an emulator) and
Gemini (a server of its protocol that answers by the schema). Everything else is what a person would type.
"""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys

import jax
import pytest
from buckets import BUCKET, environment, run_bucket
from schema_answers import schema_answer
from servers import Handler, Server

from polaris_jax.models import Decoder, ModelConfig, init_params, save_pretrained
from tests.launch.conftest import ROOT
from tests.llm.gemini_stub import generated
from tests.test_documentation import command_lines

# What is added to a command of the guide, by its first words; flags that come later win.
MORE = {
    "doctor": [],
    "convert": [],
    "segment": [],
    "build": ["--profile=mini", "--window=4096", "--per-book=1"],
    "plan": ["--estimate"],
    "watch": [],
    "evaluate": ["--limit=1", "--max-tokens=4096"],
}
# What `polaris train` gets besides on the workers: two processes with a device each.
SMALL = (
    "--config.mesh.fsdp=1 --config.mesh.context=2 --config.data.window=4096 --config.data.batch_size=1 "
    "--config.model.segments=1 --config.model.mlp_chunk=0 --config.train.microbatches=1 --config.train.steps=3 "
    "--config.optim.warmup=1 --config.eval.every=0"
)


class Gemini(Server):
    """Answers every question with a value of the schema that it came with."""

    def __init__(self):
        super().__init__(_Answers)


class _Answers(Handler):
    def do_POST(self):
        asked = self.body()
        with self.server.lock:
            self.server.note(asked, self.headers["x-goog-api-key"])
        about, question = asked["generationConfig"], json.dumps(asked["contents"], ensure_ascii=False)
        schema = about.get("responseJsonSchema") or about.get("responseSchema")
        seed = int(hashlib.sha256(question.encode()).hexdigest()[:6], 16)
        self.answer(200, generated(json.dumps(schema_answer(schema, seed, question))))


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def save_base(folder, novel):
    """A Ministral 3 of two random layers and its tokenizer, without stage tokens."""
    from polaris_jax.data import train_sentencepiece

    tokenizer = train_sentencepiece(novel.read_text(encoding="utf-8").splitlines(), 1000, folder)
    rope = {"rope_type": "yarn", "rope_theta": 10_000.0, "factor": 16.0, "original_max_position_embeddings": 4096}
    config = ModelConfig.from_hf(
        {
            "model_type": "ministral3",
            "vocab_size": tokenizer.vocab_size,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "max_position_embeddings": 65_536,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": False,
            "rope_parameters": rope | {"beta_fast": 32.0, "beta_slow": 1.0, "llama_4_scaling_beta": 0.1},
        }
    )
    save_pretrained(Decoder(config, init_params(config, jax.random.key(0))), str(folder))


def upload(folder, address):
    """``gcloud storage cp --recursive FOLDER gs://BUCKET/NAME``."""
    from polaris_jax import storage

    for file in sorted(folder.rglob("*")):
        if file.is_file():
            storage.write(f"{address}/{file.relative_to(folder)}", file.read_bytes())


@pytest.mark.slow
def test_the_guide_for_a_pod_runs_from_its_first_line_to_its_last(tmp_path, cloud, monkeypatch):
    novel = next((ROOT / "polaris_jax" / "library" / "books").glob("*.txt"))
    (tmp_path / "novels").mkdir()
    shutil.copy(novel, tmp_path / "novels")
    save_base(tmp_path / "Ministral-3-14B-Base", novel)
    ran = []
    with run_bucket(tmp_path / "bucket") as address, Gemini() as gemini:
        outside = environment(address) | {"GOOGLE_GEMINI_BASE_URL": gemini.address, "GEMINI_API_KEY": "a-key"}
        outside |= {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "HOME": str(tmp_path)}
        for name, value in outside.items():
            monkeypatch.setenv(name, value)
        python = f"{sys.executable} -m polaris_jax.cli"
        exports = "".join(f"export {name}='{value}'\n" for name, value in outside.items() if name != "HOME")
        cloud.polaris(f'{exports}export JAX_COORDINATOR_ADDRESS=127.0.0.1:{free_port()}\nexec {python} "$@" {SMALL}\n')
        guide = (ROOT / "docs" / "guides" / "pod.md").read_text(encoding="utf-8").replace("BUCKET", BUCKET)
        for words in command_lines(guide):
            program, *arguments = words
            if program == "gcloud":
                assert arguments[:3] == ["storage", "cp", "--recursive"]
                upload(tmp_path / arguments[3], arguments[4])
                continue
            if program == "launch/tpu_pod.sh":
                # The second request is for two slices: what it would do is printed.
                more = ["--poll=1"] if not cloud.queued("create") else ["--dry-run"]
                done = cloud.run("tpu_pod.sh", arguments[0], *more, *arguments[1:], timeout=900)
            else:
                assert program == "polaris"
                done = subprocess.run(
                    [*python.split(), *arguments, *MORE[arguments[0]]],
                    cwd=tmp_path,
                    env=os.environ | outside,
                    capture_output=True,
                    text=True,
                    timeout=900,
                    check=False,
                )
            assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
            assert "Traceback" not in done.stderr
            ran.append((arguments[0], done.stdout))
    assert [verb for verb, _ in ran] == [
        *("doctor", "convert", "segment", "build", "build", "build", "plan", "plan", "run", "plan", "run"),
        *("watch", "evaluate", "evaluate", "convert"),
    ]
    assert set(gemini.keys) == {"a-key"}
    assert (tmp_path / "review.html").is_file()
    assert "step 3" in dict(ran)["watch"] or "3 of 3" in dict(ran)["watch"], dict(ran)["watch"]
    assert (tmp_path / "release" / "model.safetensors").is_file()
