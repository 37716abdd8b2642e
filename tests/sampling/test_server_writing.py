"""Books written with other engines: llama.cpp with a real model, our own server; by grammar and by form."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from sampling_models import PROMPT, TINY
from servers import MODEL, Handler, Proxy, Server

sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))

from serving_process import running

from polaris_jax.cli import main
from polaris_jax.demo_settings import demo_profile
from polaris_jax.errors import InputError
from polaris_jax.llm import CallFailed, ClientSpec
from polaris_jax.sampling import WriterSettings, WritingError, write_book
from polaris_jax.sampling.book_model import WindowFull
from polaris_jax.sampling.generate import Counts
from polaris_jax.sampling.server import open_server
from polaris_jax.sampling.server.connection import server_address
from polaris_jax.sampling.server.repair import repaired, repaired_prose, tidy
from polaris_jax.sampling.step_writer import write_step
from polaris_jax.trajectory import check, next_step, open_transcript, phrases
from polaris_jax.trajectory.grammar import seq

pytest.importorskip("openai", reason="pip install 'polaris-jax[llm]'")
DEMO = replace(demo_profile(2048), chapter_words=(50, 60))


def spec(address, model=MODEL, **how):
    return ClientSpec("openai", model, base_url=server_address(address), **{"attempts": 2, "backoff": 0.01} | how)


@pytest.fixture(scope="module")
def ours(checkpoint):
    for name in ("starlette", "uvicorn", "jsonschema"):
        pytest.importorskip(name, reason="pip install 'polaris-jax[serve]'")
    with running(checkpoint, "--name=tiny", "--window=4096", "--slots=1") as server:
        yield server.url


@pytest.fixture(scope="module")
def book(ours, tmp_path_factory):
    """A whole book through our own server; ``(folder, what it is)``."""
    folder = tmp_path_factory.mktemp("through") / "book"
    return folder, write_book(open_server(spec(ours, "tiny"), 4096), PROMPT, TINY, seed=3, out_dir=folder)


def test_our_own_server_writes_a_strictly_valid_book(book):
    folder, written = book
    assert written.verdict.ok, written.verdict.violations
    assert (folder / "artifact.txt").read_text() == written.transcript
    assert len(list(folder.glob("*.epub"))) == 1
    run = json.loads((folder / "run.json").read_text())
    assert run["identity"]["server"] == {"engine": "polaris", "model": "tiny"}
    assert run["end"]["how"] == "complete"
    asked = [step for step in run["steps"] if step["attempts"]]
    assert all(step["sampled"] > 0 and step["model_logprob"] is None for step in asked)
    assert not [note for step in run["steps"] for note in step["notes"] if note.startswith("attempt")]


def test_a_killed_run_goes_on_to_the_same_bytes(book, ours, tmp_path):
    _, whole = book

    class Killed(Exception):
        pass

    def kill(event):
        if event.stage == "book_plan" and event.text and "names" in event.step:
            raise Killed

    with pytest.raises(Killed):
        write_book(open_server(spec(ours, "tiny"), 4096), PROMPT, TINY, seed=3, out_dir=tmp_path, progress=kill)
    assert whole.transcript.startswith((tmp_path / "artifact.txt").read_text())
    again = write_book(open_server(spec(ours, "tiny"), 4096), PROMPT, TINY, seed=3, out_dir=tmp_path)
    assert again.transcript == whole.transcript
    with pytest.raises(InputError, match="differs"):
        write_book(open_server(spec(ours, "tiny", attempts=3), 4096), PROMPT, TINY, seed=4, out_dir=tmp_path)


def step_of(part, transcript=None):
    """A step by the beginning of its name, after a written book's earlier ones."""
    found = next_step(transcript or open_transcript(PROMPT), DEMO)
    assert found.name.startswith(part)
    return found


def write_one(model, step, transcript, settings=None, **how):
    session = model.begin()
    session.commit(transcript)
    accepted = write_step(session, step, settings or WriterSettings(), seed=1, counts=Counts(), **how)
    assert step.grammar.matches(accepted.sampled)
    return accepted


