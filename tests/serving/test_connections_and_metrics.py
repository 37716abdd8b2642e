"""Half-open connections block no other client, Prometheus reads the counters, and SIGTERM ends long requests."""

import contextlib
import json
import signal
import socket
import urllib.request

import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families
from serving_process import running

ASK = {"model": "tide", "prompt": "The", "max_tokens": 5, "ignore_eos": True}
HALF = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nX: "


@pytest.fixture(scope="module")
def small(checkpoint):
    flags = "--window=1024 --slots=2 --header-seconds=6 --max-connections=40 --shutdown-seconds=1"
    with running(checkpoint, *flags.split()) as server:
        yield server


def address(server):
    host, port = server.url.removeprefix("http://").split(":")
    return host, int(port)


def post(server, body):
    data = json.dumps(body).encode()
    request = urllib.request.Request(f"{server.url}/v1/completions", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return reply.status


def metrics(server):
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=60) as reply:
        assert reply.headers["content-type"].startswith("text/plain")
        families = text_string_to_metric_families(reply.read().decode())
        return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


def test_half_open_connections_do_not_shut_the_door(small):
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(socket.create_connection(address(small), timeout=30)) for _ in range(120)]
        for connection in waiting:
            with contextlib.suppress(OSError):  # closed already, to make room
                connection.sendall(HALF)
        assert post(small, ASK) == 200  # three times as many as may be open
        # One whose headers come a byte at a time does not live longer either.
        last = waiting[-1]
        with contextlib.suppress(OSError):
            last.sendall(b"a")
            while last.recv(1):
                pass
    assert post(small, ASK) == 200


def test_a_request_may_take_longer_than_its_headers(small):
    body = json.dumps(ASK).encode()
    head = b"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    with socket.create_connection(address(small), timeout=30) as connection:
        for _ in range(2):  # the same connection twice, each request in two pieces
            connection.sendall(b"POST /v1/completions HTTP/1.1\r\n" + head[:20])
            connection.sendall(head[20:] + body)
            assert connection.recv(15) == b"HTTP/1.1 200 OK"
            connection.settimeout(0.5)
            with contextlib.suppress(TimeoutError):
                while connection.recv(4096):
                    pass
            connection.settimeout(30)


def test_prometheus_reads_what_was_done(small):
    before = metrics(small)
    post(small, ASK | {"n": 2})
    with pytest.raises(urllib.error.HTTPError):
        post(small, ASK | {"model": "other"})
    for path in ("a", "b"):
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"{small.url}/{path}", timeout=60)
    after = metrics(small)

    def more(*name):
        return after[name] - before.get(name, 0)

    assert more("polaris_requests_total", "/v1/completions", "200") == 1
    assert more("polaris_requests_total", "/v1/completions", "404") == 1
    assert more("polaris_requests_total", "other", "404") == 2
    assert more("polaris_generated_tokens_total") == 10
    assert more("polaris_texts_finished_total", "length") == 2
    assert more("polaris_engine_tokens_total", "sampled") == 10
    assert more("polaris_first_token_seconds_count") == 1
    assert (after["polaris_texts",], after["polaris_texts_active",], after["polaris_slots",]) == (0, 0, 2)


def test_a_server_that_guesses_says_the_same_and_counts_its_guesses(small, checkpoint):
    ask = ASK | {"prompt": "The keeper. The keeper. The", "max_tokens": 40, "temperature": 0.9, "seed": 3}
    del ask["ignore_eos"]

    def texts(server):
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
        ways = {"ignore_eos": True}, {"regex": "( keeper| slept){6}"}
        return [client.completions.create(**ask, extra_body=way).choices[0].text for way in ways]

    with running(checkpoint, "--window=1024", "--slots=2", "--speculate=5") as guessing:
        assert texts(guessing) == texts(small)
        counted = metrics(guessing)
    assert 0 < counted["polaris_guesses_total", "right"] <= counted["polaris_guesses_total", "read"]
    assert ("polaris_guesses_total", "right") not in metrics(small)


def test_what_outlives_the_drain_is_told_and_nothing_else_delays_the_end(small):
    client = openai.OpenAI(base_url=f"{small.url}/v1", api_key="none", max_retries=0)
    how = {"model": "tide", "prompt": "The", "max_tokens": 900, "stream": True, "n": 8}
    chunks = iter(client.completions.create(**how, extra_body={"ignore_eos": True}))
    next(chunks)
    with socket.create_connection(address(small), timeout=30) as half_open:
        half_open.sendall(HALF)
        small.process.send_signal(signal.SIGTERM)
        with pytest.raises(openai.APIError, match="shutting down"):
            list(chunks)
        assert small.process.wait(30) == 0
