"""The input pipeline on whole novels: no text is lost between the file and the batch."""

import numpy as np
import pytest

from polaris_jax import trajectory
from polaris_jax.data import (
    Batches,
    TokenStore,
    encode_transcript,
    plan_bins,
    train_sentencepiece,
    zigzag_inverse,
)
from polaris_jax.trajectory import KINDS


@pytest.fixture(scope="module")
def novels(shared):
    files = sorted((shared / "corpus").glob("*.txt"))
    if not files:
        pytest.skip("no novels in corpus/")
    return [file.read_text(encoding="utf-8", errors="replace") for file in files]


def test_the_first_chapters_of_every_novel_come_back_from_their_tokens(novels):
    tokenizer = train_sentencepiece([novel[:20_000] for novel in novels[:10]], 2000)
    for novel in novels:
        opening = novel[:100_000]
        assert tokenizer.decode(tokenizer.encode(opening)) == opening


def test_the_example_transcript_goes_through_the_store_into_a_batch_and_back(shared, tmp_path):
    transcript = (shared / "specs/trajectory_example.txt").read_text(encoding="utf-8")
    tokenizer = train_sentencepiece([transcript], 800)
    writer = TokenStore.create(tmp_path / "store", tokenizer)
    book = encode_transcript(transcript, tokenizer)
    for _ in range(3):
        writer.append(book, {"title": "toy"})
    store = writer.commit()
    window = -(-2 * len(book) // 16) * 16
    batches = Batches(store, plan_bins(store.lengths, window), batch_size=2, seed=0, shards=8)
    batch = {name: array[:, zigzag_inverse(window, 8)] for name, array in batches.batch(0).items()}
    for row in range(2):
        for segment in range(1, batch["segment_ids"][row].max() + 1):
            here = batch["segment_ids"][row] == segment
            assert tokenizer.decode(batch["tokens"][row][here]) == transcript
            prose = here & (batch["kinds"][row] == KINDS.index("prose")) & (batch["weights"][row] > 0)
            expected = "".join(
                transcript[span.start : span.end] for span in trajectory.spans(transcript) if span.kind == "prose"
            )
            assert tokenizer.decode(batch["targets"][row][prose]) == expected
    assert np.count_nonzero(batch["segment_ids"]) == 3 * len(book)
