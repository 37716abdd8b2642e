"""A bucket that fails now and then costs time but gives no wrong token; one that stays broken ends in one line."""

import pytest
from buckets import FaultyBucket

BUILD = """
import sys
from polaris_jax.data import TokenStore, load_tokenizer
from data_toys import LENGTHS, make_trajectory
with TokenStore.create("gs://library/stores/toy", load_tokenizer(sys.argv[1])) as writer:
    for seed, length in enumerate(LENGTHS):
        split = "train" if seed % 3 else "validation"
        writer.append(make_trajectory(length, seed), {"title": f"Book {seed}", "split": split})
print(TokenStore.open("gs://library/stores/toy").content_hash)
"""
READ = """
from polaris_jax.data import TokenStore
from data_toys import LENGTHS, make_trajectory
wrong = 0
for _ in range(int(__import__("sys").argv[1])):
    store = TokenStore.open("gs://library/stores/toy", cache_bytes=0)
    for index, length in enumerate(LENGTHS):
        found, want = store.read(index), make_trajectory(length, index)
        wrong += any((getattr(found, name) != getattr(want, name)).any()
                     for name in ("tokens", "roles", "kinds", "weights"))
assert store.verify() == []
print("wrong", wrong)
"""
REFUSED = """
import sys
from polaris_jax.data import TokenStore, load_tokenizer
from polaris_jax.errors import InputError
try:
    if sys.argv[1] == "read":
        TokenStore.open("gs://library/stores/toy")
    else:
        TokenStore.create("gs://library/stores/new", load_tokenizer(sys.argv[2]))
except InputError as error:
    print(error)
"""


@pytest.fixture
def faulty(bucket, bucket_client, tokenizer, store, tmp_path):
    """The proxy in front of a bucket that holds the toy store, and a client of it."""
    tokenizer.save(tmp_path)
    assert bucket_client(BUILD, tmp_path) == store.content_hash
    with FaultyBucket(bucket, seed=1, hang=60) as proxy:
        yield proxy, lambda *arguments: bucket_client(*arguments, address=proxy.address)


@pytest.mark.parametrize("fault", ["503", "429", "cut", "slow", "lost", "hang"])
def test_reads_are_made_again_until_they_are_right(faulty, fault):
    proxy, client = faulty
    proxy.rate, proxy.kinds = 0.06, (fault,)
    assert client(READ, 1) == "wrong 0"
    assert proxy.met[fault] > 0


def test_a_build_through_faults_gives_the_same_store(faulty, store, tmp_path):
    proxy, client = faulty
    proxy.rate, proxy.kinds = 0.2, ("503", "429", "cut", "slow", "lost")
    assert client(BUILD, tmp_path) == store.content_hash
    assert sum(proxy.met.values()) > 3
    proxy.rate = 0.0
    assert client(READ, 1) == "wrong 0"


@pytest.mark.parametrize("status", [401, 403])
def test_no_permission_is_one_line(faulty, tmp_path, status):
    proxy, client = faulty
    proxy.refused = status
    said = client(REFUSED, "write", tmp_path)
    assert "cannot be" in said
    assert str(status) in said


def test_a_flipped_bit_in_the_bucket_is_found_and_never_read_as_a_token(faulty, bucket):
    import urllib.request

    _, client = faulty
    place = f"{bucket}/download/storage/v1/b/library/o/stores%2Ftoy%2Fgeneration-000001%2Ftokens%2Fc%2F0?alt=media"
    content = bytearray(urllib.request.urlopen(place).read())
    content[-9] ^= 4
    urllib.request.urlopen(
        urllib.request.Request(
            f"{bucket}/upload/storage/v1/b/library/o?uploadType=media&name=stores/toy/generation-000001/tokens/c/0",
            bytes(content),
            {"content-type": "application/octet-stream"},
        )
    )
    said = client("""
from polaris_jax.data import TokenStore
from polaris_jax.errors import InputError
store = TokenStore.open("gs://library/stores/toy")
try:
    for index in range(len(store)):
        store.read(index)
    print("read")
except InputError as error:
    print(len(store.verify()) > 0, error)
""")
    assert said.startswith("True store=")
    assert "damaged" in said
