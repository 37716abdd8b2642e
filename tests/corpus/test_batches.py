"""``polaris build --batch``: rounds of batch files instead of calls build the store that calls would build."""

import hashlib
import json

import pytest
from schema_answers import schema_answer

from polaris_jax.cli import main


@pytest.fixture
def command(library, tokenizer_folder, tmp_path, model):
    def of(store, *more):
        return [
            "build",
            "--books",
            str(library / "the-weir.txt"),
            str(library / "low-water.txt"),
            f"--tokenizer={tokenizer_folder}",
            f"--out={tmp_path / store}",
            "--runner=local",
            "--window=6000",
            "--min-words=500",
            "--annotator=openai",
            "--model=toy",
            "--context-tokens=65536",
            f"--base-url={model.address}/v1",
            "--json",
            *more,
        ]

    return of


def answered(file, spoiled=lambda number: False):
    """A provider's file of answers to a round: those of the test model, some of them cut short."""
    rows = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines()):
        asked = json.loads(line)
        body = asked["body"]
        # The test model draws its answers from the bytes of the request; here from the messages alone.
        seed = int(hashlib.sha256(json.dumps(body["messages"]).encode()).hexdigest()[:6], 16)
        schema = body["response_format"]["json_schema"]["schema"]
        said = json.dumps(schema_answer(schema, seed, body["messages"][-1]["content"]))
        cut = spoiled(number)
        choice = {
            "index": 0,
            "finish_reason": "length" if cut else "stop",
            "message": {"content": said[: 5 if cut else None]},
        }
        usage = {"prompt_tokens": 2000, "completion_tokens": 500, "prompt_tokens_details": {"cached_tokens": 1500}}
        body = {"model": "toy", "choices": [choice], "usage": usage}
        rows.append({"custom_id": asked["custom_id"], "error": None, "response": {"status_code": 200, "body": body}})
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_round_after_round_a_library_is_planned_without_a_call(command, model, tmp_path, capsys):
    folder, rounds = tmp_path / "batches", 0
    while main(command("store", f"--batch={folder}")) == 0:
        said = json.loads(capsys.readouterr().out)
        if "run" in said:
            break
        rounds += 1
        assert rounds < 12
        (file,) = map(type(tmp_path), said["files"])
        assert file.name == f"round-{rounds}.jsonl"
        assert 1 <= said["open"] <= 2
        # Nothing is written twice while the answers are awaited.
        assert main(command("store", f"--batch={folder}")) == 0
        again = json.loads(capsys.readouterr().out)
        assert (again["files"], again["asked"], again["waiting"]) == ([], 0, said["asked"] + said["waiting"])
        first = rounds == 1
        (folder / f"batch_{rounds}_output.jsonl").write_text(answered(file, lambda number: first and number == 0))  # noqa: B023
    assert model.calls == 0
    assert rounds >= 4
    assert {row["status"] for row in said["books"]} == {"built"}
    assert said["run"]["ledger"]["calls"] == 0
    assert len(said["trajectories"]) >= 2
    first, second = ((folder / f"round-{n}.jsonl").read_text(encoding="utf-8").splitlines() for n in (1, 2))
    cut, raised = json.loads(first[0]), next(row for row in map(json.loads, second) if row["custom_id"].endswith("-2"))
    assert raised["custom_id"] == f"{cut['custom_id']}-2"
    assert raised["body"]["max_tokens"] == 2 * cut["body"]["max_tokens"]


def test_a_folder_with_something_else_is_refused(command, tmp_path, capsys):
    folder = tmp_path / "batches"
    folder.mkdir()
    (folder / "notes.jsonl").write_text("hello\n")
    assert main(command("store", f"--batch={folder}")) == 2
    assert "notes.jsonl" in capsys.readouterr().err


def test_batches_are_for_a_model_that_takes_them(library, tokenizer_folder, tmp_path, capsys):
    books = [f"--tokenizer={tokenizer_folder}", f"--out={tmp_path / 's'}", "--books", str(library / "the-weir.txt")]
    assert main(["build", *books, f"--batch={tmp_path / 'b'}"]) == 2
    assert "--batch" in capsys.readouterr().err
