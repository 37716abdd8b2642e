"""The words of a preview in any script.

The released grammar has only Latin words with blanks between them. In a script without blanks, every character counts
as a word, as its readers count; Latin letters may stand before such a character without a blank.
"""

from functools import cache

from polaris_jax.trajectory.charset import CharSet
from polaris_jax.trajectory.elements import LETTER, LONE_MARKS
from polaris_jax.trajectory.grammar import CharClass, Grammar, Literal, Repeat, Token, alt, optional, repeat, seq
from polaris_jax.trajectory.scripts import HAN_AND_KANA, SCRIPTS, Scripts, letters, marks

MARKS_AFTER = 4  # closing marks that may follow one character


@cache
def words(name: str, own_marks: CharSet, bounds: tuple[int, int], scripts: Scripts, longest: int | None) -> Grammar:
    """``bounds`` words of the Latin alphabet and of ``scripts``.

    Args:
      name: name of a word's token.
      own_marks: punctuation of the released grammar.
      longest: most characters of a word; None: no limit (the reference).
    """
    letter = (LETTER | letters(scripts)) - (HAN_AND_KANA if "cjk" in scripts else CharSet(()))
    punctuation = own_marks | marks(scripts)
    opening = SCRIPTS["cjk"].opening if "cjk" in scripts else CharSet(())
    tail = (letter | punctuation) - opening
    most = None if longest is None else longest - 1
    forms = [
        seq(CharClass(letter), CharClass(tail, 0, most)),
        seq(CharClass(punctuation), CharClass(letter), CharClass(tail, 0, None if most is None else most - 1)),
        CharClass(CharSet.of(LONE_MARKS) | (SCRIPTS["emoji"].marks if "emoji" in scripts else CharSet(()))),
    ]
    blank = Literal(" ")
    if "cjk" not in scripts:
        return repeat(Token(name, alt(*forms)), *bounds, blank)
    # ``letters`` before a character belong to it: "Tom\u8bf4" is one word.
    character = seq(
        CharClass(opening, 0, 2),
        CharClass(letter, 0, None if most is None else min(most, 16)),
        CharClass(HAN_AND_KANA),
        CharClass(punctuation - opening, 0, MARKS_AFTER),
    )
    word = alt(*forms)
    low, high = bounds
    inner = Repeat(alt(seq(character, optional(blank)), seq(word, blank)), low - 1, high - 1)
    # One token for all words: only the next character shows where one ends, and its first bytes may be those of a
    # mark; llguidance never takes a token back.
    return Token(name, seq(inner, alt(character, word)))
