"""The loss covers the text of every span with the span's weight, and nothing else."""

import numpy as np
import pytest

from polaris_jax import trajectory
from polaris_jax.data import encode_transcript, truncate
from polaris_jax.trajectory import KINDS, ROLES, Arc, Book, Chapter, Described, LossPolicy, Scene, Vector

FORMATS = ("byte_level", "metaspace", "sentencepiece")
PROSE = (
    "The lamp in the signal house went out at nine.\n\n“You saw it burning?” he asked.\n\nIt was a cold house.",
    "Then the fog came in.  She counted the stairs twice, and the number was not the same.",
    "“I wrote it in the wrong column,” he said. “You let me.”\n\nShe did not say that she had.",
)
POLICIES = (LossPolicy(), LossPolicy(mask_headers=True, mask_copies=True, scaffold_weight=0.5, prose_weight=2.0))


def a_book() -> Book:
    vector = Vector(10, 20, 30, 40, 0, 0, 50)
    chapters = tuple(
        Chapter(
            name=f"Chapter {n}: {name}",
            word_count=20,
            vector=vector,
            focuses=("the lamp", "the ledger"),
            summary=("The lamp goes out and Ines says nothing.",),
            text=text,
            scenes=(Scene("The Stairs", 20, vector, ("the rail",), "Third person, Ines", ("She climbs.",), text),),
        )
        for n, (name, text) in enumerate(
            zip(("The Signal House", "Fog", "The Wrong Column"), PROSE, strict=True), start=1
        )
    )
    names = tuple(chapter.name for chapter in chapters)
    arcs = (
        Arc("The Lamp", ("It goes out.",), ("It goes out at nine.",), ("It goes out at nine, unseen.",), names[:2]),
        Arc("The Ledger", ("It is wrong.",), ("The hour is wrong.",), ("The hour is in the wrong column.",), names[2:]),
    )
    return Book(
        prompt="A mystery about a lighthouse, please.",
        highlight=" ".join(["lamp"] * 60),
        title="The Signal House",
        tags=("fog", "sea", "lamp", "ledger", "stairs", "quiet", "slow mystery"),
        archetype=" ".join(["sea"] * 50),
        world_rules=("The lamp is lit at dusk.",),
        arcs=arcs,
        writing_style=("Plain sentences.",),
        chapters=chapters,
        character_archetypes=(Described("The Keeper", ("Keeps silent.",)),),
        main_characters=(Described("Ines", ("Climbs the stairs.",)),),
        side_characters=(Described("The harbour master", ("Writes the hour.",)),),
    )


@pytest.fixture(scope="module")
def transcript() -> str:
    return trajectory.render(a_book())


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", FORMATS)
def test_each_kind_is_exactly_the_text_of_its_spans(vocabularies, name, transcript, policy):
    tokenizer = vocabularies[name]
    book = encode_transcript(transcript, tokenizer, policy)
    spans = trajectory.spans(transcript, policy)
    for kind in KINDS:
        ours = tokenizer.decode(book.tokens[book.kinds == KINDS.index(kind)])
        assert ours == "".join(transcript[span.start : span.end] for span in spans if span.kind == kind), kind
    for role in {span.role for span in spans}:
        ours = tokenizer.decode(book.tokens[book.roles == ROLES.index(role)])
        assert ours == "".join(transcript[span.start : span.end] for span in spans if span.role == role), role
    for weight in {span.weight for span in spans}:
        ours = tokenizer.decode(book.tokens[book.weights == np.float32(weight)])
        assert ours == "".join(transcript[span.start : span.end] for span in spans if span.weight == weight), weight


@pytest.mark.parametrize("name", FORMATS)
def test_the_prose_is_supervised_and_ends_with_a_supervised_end_of_turn(vocabularies, name, transcript):
    tokenizer = vocabularies[name]
    book = encode_transcript(transcript, tokenizer)
    prose = tokenizer.decode(book.tokens[(book.kinds == KINDS.index("prose")) & (book.weights > 0)])
    assert prose == "".join(PROSE)
    ends = book.weights[book.tokens == tokenizer.eot_id]
    assert ends.tolist() == [0.0] + [1.0] * (len(ends) - 1)  # the first end token belongs to the prompt


def test_one_bos_comes_first_and_is_not_a_target(vocabularies, transcript):
    tokenizer = vocabularies["byte_level"]
    book = encode_transcript(transcript, tokenizer)
    assert np.flatnonzero(book.tokens == tokenizer.bos_id).tolist() == [0]
    assert book.weights[0] == 0
    np.testing.assert_array_equal(book.tokens[1:], tokenizer.encode(transcript))
    assert [array.dtype for array in (book.tokens, book.roles, book.kinds, book.weights)] == [
        np.int32,
        np.int8,
        np.int8,
        np.float32,
    ]


@pytest.mark.parametrize("name", FORMATS)
def test_a_writer_that_appends_piece_by_piece_sees_the_training_tokens(vocabularies, name, transcript):
    tokenizer = vocabularies[name]
    tokens = tokenizer.encode("")
    pieces = [piece for line in transcript.splitlines(keepends=True) for piece in line.partition(": ")]
    for piece in pieces:
        keep, tail = tokenizer.append(tokens, piece)
        tokens = np.concatenate([tokens[:keep], tail])
    np.testing.assert_array_equal(tokens, tokenizer.encode(transcript))


def test_a_long_book_is_cut_after_a_whole_chapter_or_dropped(tokenizer, transcript):
    book = encode_transcript(transcript, tokenizer)
    assert truncate(book, len(book), tokenizer.eot_id) is book
    cut = truncate(book, len(book) - 1, tokenizer.eot_id)
    text = tokenizer.decode(cut.tokens)
    assert transcript.startswith(text)
    assert text.endswith("not the same.\n```<|eot_id|>")
    assert truncate(book, len(cut), tokenizer.eot_id).tokens.tolist() == cut.tokens.tolist()
    assert truncate(book, len(cut) - 1, tokenizer.eot_id) is None  # one chapter of three is less than 60 %
    assert truncate(book, len(cut) - 1, tokenizer.eot_id, least=0.3) is not None
