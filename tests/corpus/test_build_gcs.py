"""Novels, work area and store in a bucket: the same store as on a disk (an emulated Cloud Storage server)."""

import urllib.request

from corpus_library import OPTIONS

from polaris_jax.corpus import build_library, find_novels
from polaris_jax.data import TokenStore

CLIENT = """
import sys
from polaris_jax.corpus import build_library, find_novels
from polaris_jax.data import TokenStore, load_tokenizer
from corpus_library import OPTIONS
tokenizer = load_tokenizer(sys.argv[1])
novels = find_novels(["gs://library/novels/*.txt"])
first = build_library(novels, "gs://library/store", tokenizer, OPTIONS, workers=1)
again = build_library(find_novels(["gs://library/novels"]), "gs://library/store", tokenizer, OPTIONS, workers=1)
assert (first.run["planned_now"], again.run["planned_now"]) == (2, 0), again.run
assert TokenStore.open("gs://library/store", tokenizer).verify() == []
print(first.report["content_hash"])
"""


def test_a_library_in_a_bucket(bucket, bucket_client, library, tokenizer, tokenizer_folder, tmp_path):
    names = ["the-weir.txt", "low-water.txt"]
    for name in names:
        upload = urllib.request.Request(
            f"{bucket}/upload/storage/v1/b/library/o?uploadType=media&name=novels/{name}",
            method="POST",
            data=(library / name).read_bytes(),
            headers={"Content-Type": "text/plain"},
        )
        urllib.request.urlopen(upload).read()
    content_hash = bucket_client(CLIENT, tokenizer_folder)
    novels = find_novels([library / name for name in names])
    build_library(novels, tmp_path / "store", tokenizer, OPTIONS, workers=1)
    assert content_hash == TokenStore.open(tmp_path / "store").content_hash
