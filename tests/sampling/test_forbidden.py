"""Forbidden phrases are found as whole words in any case and spacing, and no book keeps one."""

from dataclasses import replace

import pytest
from sampling_models import PROMPT, TINY, small_sampler

from polaris_jax.errors import InputError
from polaris_jax.sampling import WriterSettings, write_book
from polaris_jax.sampling.forbidden import ForbiddenPhrases
from polaris_jax.sampling.generate import Counts
from polaris_jax.sampling.local_model import LocalSession
from polaris_jax.sampling.step_writer import write_step
from polaris_jax.trajectory import BookOutline, next_step, open_transcript
from polaris_jax.trajectory.grammar import Literal, Token, alt, repeat, seq


@pytest.mark.parametrize(
    ("phrase", "text", "found"),
    [
        ("a testament to", "It was A  Testament\nto him.", True),
        ("art", "The heart beat.", False),
        ("art", "Art, then.", True),
        ("灯塔", "那座灯塔亮着", True),
        ("don’t", "They don’t.", True),
        ("- no", "x- no", True),
        ("البحر", "في البحر هنا", True),
    ],
)
def test_whole_words_in_any_case_and_spacing(phrase, text, found):
    assert (ForbiddenPhrases((phrase,)).first(text) is not None) == found


def test_the_fixed_words_of_a_stage_are_not_the_models():
    phrases = ForbiddenPhrases(("style", "action", "summary"))
    assert phrases.first_in_stage("## Writing Style\naction: 1, dialog: 2\n**Chapter Summary:**\n- calm") is None
    assert phrases.first_in_stage("- in style") == "style"
    assert ForbiddenPhrases(()).first_in_stage("anything") is None


def test_prose_is_cut_back_before_a_forbidden_phrase_and_goes_on_otherwise(model, tokenizer):
    sentences = [f"The {word} lay still over the harbour." for word in ("fog", "boat", "lamp", "night")]
    grammar = seq(repeat(Token("paragraph", alt(*map(Literal, sentences))), 1, None, "\n\n"), "\n```")
    session = LocalSession(small_sampler(model, tokenizer))
    session.commit(open_transcript(PROMPT))
    opening = next_step(session.text, TINY)
    step = replace(opening, name="chapter_text", grammar=grammar, target_words=20, max_tokens=400)
    cut = 0
    for seed in range(6):
        settings = WriterSettings(temperature=8.0, forbidden=("the BOAT lay",), loop_cuts=20)
        accepted = write_step(session, step, settings, seed=seed, counts=Counts())
        assert "boat" not in accepted.sampled
        assert grammar.matches(accepted.sampled)
        cut += sum("cut back" in note for note in accepted.notes)
    assert cut


def test_a_phrase_of_the_outline_cannot_be_forbidden(model, tokenizer, tmp_path):
    profile = replace(TINY, outline=BookOutline(style=("short sentences",)))
    with pytest.raises(InputError, match="short sentences"):
        write_book(
            small_sampler(model, tokenizer),
            PROMPT,
            profile,
            out_dir=tmp_path / "new",
            settings=WriterSettings(forbidden=("Short sentences",)),
        )
    assert not (tmp_path / "new").exists()
