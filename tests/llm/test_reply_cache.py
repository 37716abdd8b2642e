"""Cached replies survive crashes, damage and several writers; a damaged one is asked again."""

import json
import multiprocessing
import os
from dataclasses import replace

import pytest

from polaris_jax.errors import InputError
from polaris_jax.llm import CallFailed, ClientSpec, Request, open_client
from polaris_jax.llm.cache import Cache
from polaris_jax.llm.transport import RawReply

REPLY = RawReply("Ahoy — é", "m", 3, 2, "stop", logprobs=(("Ahoy", (("Ahoy", -0.5), ("Hi", -1.5))),))
REQUEST = Request((("user", "Hello"),), purpose="greeting")
KEY = REQUEST.key("openai/m")


@pytest.fixture
def kept(tmp_path):
    """``(cache, file)`` with one reply in it."""
    cache = Cache(tmp_path / "cache")
    cache.write(KEY, "openai/m", REQUEST, REPLY)
    return cache, tmp_path / "cache" / KEY[:2] / KEY[2:4] / f"{KEY}.json"


def test_one_readable_file_per_reply(kept):
    cache, file = kept
    content = json.loads(file.read_text())
    assert (content["identity"], content["reply"]["text"]) == ("openai/m", "Ahoy — é")
    assert content["request"]["messages"] == [["user", "Hello"]]
    assert cache.read(KEY) == REPLY
    assert cache.read("0" * 64) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: "\0" * len(text),
        lambda text: text.replace("Ahoy", "Ahoi"),
        lambda text: text.replace('"checksum"', '"sum"'),
        lambda text: text.replace(KEY, KEY[::-1]),
        lambda text: "{}",
    ],
)
def test_a_damaged_file_counts_as_absent_and_is_written_again(kept, damage):
    cache, file = kept
    whole = file.read_text()
    file.write_text(damage(whole))
    assert cache.read(KEY) is None
    cache.write(KEY, "openai/m", REQUEST, REPLY)
    assert cache.read(KEY) == REPLY
    assert file.read_text() == whole


def test_a_reply_under_another_name_is_not_believed(kept):
    cache, file = kept
    other = "ab" * 32
    target = file.parents[2] / "ab" / "ab"
    target.mkdir(parents=True)
    (target / f"{other}.json").write_text(file.read_text())
    assert cache.read(other) is None


def write_and_read(place):
    cache, wrong = Cache(place), 0
    for number in range(150):
        key = f"{number % 5:064d}"
        cache.write(key, "openai/m", REQUEST, REPLY)
        wrong += cache.read(key) != REPLY
    return wrong


def test_processes_may_share_a_cache(tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(write_and_read, [str(tmp_path)] * 4) == [0] * 4
    names = [name for _, _, files in os.walk(tmp_path) for name in files]
    assert sorted(names) == [f"{number:064d}.json" for number in range(5)]


def test_a_place_that_cannot_be_used_is_the_callers_mistake(tmp_path, mood):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cache="):
        Cache(tmp_path / "file").write(KEY, "openai/m", REQUEST, REPLY)
    with pytest.raises(InputError, match="cannot be opened"):
        Cache("nowhere://x")


def test_replay_reads_what_another_wrote(kept, tmp_path):
    with open_client(ClientSpec("replay", "openai/m", cache=str(tmp_path / "cache"))) as client:
        assert client.ask(REQUEST).text == REPLY.text
        with pytest.raises(CallFailed, match="not_recorded after 0 attempts"):
            client.ask(Request((("user", "Goodbye"),)))
        assert client.usage.summary()["purposes"]["greeting"]["cached"] == 1
        assert (client.usage.calls, client.usage.failed) == (0, 1)


def test_a_reply_with_probabilities_is_another_one_and_others_keep_their_key():
    asked = replace(REQUEST, logprobs=5)
    assert len({REQUEST.key("m"), asked.key("m"), replace(asked, logprobs=3).key("m")}) == 3
    assert KEY == "34b5501b96e7ccd32810517bc6b3190544a007edff29fd759a9d430f5d54fa64"  # of replies that were paid for
    with pytest.raises(InputError, match="logprobs"):
        replace(REQUEST, logprobs=21)
