"""The same store in a bucket: TensorStore's own Cloud Storage driver against an emulated server."""

import numpy as np
import pytest

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


MODEL = """
import os, sys
from polaris_jax import storage
from polaris_jax.data import load_chat_template, load_tokenizer
from polaris_jax.errors import InputError
local, model = sys.argv[1], "gs://library/models/small"
for name in sorted(os.listdir(local)):
    storage.write(storage.join(model, name), open(os.path.join(local, name), "rb").read())
tokenizer = load_tokenizer(model)
file = next(name for name in ("tokenizer.json", "tokenizer.model") if os.path.exists(os.path.join(local, name)))
assert load_tokenizer(storage.join(model, file)).fingerprint == tokenizer.fingerprint
ask = [{"role": "user", "content": "Hi"}]
assert load_chat_template(model, tokenizer).text(ask) == load_chat_template(local, tokenizer).text(ask) == "<Hi>"
try:
    load_tokenizer("gs://library/models/none")
except InputError as error:
    assert "gs://library/models/none" in str(error), error
    print(tokenizer.fingerprint)
"""


@pytest.mark.parametrize("name", ["sentencepiece", "byte_level"])
def test_vocabulary_and_chat_template_of_a_model_in_a_bucket(bucket_client, vocabularies, tmp_path, name):
    vocabularies[name].save(tmp_path)
    (tmp_path / "chat_template.jinja").write_text("{% for m in messages %}<{{ m.content }}>{% endfor %}")
    assert bucket_client(MODEL, tmp_path) == vocabularies[name].fingerprint
