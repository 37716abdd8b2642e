"""Disconnected clients free their slots, the queue is bounded, a token is required, a signal shuts down in order."""

import json
import signal
import socket
import threading
import time
import urllib.error
import urllib.request

import openai
import pytest
from command_line import exit_code
from serving_process import running

from polaris_jax.cli import main


def ask(url, body=None, **headers):
    """``(status, JSON)`` of a request."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"} | headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def load(server):
    return ask(f"{server.url}/health")[1]["texts"]


def until_idle(server, seconds=20):
    deadline = time.monotonic() + seconds
    while load(server) and time.monotonic() < deadline:
        time.sleep(0.05)
    return load(server)


LONG = {"model": "tide", "prompt": "The", "max_tokens": 600, "ignore_eos": True}


def test_closing_a_stream_frees_its_slots(server):
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    stream = client.completions.create(
        **{k: v for k, v in LONG.items() if k != "ignore_eos"}, stream=True, n=3, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    assert load(server) == 3
    stream.close()
    assert until_idle(server) == 0


def test_disconnecting_while_waiting_frees_the_slots(server):
    body = json.dumps(LONG | {"n": 2}).encode()
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        while load(server) != 2:
            time.sleep(0.01)
    assert until_idle(server) == 0


def test_more_texts_than_the_queue_takes_get_status_429(server):
    statuses = []
    threads = [
        threading.Thread(target=lambda: statuses.append(ask(f"{server.url}/v1/completions", LONG | {"n": 5})))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = sorted(status for status, _ in statuses)
    assert found[0] == 200
    assert found[-1] == 429
    assert all(body["error"]["code"] == "queue_full" for status, body in statuses if status == 429)
    assert until_idle(server) == 0


def test_the_openapi_document_lists_the_request_fields(server):
    status, document = ask(f"{server.url}/openapi.json")
    assert (status, document["openapi"]) == (200, "3.1.0")
    body = document["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]
    assert {"messages", "response_format", "seed"} <= set(body["schema"]["properties"])


def test_a_token_is_required_and_sigterm_lets_active_requests_finish(checkpoint):
    with running(checkpoint, "--window", "1024", "--token-env", "TIDE_TOKEN", TIDE_TOKEN="s3cret") as server:
        assert ask(f"{server.url}/health")[0] == 200
        for wrong in ({}, {"Authorization": "Bearer s3cre"}, {"Authorization": "s3cret"}):
            status, body = ask(f"{server.url}/v1/models", **wrong)
            assert (status, body["error"]["code"]) == (401, "invalid_api_key")
        assert ask(f"{server.url}/v1/completions", LONG)[0] == 401
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="s3cret", max_retries=0)
        assert client.models.list().data[0].id == "tide"
        stream = client.completions.create(
            model="tide",
            prompt="The",
            max_tokens=200,
            stream=True,
            extra_body={"ignore_eos": True, "regex": "[a-z]{3000,}"},
        )
        chunks = iter(stream)
        next(chunks)
        server.process.send_signal(signal.SIGTERM)  # active requests finish, new ones are refused
        last = list(chunks)[-1]
        assert last.choices[0].finish_reason == "length"
        assert server.process.wait(30) == 0
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(f"{server.url}/health", timeout=5)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--host", "0.0.0.0"], "--token-env"),
        (["--host", "example.org"], "--token-env"),
        (["--token-env", "NO_SUCH_TOKEN"], "not set"),
        (["--max-queue", "0"], "--max-queue"),
        (["--slots", "0"], "slots"),
        (["--window", "100000"], "positions"),
        (["--chat-template", "/no/file"], "read"),
        (["--chat-template", "/dev/zero"], "is larger than 4 MiB"),
    ],
)
def test_wrong_flags_are_refused_in_one_line(checkpoint, capsys, flags, says):
    assert exit_code(["serve", "--checkpoint", checkpoint, "--port", "0", *flags]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("polaris serve: ")
    assert says in error


def test_a_port_in_use_is_refused_in_one_line(server, checkpoint, capfd):
    port = server.url.rpartition(":")[2]
    assert main(["serve", "--checkpoint", str(checkpoint), "--window", "256", "--port", port]) == 2
    assert "is something else there?" in capfd.readouterr().err
