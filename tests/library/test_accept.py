"""A text that is not an English novel is rejected with one sentence that says why."""

import random

import pytest

from polaris_jax.library import read_novel
from polaris_jax.library.language import identify
from tests.library.conftest import book, prose, sentences, wrap

FOREIGN = {
    "French": (
        "Le vieux meunier était assis devant sa porte quand la nuit tomba sur le village. Il ne disait rien, mais "
        "on voyait bien que cette lettre lui avait fait de la peine. Sa fille, qui avait tout compris, vint se "
        "mettre à côté de lui et prit sa main dans la sienne. Ils restèrent ainsi sans parler jusqu'à ce que la "
        "lune se lève."
    ),
    "German": (
        "Der alte Müller saß vor seiner Tür, als die Nacht über das Dorf kam. Er sagte nichts, aber man sah, dass "
        "der Brief ihm weh getan hatte. Seine Tochter, die alles verstanden hatte, setzte sich neben ihn und nahm "
        "seine Hand. So blieben sie sitzen, ohne ein Wort zu sprechen, bis der Mond über den Feldern stand."
    ),
    "Spanish": (
        "El viejo molinero estaba sentado delante de su puerta cuando la noche cayó sobre el pueblo. No decía "
        "nada, pero se veía que la carta le había hecho daño. Su hija, que lo había comprendido todo, se puso a su "
        "lado y le tomó la mano. Así se quedaron los dos sin hablar hasta que la luna salió por encima de los "
        "campos."
    ),
    "Italian": (
        "Il vecchio mugnaio era seduto davanti alla sua porta quando la notte scese sul paese. Non diceva nulla, "
        "ma si vedeva che la lettera gli aveva fatto male. Sua figlia, che aveva capito tutto, si mise accanto a "
        "lui e gli prese la mano. Rimasero così senza parlare, finché la luna non fu alta sopra i campi."
    ),
    "Dutch": (
        "De oude molenaar zat voor zijn deur toen de nacht over het dorp viel. Hij zei niets, maar men kon zien "
        "dat de brief hem pijn had gedaan. Zijn dochter, die alles begrepen had, ging naast hem zitten en nam zijn "
        "hand in de hare. Zo bleven zij daar zonder te spreken tot de maan boven de velden stond."
    ),
    "Latin": (
        "Senex ante portam sedebat cum nox in vicum venit. Nihil dixit, sed omnes videbant epistulam ei dolorem "
        "fecisse. Filia autem eius, quae omnia intellexerat, ad eum venit et manum eius cepit. Ita sine verbis "
        "manserunt, neque quisquam ex domo ad eos venit, dum luna super agros esset et canes tacerent in via."
    ),
    "Finnish": (
        "Vanha mylläri istui ovensa edessä, kun yö laskeutui kylän ylle. Hän ei sanonut mitään, mutta kaikki "
        "näkivät, että kirje oli tehnyt hänelle pahaa. Hänen tyttärensä, joka oli ymmärtänyt kaiken, tuli hänen "
        "viereensä ja otti häntä kädestä. Niin he istuivat, kun kuu nousi, eikä kukaan ollut enää hereillä."
    ),
    "Swedish": (
        "Den gamle mjölnaren satt framför sin dörr när natten kom över byn. Han sade inte något, men man såg att "
        "brevet hade gjort honom ont. Hans dotter, som hade förstått allt, satte sig hos honom och tog hans hand. "
        "Så satt de där utan att tala, och det var inte förrän månen stod över åkrarna som de gick in."
    ),
    "Portuguese": (
        "O velho moleiro estava sentado diante da sua porta quando a noite caiu sobre a aldeia. Não dizia nada, "
        "mas via-se que a carta lhe tinha feito mal. A filha, que já havia compreendido tudo, pôs-se ao lado dele "
        "e tomou-lhe a mão. Ficaram os dois assim, sem falar, até que a lua se ergueu por cima dos campos."
    ),
}


@pytest.mark.parametrize("language", FOREIGN)
def test_foreign_books_are_turned_away(language, write):
    text = "\n\n".join(wrap(FOREIGN[language]) for _ in range(60))
    for encoding in ("utf-8", "latin-1"):
        novel = read_novel(write(f"TITLE\n\n\n\nI\n\n{text}\n\n\nII\n\n{text}\n", encoding=encoding))
        assert not novel.accepted
        assert language in novel.reason
        assert "\n" not in novel.reason


