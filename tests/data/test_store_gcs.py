"""The same store in a bucket: TensorStore's own Cloud Storage driver against an emulated server."""

import numpy as np

CLIENT = """
import sys
from polaris_jax.data import TokenStore, load_tokenizer
from data_toys import LENGTHS, make_trajectory
tokenizer = load_tokenizer(sys.argv[1])
writer = TokenStore.create("gs://library/stores/toy", tokenizer)
for seed, length in enumerate(LENGTHS):
    split = "train" if seed % 3 else "validation"
    writer.append(make_trajectory(length, seed), {"title": f"Book {seed}", "split": split})
store = writer.commit()
again = TokenStore.open("gs://library/stores/toy", tokenizer)
assert again.verify() == []
assert again.read(2, 3, 9).tokens.tolist() == make_trajectory(LENGTHS[2], 2).tokens[3:9].tolist()
rebuilt = TokenStore.create("gs://library/stores/toy", tokenizer)
rebuilt.append(make_trajectory(5, 0), {})
assert len(TokenStore.open("gs://library/stores/toy")) == len(LENGTHS)
rebuilt.commit()
assert len(TokenStore.open("gs://library/stores/toy")) == 1
assert again.verify() == ["the store at gs://library/stores/toy has been rebuilt since it was opened"]
third = TokenStore.create("gs://library/stores/toy", tokenizer)
third.append(make_trajectory(6, 0), {})
assert third.commit().verify() == []
print(again.content_hash)
"""


def test_a_bucket_holds_the_same_store_as_a_disk(bucket_client, store, tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    assert bucket_client(CLIENT, tmp_path) == store.content_hash
    assert np.all(store.lengths > 0)