def test_llama_cpp_keeps_to_the_grammar(model_server):
    model = open_server(spec(model_server), 4096)
    assert model.identity()["server"]["engine"] == "llama.cpp"
    transcript, heard, text = open_transcript(PROMPT), [], ""
    step = step_of("book_preview")
    accepted = write_one(model, step, transcript, on_text=lambda new, back, attempt: heard.append((new, back)))
    for new, back in heard:
        text = text[: len(text) - back] + new
    assert text.endswith(accepted.sampled)
    prose = replace(step, name="chapter_text", grammar=phrases.prose(), target_words=20, max_tokens=60)
    assert write_one(model, prose, transcript).sampled.endswith("\n```")


def test_llama_cpp_fills_a_form(model_server):
    model = open_server(spec(model_server), 4096, "openai")
    assert model.identity()["server"]["engine"] == "openai"
    grammar = seq(phrases.scene_opening([50, 60], TINY), phrases.bullets((1, 2), TINY))
    step = replace(step_of("book_preview"), prefill="#### Scene 1: ", grammar=grammar, max_tokens=120)
    assert "**Word Count:** " in write_one(model, step, open_transcript(PROMPT)).sampled


@pytest.mark.slow
def test_llama_cpp_writes_a_whole_book(model_server, tmp_path):
    arguments = [
        "write",
        "--server",
        model_server,
        "--prompt",
        PROMPT,
        "--out",
        str(tmp_path / "book"),
        "--profile=demo",
    ]
    assert main([*arguments, "--window=4000", "--chapter-words=50-60"]) == 0
    assert check((tmp_path / "book" / "artifact.txt").read_text(), "strict").ok
    assert list((tmp_path / "book").glob("*.epub"))


def test_a_call_that_fails_for_a_while_is_made_again_and_one_that_always_fails_ends_the_run(ours):
    step = step_of("book_preview")
    direct = write_one(open_server(spec(ours, "tiny"), 4096), step, open_transcript(PROMPT)).sampled
    with Proxy(ours) as proxy:
        model = open_server(spec(proxy.address, "tiny", attempts=3), 4096)
        proxy.faults = ["500"] * 9
        with pytest.raises(CallFailed):
            write_one(model, step, open_transcript(PROMPT))
        proxy.faults = [None, "500", "cut"]  # the first call counts the prompt's tokens
        assert write_one(model, step, open_transcript(PROMPT)).sampled == direct


class _Chat(Handler):
    """A server with one chat model that answers what the test gives it."""

    def do_GET(self):
        if self.path == "/v1/models":
            self.answer(200, {"data": [{"id": "m", "owned_by": "somebody"}]})
        else:
            self.answer(404, {"error": {"message": "no such path"}})

    def do_POST(self):
        body = self.body()
        self.server.note(body, self.headers["authorization"])
        text = self.server.replies.pop(0)
        lines = [
            {"choices": [{"index": 0, "delta": {"content": part}, "finish_reason": None}]}
            for part in (text[:7], text[7:])
        ]
        lines.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        lines.append({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5}})
        data = "".join(f"data: {json.dumps(line)}\n\n" for line in lines) + "data: [DONE]\n\n"
        self.answer(200, data.encode(), (("content-type", "text/event-stream"),))


@pytest.fixture
def chat():
    with Server(_Chat) as server:
        server.replies = []
        yield server


def test_a_chat_model_without_grammar_is_checked_told_why_and_asked_again(chat):
    model = open_server(spec(chat.address, "m"), 8192, "chat")
    grammar = seq(phrases.bullets((1, 2), TINY), "\n\n## Character Archetypes\n")
    step = replace(step_of("book_preview"), prefill="## World Rules\n", grammar=grammar, name="book_plan/world_rules")
    chat.replies = ["Sure! Here is what I think of it.", "```\n- the sea takes\n- all count\n\n```"]
    accepted = write_one(model, step, open_transcript(PROMPT))
    assert accepted.sampled == "- the sea takes\n- all count\n\n## Character Archetypes\n"
    assert accepted.attempts == 2
    first, second = ("\n".join(message["content"] for message in body["messages"]) for body in chat.requests)
    assert "## World Rules" in first
    assert "root ::=" in first
    assert "refused" not in first
    assert "Your last answer was refused: the text does not belong to the step's grammar (V1 line 1" in second
    chat.replies = ["no"] * 6
    with pytest.raises(WritingError, match="6 attempts failed"):
        write_one(model, step, open_transcript(PROMPT))