@pytest.mark.parametrize("language", FOREIGN)
def test_one_short_paragraph_is_enough_to_tell(language):
    assert identify(FOREIGN[language])[0] == language


def test_cyrillic_is_turned_away(write):
    assert not read_novel(write("Старый мельник сидел перед дверью и молчал. " * 400)).accepted


def test_a_book_half_in_another_language_is_turned_away(write):
    text = prose(60) + "\n\n" + "\n\n".join(wrap(FOREIGN["French"]) for _ in range(60))
    assert not read_novel(write(text)).accepted


def test_foreign_phrases_do_not_matter(write):
    text = book([f"CHAPTER {n}" for n in range(1, 7)])
    text = text.replace("before the rain", "“C’est la vie, mon ami!” before the rain")
    assert read_novel(write(text)).accepted


def test_a_play_is_turned_away(write):
    rng = random.Random(3)
    speakers = ("MARTA", "ANSELM", "CORWIN")
    speeches = [f"{rng.choice(speakers)}. {sentences(1, rng)} {sentences(1, rng)}" for _ in range(240)]
    text = "THE FERRY\n\nDRAMATIS PERSONAE\n\nMARTA\nANSELM\nCORWIN\n\n\nACT I\n\nSCENE I. A kitchen.\n\n"
    novel = read_novel(write(text + "\n\n".join(map(wrap, speeches))))
    assert not novel.accepted
    assert "play" in novel.reason


def test_a_play_with_names_on_their_own_line_is_turned_away(write):
    rng = random.Random(4)
    speeches = [f"{rng.choice(('MARTA', 'ANSELM'))}.\n{wrap(sentences(2, rng))}" for _ in range(240)]
    novel = read_novel(write("THE FERRY\n\nACT I\n\n\n" + "\n\n".join(speeches)))
    assert not novel.accepted
    assert "play" in novel.reason


@pytest.mark.parametrize("lines", [4, 14])
def test_poems_are_turned_away(lines, write):
    rng = random.Random(5)
    words = ("river", "meadow", "lantern", "shadow", "morning", "winter", "harbour", "evening", "stone")

    def verse():
        first, second, third = rng.sample(words, 3)
        return f"{rng.choice(('And', 'Where', 'Beneath'))} the {first} of the {second} and my {third}"

    stanzas = ["\n".join(verse() for _ in range(lines)) for _ in range(1200 // lines)]
    novel = read_novel(write("POEMS OF THE VALLEY\n\nby A. Poet\n\n\n\n" + "\n\n".join(stanzas)))
    assert not novel.accepted
    assert "poetry" in novel.reason


def test_a_collection_of_stories_is_turned_away(write):
    cast = (
        ("Marta", "Anselm", "Corwin"),
        ("Jonas", "Edith", "Percival"),
        ("Wilbur", "Agnes", "Rufus"),
        ("Hester", "Gideon", "Mabel"),
        ("Silas", "Nora", "Humphrey"),
        ("Clive", "Ida", "Leonard"),
    )
    stories = []
    for number, (first, second, third) in enumerate(cast):
        text = prose(14, seed=number).replace("the miller", f"young {first}").replace("the ferryman", f"aunt {second}")
        text = text.replace("Marta", first).replace("Corwin", second).replace("Anselm", third)
        text = text.replace("her brother", f"her {third}").replace("nobody in", f"{first} in").replace("others", second)
        stories.append(f"{('The Well', 'A Debt', 'Late Snow', 'Ashes', 'The Toll', 'Rust')[number]}\n\n\n{text}")
    novel = read_novel(write("THE WELL AND OTHER STORIES\n\nby A. Writer\n\n\n\n\n" + "\n\n\n\n\n".join(stories)))
    assert not novel.accepted
    assert "collection" in novel.reason


def test_length_limits_are_the_callers(write):
    path = write(book([f"CHAPTER {n}" for n in range(1, 4)]))
    assert read_novel(path).accepted
    assert "too short" in read_novel(path, min_words=25_000).reason
    assert "too long" in read_novel(path, max_words=2_000).reason
