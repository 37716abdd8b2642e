"""Speech in single quotation marks is found, and its apostrophes are not taken for quotation marks."""

import pytest

from polaris_jax.library import read_novel
from polaris_jax.scaffold.analysis.sentences import dialogue_share, narration, quote_style, quoted_spans


@pytest.mark.parametrize(
    ("paragraph", "spoken"),
    [
        ("'Shut the door,' said Martin. 'It isn't summer.' He came in.", ["'Shut the door,'", "'It isn't summer.'"]),
        ("'It is the boys' house,' she said.", ["'It is the boys' house,'"]),
        ("'I'm goin' home, an' that's all,' he said.", ["'I'm goin' home, an' that's all,'"]),
        ("The boys' house was Martin's, and 'twas old.", []),
        ("He got 'em all in the winter of '93.", []),
        ("''Tis late,' he said.", ["''Tis late,'"]),
        ("'Tis late,' he said.", ["'Tis late,'"]),
        ("'He said \"no\" to me!' cried Anna--'twice.'", ["'He said \"no\" to me!'", "'twice.'"]),
        ("She called it 'the ark' and laughed.", ["'the ark'"]),
        ("'A speech that goes on in the next paragraph.", ["'A speech that goes on in the next paragraph."]),
        ("It was the dogs', he thought.", []),
        ("`Come in,' said he.", ["`Come in,'"]),
    ],
)
@pytest.mark.parametrize("curly", [False, True])
def test_speeches(paragraph, spoken, curly):
    if curly:
        if "`" in paragraph or "''" in paragraph:
            pytest.skip("typewriter forms")
        for start in [s for s in spoken if s[0] == "'"]:
            paragraph = paragraph.replace(start, "‘" + start[1:].replace("'", "’"))
        paragraph = paragraph.replace("'", "’")
        spoken = ["‘" + s[1:].replace("'", "’") for s in spoken]
    assert [paragraph[a:b] for a, b in quoted_spans(paragraph, "single")] == spoken
    told = narration(paragraph, "single")
    assert not any(s in told for s in spoken)


def test_the_style_of_a_book():
    single = "'Come in,' said he. 'It's late, and \"no\" is no answer.'\n\n" * 9
    double = "\"Come in,\" said he. \"It's goin' late, an' 'no' is no answer.\"\n\n" * 9
    assert quote_style(single) == quote_style(single.replace("'C", "‘C").replace(",' ", ",’ ")) == "single"
    assert quote_style(double) == "straight"
    assert quote_style("The boys' house was Martin's, and 'twas old.\n\n" * 9 + '"No," he said. "No."') == "straight"


def test_the_given_case(shared):
    novel = read_novel(shared / "cases" / "library" / "single_straight_quotes.txt")
    text = "\n\n".join(unit.text for unit in novel.chapters)
    spoken = (
        "'The road will be dry by noon,'",
        "'and you don't need the cart.'",
        "'Shut the door,'",
        "'It isn't summer.'",
    )
    words = sum(text.count(speech) * len(speech.split()) for speech in spoken)
    assert quote_style(text) == "single"
    assert dialogue_share(text, "single") == pytest.approx(words / len(text.split()), abs=0.01)
