"""``polaris convert SRC hf://user/name``: the real huggingface_hub against a local stand-in of the Hub."""

import base64
import hashlib
import json

import pytest
from servers import BaseHTTPRequestHandler, Server

from polaris_jax.cli import main
from polaris_jax.models import from_pretrained
from polaris_jax.training import default_config, train
from tests.material import make_material

TOKEN = "hf_of_the_test"


class Hub(BaseHTTPRequestHandler):
    """The part of the Hub's API that an upload needs: make a repository, sort files, take large ones, commit."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"] or 0))
        if self.headers["authorization"] != f"Bearer {TOKEN}":
            return self.answer(401, {"error": "Invalid credentials"})
        hub = self.server
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            hub.made.append(asked)
            name = f"{asked['organization']}/{asked['name']}"
            return self.answer(200, {"url": f"{hub.url}/{name}", "name": name, "id": "1", "private": True})
        if self.path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        if "/preupload/" in self.path:
            files = [
                {"path": one["path"], "shouldIgnore": False, "uploadMode": mode}
                for one in json.loads(body)["files"]
                for mode in ["lfs" if one["path"].endswith((".safetensors", ".gguf")) else "regular"]
            ]
            return self.answer(200, {"files": files})
        if self.path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**one, "actions": {"upload": {"href": f"{hub.url}/large/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            return self.answer(200, {"transfer": "basic", "objects": objects})
        assert "/commit/" in self.path, self.path
        hub.commits.append((self.path, [json.loads(line) for line in body.splitlines()]))
        name = self.path.removeprefix("/api/models/").partition("/commit/")[0]
        return self.answer(
            200, {"commitUrl": f"{hub.url}/{name}/commit/c0ffee", "commitOid": "c0ffee", "success": True}
        )

    def do_PUT(self):
        content = self.rfile.read(int(self.headers["content-length"]))
        self.server.large[self.path.rpartition("/")[2]] = content
        self.answer(200, {})

    def answer(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch):
    from huggingface_hub import constants

    with Server(Hub) as server:
        server.url = f"http://127.0.0.1:{server.server_port}"
        server.made, server.commits, server.large = [], [], {}
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of an adapter, two steps of a tiny model."""
    root = make_material(tmp_path_factory.mktemp("published"), 2048)
    config = default_config()
    config.model.update({"path": str(root / "model"), "compute_dtype": "float32", "attention_block": 128})
    config.mesh.update({"context": 4, "fsdp": 2})
    config.data.update({"store": str(root / "store"), "window": 2048, "batch_size": 2, "threads": 1})
    config.adapter.update({"rank": 4, "targets": ("q_proj",)})
    config.optim.warmup = 1
    config.train.steps = 2
    train(config, root / "run")
    return root / "run"


def uploaded(hub):
    """Content of the committed files, by path."""
    ((_, lines),) = hub.commits
    files = {}
    for line in lines:
        value = line["value"]
        if line["key"] == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif line["key"] == "lfsFile":
            files[value["path"]] = hub.large[value["oid"]]
            assert hashlib.sha256(files[value["path"]]).hexdigest() == value["oid"]
    return files


@pytest.mark.slow
def test_an_adapter_is_uploaded_with_a_card_of_its_run(hub, run, capsys, tmp_path):
    assert main(["convert", str(run), "hf://ann/ferry", "--to=peft", "--licence=cc-by-4.0"]) == 0
    assert "LoRA adapter (PEFT), rank 4" in capsys.readouterr().out
    (made,) = hub.made
    assert (made["organization"], made["name"], made["visibility"]) == ("ann", "ferry", "private")
    assert hub.commits[0][0].endswith("/api/models/ann/ferry/commit/main")
    files = uploaded(hub)
    assert {"README.md", "adapter_config.json", "adapter_model.safetensors"} <= set(files)
    card = files["README.md"].decode()
    for said in (
        'license: "cc-by-4.0"',
        "library_name: peft",
        "The Hallin Inventory",
        "2 steps",
        "| `adapter.rank` | 4 |",
        "| `loss` |",
        "PeftModel.from_pretrained(base, 'ann/ferry')",
    ):
        assert said in card, said
    assert str(run.parent) not in card  # paths of the training machine are not published
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert from_pretrained(tmp_path).params


@pytest.mark.slow
def test_a_merged_model_says_how_llama_cpp_is_called(hub, run):
    pytest.importorskip("gguf")
    assert main(["convert", str(run), "hf://ann/ferry-gguf", "--to=gguf", "--licence=mit", "--public"]) == 0
    assert hub.made[0]["visibility"] == "public"
    files = uploaded(hub)
    (weights,) = [name for name in files if name.endswith(".gguf")]
    assert files[weights][:4] == b"GGUF"
    assert f"llama-cli --model {weights}" in files["README.md"].decode()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["hf://ann/ferry"], "--licence='': say under which licence"),
        (["hf://ann/ferry@v1", "--licence=mit"], "write hf://user/name"),
        (["folder", "--licence=mit"], "--licence='mit': is for hf://user/name"),
    ],
)
def test_what_cannot_be_published_is_refused_in_one_line(arguments, words, capsys, hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["convert", "run", *arguments, "--to=peft"]) == 2
    assert words in capsys.readouterr().err
    assert not hub.made
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_without_a_token_that_may_write_one_line_says_so(run, hub, capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_of_another")
    assert main(["convert", str(run), "hf://ann/ferry", "--to=peft", "--licence=mit"]) == 2
    said = capsys.readouterr().err
    assert "log in (hf auth login)" in said
    assert "hf_of_another" not in said
    assert not hub.commits