def test_a_form_that_is_not_filled_is_asked_for_again(chat):
    model = open_server(spec(chat.address, "m"), 8192)
    grammar = phrases.bullets((1, 2), TINY)
    step = replace(step_of("book_preview"), prefill="## World Rules\n", grammar=grammar, name="book_plan/world_rules")
    chat.replies = ['{"mood": "ca', '```json\n{"bullets": ["the sea gives", "all\\ncount"]}\n```']
    accepted = write_one(model, step, open_transcript(PROMPT))
    assert accepted.sampled == "- the sea gives\n- all count"
    assert accepted.attempts == 2
    assert chat.requests[0]["response_format"]["json_schema"]["schema"]["properties"]["bullets"]["maxItems"] == 2


def test_the_key_comes_from_the_environment_and_is_never_said(chat, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("THE_KEY", "sk-very-secret")
    model = open_server(spec(chat.address, "m", api_key_env="THE_KEY"), 8192, "chat")
    chat.replies = ["no"] * 6
    with pytest.raises(WritingError) as caught:
        write_one(model, step_of("book_preview"), open_transcript(PROMPT))
    assert chat.keys[-1] == "Bearer sk-very-secret"
    assert "secret" not in str(caught.value)
    monkeypatch.delenv("THE_KEY")
    arguments = ["write", "--server", chat.address, "--model=m", "--prompt=A book.", "--out", str(tmp_path / "b")]
    assert main([*arguments, "--api-key-env=THE_KEY"]) == 2
    assert "THE_KEY" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--server=http://127.0.0.1:9/v1"], "does not answer"),
        (["--server=ftp://x"], "http"),
        (["--model=other"], "name a model of the server: m"),
        (["--dtype=float32"], "--dtype"),
        (["--xtc-probability=0.5"], "no such sampler"),
        (["--min-p=0.1"], "no such option"),
    ],
)
def test_bad_flags_are_one_line_and_leave_nothing(chat, tmp_path, capsys, flags, told):
    out = tmp_path / "book"
    base = ["write", "--prompt=A book.", "--out", str(out)]
    if not any(flag.startswith("--server") for flag in flags):
        base.append(f"--server={chat.address}")
    assert main([*base, *flags]) == 2
    error = capsys.readouterr().err.strip()
    assert told in error
    assert "\n" not in error
    assert not out.exists()


def test_without_server_or_checkpoint_nothing_can_write(capsys, tmp_path):
    assert main(["write", "--prompt=x", "--out", str(tmp_path / "b")]) == 2
    assert "--server" in capsys.readouterr().err


def test_a_window_that_is_too_small_is_the_callers_mistake(ours, tmp_path):
    with pytest.raises(WindowFull, match="window"):
        write_book(open_server(spec(ours, "tiny"), 260), PROMPT, TINY, out_dir=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_reply_is_repaired_only_by_what_the_grammar_fixes():
    grammar = seq(phrases.bullets((1, 3), TINY), "\n\n## Writing Style\n")
    assert repaired(grammar, "- one\n- two") == "- one\n- two\n\n## Writing Style\n"
    assert repaired(grammar, "- one\n\nHope this helps!") == "- one\n\n## Writing Style\n"
    assert repaired(grammar, "no list") == "no list"
    assert tidy("```\n- one\n```", "x") == "- one\n"
    assert tidy("### Arc 1: The Fog", "said\n### Arc 1: ") == "The Fog"
    assert repaired_prose(phrases.prose(), "# He\nran.\n\n\nShe sat. And") == "He ran.\n\nShe sat. And\n```"
