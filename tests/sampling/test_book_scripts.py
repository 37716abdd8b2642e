"""A Chinese and an Arabic book by the writer itself, and what an EPUB says of its language."""

import random
import xml.etree.ElementTree as ET
import zipfile
from dataclasses import replace

import pytest
from llguidance import LLMatcher, LLTokenizer
from sampling_models import TEXT, TINY, random_model, small_sampler

from polaris_jax.data import train_sentencepiece
from polaris_jax.sampling import export_epub, write_book
from polaris_jax.sampling.book_language import book_language
from polaris_jax.trajectory import check, join_stages, phrases, split_stages
from polaris_jax.trajectory.scripts import SCRIPTS, scripts_of

CHINESE = "灯塔的老人守着海，夜里的风很大。他说：“灯还亮着。”她没有回答，只是看着远处的船。"
ARABIC = "قال الحارس: شكرًا، المصباح مضاء. هل تسمع البحر؟ كانت الليلة باردة، ولم تعد القوارب."
LANGUAGES = {"cjk": ("zh", CHINESE), "arabic": ("ar", ARABIC)}


@pytest.fixture(scope="module")
def machine():
    """A random model over Latin, Han and Arabic pieces."""
    tokenizer = train_sentencepiece([TEXT, CHINESE, ARABIC] * 4, 640)
    return small_sampler(random_model(tokenizer.vocab_size), tokenizer)


def write(machine, script, folder, **how):
    profile = replace(TINY, scripts=(script,))
    prompt = LANGUAGES[script][1]
    return write_book(machine, prompt, profile, seed=1, out_dir=folder, **how)


@pytest.mark.parametrize("scripts", [(), ("cjk",), ("arabic",), ("hebrew", "emoji"), tuple(SCRIPTS)])
def test_the_decoder_can_spell_every_preview_of_a_script(scripts):
    """llguidance takes no token back, so the grammar must know the end of an element at its last byte."""
    grammar, rng = phrases.preview(replace(TINY, scripts=scripts)), random.Random(str(scripts))
    vocabulary = LLTokenizer("byte")
    for _ in range(10):
        text = grammar.sample(rng).encode()
        matcher = LLMatcher(vocabulary, LLMatcher.grammar_from_lark(grammar.lark()))
        assert matcher.try_consume_tokens(list(text)) == len(text)
        assert matcher.is_accepting()


@pytest.mark.parametrize("script", LANGUAGES)
def test_the_writer_keeps_to_the_form_in_any_script(machine, script, tmp_path):
    book = write(machine, script, tmp_path, until="book_preview")
    preview = split_stages(book.transcript)[1].text
    assert script in scripts_of(preview)
    assert book.verdict.stages[1].ok, book.verdict.stages[1].violation


@pytest.mark.slow
@pytest.mark.parametrize("script", LANGUAGES)
def test_a_whole_book_in_any_script(machine, script, tmp_path):
    book = write(machine, script, tmp_path)
    assert book.verdict.ok, book.verdict.violations
    assert check(book.transcript, "strict").ok
    assert list(tmp_path.glob("*.epub"))


PROSE = {
    "en": "The keeper of the lighthouse was not a man who said much, and in the morning he went down to the sea. " * 4,
    "de": "Der Wächter sagte nicht viel, und am Morgen ging er mit der Lampe zu dem Boot, das auf ihn wartete. " * 4,
    "fr": "Le gardien ne disait pas grand-chose, et le matin il est allé à la mer avec les hommes du village. " * 4,
    "zh": CHINESE,
    "ja": "灯台の老人は海を見ていた。「まだ灯りはついている」と彼は言った。",
    "ko": "등대지기는 바다를 바라보았다. 그는 아무 말도 하지 않았다.",
    "ar": ARABIC,
    "fa": "نگهبان فانوس دریایی گفت: چراغ هنوز روشن است. پیرمرد به دریا نگاه می‌کرد و چیزی نگفت.",
    "he": "שומר המגדלור אמר: האור עדיין דולק. היא לא ענתה.",
    "ru": "Смотритель маяка сказал, что свет ещё горит. Она не ответила.",
    "uk": "Доглядач маяка сказав, що світло ще горить. Її не було, і він пішов.",
    "el": "Ο φύλακας του φάρου είπε ότι το φως ακόμα ανάβει.",
    "und": "Xq zvrt blorp. 12345.",
}


@pytest.mark.parametrize("language", PROSE)
def test_the_language_of_a_book_is_that_of_its_text(language):
    assert book_language(PROSE[language]) == language


@pytest.mark.parametrize(("language", "direction"), [("ar", "rtl"), ("zh", None), ("he", "rtl"), ("en", None)])
def test_an_epub_names_its_language_and_direction(tmp_path, language, direction):
    prose = PROSE[language].strip()
    transcript = join_stages([("prompt", "x"), ("first_chapter_text", f"### {prose[:8].strip()}\n```\n{prose}\n```")])
    with zipfile.ZipFile(export_epub(transcript, tmp_path)) as archive:
        package = ET.fromstring(archive.read("content.opf"))
        page = ET.fromstring(archive.read("chapter-1.xhtml"))
    assert package.find(".//{http://purl.org/dc/elements/1.1/}language").text == language
    spine = package.find("{http://www.idpf.org/2007/opf}spine")
    assert spine.get("page-progression-direction") == direction
    assert page.get("dir") == direction
    assert page.get("{http://www.w3.org/XML/1998/namespace}lang") == page.get("lang") == language
