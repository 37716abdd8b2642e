"""Changes the past tense of a narration into the present tense of plot notes.

The tagger (``tagging``) says which words are past forms, participles, nouns and adjectives. A small automaton follows
the subject's number from left to right and changes the finite verbs.
"""

from collections.abc import Collection, Sequence
from functools import lru_cache

from polaris_jax.scaffold.analysis.lexicons import word_set
from polaris_jax.scaffold.analysis.tagging import NOUNS, PARTICIPLES, PAST, PRESENT, lemma, possible_tags, tags

AUXILIARY_PAST = {
    "was": ("is", "is"),
    "were": ("are", "are"),
    "had": ("has", "have"),
    "did": ("does", "do"),
    "could": ("can", "can"),
    "would": ("will", "will"),
    "wasn't": ("isn't", "isn't"),
    "weren't": ("aren't", "aren't"),
    "hadn't": ("hasn't", "haven't"),
    "didn't": ("doesn't", "don't"),
    "couldn't": ("cannot", "cannot"),
    "wouldn't": ("will not", "will not"),
}
_BE_HAVE = word_set("be am is are was were been being have has had having")
_SINGULAR = word_set(
    "i he she it this that one everyone nobody everybody somebody someone nothing something anything none each"
)
_PLURAL = word_set("they we you these those both few several many some most all others people police men women")
_OBJECTS = word_set("me him her us them it you myself himself herself itself ourselves yourself themselves")
_QUANTITIES = word_set(
    "some most many all few several both half rest none plenty lot number couple dozen dozens score scores majority "
    "hundreds thousands any"
)
_HEADS = frozenset({"one", "each", "either", "neither", "none"})  # before "of" they are the subject, and one alone
_CLAUSE_TAGS = frozenset({"CJS", "CJT", "DTQ", "PNQ", "AVQ"})
_RELATIVES = frozenset({"DTQ", "PNQ"})
_PHRASE_TAGS = NOUNS | {"AT0", "DPS", "DT0", "AJ0", "AJC", "AJS", "CRD", "ORD", "PRF", "PRP", "PNP", "PNI", "EX0"}
_BEGIN_PHRASE = frozenset({"AT0", "DPS", "PNP", "PNI", "NP0"})
_INVERTED = _BEGIN_PHRASE | {"EX0"}
_INFINITIVE_AFTER = ("TO0", "VM0", "VD")
_SOME_NAME = "John"
_UNREAL = word_set("if though as wish wished")
_FEELINGS = word_set(
    "excited tired pleased surprised frightened married delighted ashamed astonished interested exhausted amused "
    "confused worried alarmed satisfied disappointed puzzled determined agitated distressed dressed"
)
_AFTER_PARTICIPLES = word_set("in by with from at on upon of up through")
_SPEECH_PAST = word_set("said cried asked answered replied thought added observed continued returned")
_GOES_BY = word_set("came went stood sat lay ran rode drove flew fell held")


@lru_cache(maxsize=1 << 16)
def base_form(word: str) -> str | None:
    """The infinitive of a lower-cased past form, or None if the word cannot be one."""
    if word in AUXILIARY_PAST:
        word = word.removesuffix("n't")
    possible = possible_tags(word)
    tag = next((tag for tag in ("VVD", "VBD", "VHD", "VDD", "VVN") if tag in possible), None)
    if tag is None or "-" in word:
        return None
    if tag == "VVN" and (not word.endswith("ed") or "AJ0" in possible):  # unharmed
        return None
    return lemma(word, tag)


def is_past(word: str) -> bool:
    """Whether a lower-cased word can be a past verb form."""
    return word in AUXILIARY_PAST or base_form(word) is not None


def third_person(base: str) -> str:
    """``carry`` to ``carries``."""
    if base in ("be", "have", "do"):
        return {"be": "is", "have": "has", "do": "does"}[base]
    if base.endswith(("s", "x", "z", "ch", "sh", "o")):
        return base + "es"
    if base.endswith("y") and base[-2:-1] not in "aeiou":
        return base[:-1] + "ies"
    return base + "s"


class _Subject:
    """The number of a clause's subject, and whether its verb was read."""

    def __init__(self, *, seen: bool = False, plural: bool = False, supposed: bool = False) -> None:
        self.seen, self.plural, self.supposed = seen, plural, supposed
        self.finite = self.compound = self.many = False
        self.there = self.passive = False  # "there was" has its subject behind it; "was led": participles may follow
        self.in_phrase = self.phrase_full = False  # inside a prepositional phrase; its noun was read
        self.quantity = False  # the head is a quantity: "some of the men" has the number of "men"

    def read(self, word: str, tag: str, before: str, after: str) -> None:
        """Takes a word before the verb; ``before`` and ``after`` are its neighbours' tags."""
        if tag in ("PRP", "PRF"):
            self.in_phrase, self.phrase_full = not (tag == "PRF" and self.quantity), False
            return
        begins = tag in ("AT0", "DPS", "DT0", "PNP", "PNI", "EX0", "NP0") and before != "CJC"
        if begins and self.phrase_full:  # the phrase before had its noun
            self.in_phrase = False
        if tag == "CRD" and word != "one" and not self.in_phrase and (after in NOUNS or after.startswith("AJ")):
            self.many = True
        if (word == "half" and after != "PRF") or (tag == "DT0" and after in ("AT0", "DPS", "DT0")):  # all the tribes
            return
        head = word in _HEADS or tag in ("CRD", "DT0")
        alone = tag == "DT0" and word in _SINGULAR | _PLURAL
        if not (tag in NOUNS or tag in ("PNP", "PNI", "EX0") or (head and (after == "PRF" or alone))):
            return
        if self.in_phrase:
            self.phrase_full = True
            return
        self.seen, self.quantity, self.there = True, word in _QUANTITIES, tag == "EX0"
        self.plural = tag == "NN2" or word in _PLURAL or self.many or self.quantity
        if word in _HEADS or word in _SINGULAR:
            self.plural = False


def to_present(tokens: Sequence[str], names: Collection[str] = ()) -> tuple[list[str], list[int]]:
    """Puts the finite past verbs of a token list (words and single punctuation marks) into the present tense.

    What was some time ago stays in the past.

    Args:
      names: words that are names where they stand with a capital (*Good*, *Dantès*).

    Returns:
      The new tokens and the indices of their finite verbs; none if a past verb could not be placed.
    """
    sentence = _Sentence(tokens, names)
    for index in range(len(tokens)):
        sentence.read(index)
    return sentence.result, sentence.finite_verbs()


class _Sentence:
    """A sentence that is put into the present tense word by word.

    Attributes:
      tokens, words: as given, and in lower case. tags: of the words, with an empty one before and two behind.
      result: the tokens so far, changed and unchanged. found: indices of finite verbs so far.
      stays: the past stays the past. lost: a verb has no place, or no form in the present.
      subject: of the clause that is being read. outer: of clauses around it, whose verb is still to come.
      after_aux: a participle would belong to the auxiliary just read.
    """

    def __init__(self, tokens: Sequence[str], names: Collection[str]):
        self.tokens, self.words = tokens, [token.lower().replace("’", "'") for token in tokens]
        self.tags = ("", *tags([_SOME_NAME if token in names else token for token in tokens]), "", "")
        self.result, self.found = list(tokens), list[int]()
        self.stays, self.lost = "ago" in self.words, False
        self.subject, self.outer, self.after_aux = _Subject(), list[_Subject](), False

    def finite_verbs(self) -> list[int]:
        """Their indices; none if a verb is lost, or a clause has not found its own."""
        return self.found if not self.lost and all(clause.supposed for clause in self.outer) else []

    def read(self, index: int) -> None:
        """Takes the next word or mark."""
        word, (before, tag, _) = self.words[index], self.tags[index : index + 3]
        if not word[:1].isalpha():
            self._mark(word)
            return
        auxiliary = word in AUXILIARY_PAST
        if self.subject.finite and self.outer and (auxiliary or tag == "VVD") and before != "CJC":
            # The clause inside has its verb: this is that of the one around it.
            self.subject, self.after_aux = self.outer.pop(), False
        if auxiliary:
            self._auxiliary(index)
        elif not self.after_aux and _is_finite(index, self.words, self.tokens, self.tags[1:], self.subject):
            self._verb(index)
        elif tag in _CLAUSE_TAGS or (word == "that" and before in NOUNS):
            self._opener(index)
        elif tag == "CJC":
            self._conjunction(index)
        else:
            self._other(index)

    def _mark(self, mark: str) -> None:
        if mark in ",;:.":
            self.after_aux = False
            self.subject.in_phrase = self.subject.in_phrase and not self.subject.phrase_full
            if mark != "," and self.subject.finite:
                self.subject = _Subject()

    def _auxiliary(self, index: int) -> None:
        word, words, subject = self.words[index], self.words, self.subject
        plural = subject.plural or subject.compound
        if subject.there:
            plural = _plural_ahead(words, self.tags[1:], index + 1)
        if word in ("had", "were") and not subject.seen and self.tags[index + 2] in _INVERTED:  # had he known
            self.lost = True
        if word in ("could", "would") and "have" in words[index:] and "if" in words:
            self.lost = True
        if not self.stays and not _stays_past(words, index, plural, self.after_aux):
            self.result[index] = AUXILIARY_PAST[word][plural]
        subject.finite, self.after_aux = True, True
        self.found.append(index)

    def _verb(self, index: int) -> None:
        word, (before, tag, after) = self.words[index], self.tags[index : index + 3]
        plural = self.subject.plural or self.subject.compound
        base = lemma(word, "VVD" if tag not in PARTICIPLES else tag)
        if word == "used" and after == "TO0":  # the present has no such form
            self.lost = True
        if before == "PUN" and after in _BEGIN_PHRASE and word in _SPEECH_PAST:
            plural = False  # "...", said the man
        if not self.stays:
            self.result[index] = base if plural else third_person(base)
        self.subject.finite = True
        self.found.append(index)

    def _opener(self, index: int) -> None:
        """Begins a relative or subordinate clause."""
        word, (before, tag, _) = self.words[index], self.tags[index : index + 3]
        subject, previous = self.subject, self.words[index - 1] if index else ""
        relative = bool(index) and (tag in _RELATIVES or (word == "that" and before in NOUNS))
        if not subject.finite and (subject.seen or tag in _RELATIVES):  # "what he said" is a subject too
            self.outer.append(subject if subject.seen else _Subject(seen=True, supposed=True))
        many = subject.plural or subject.compound if before == "PUN" else before == "NN2" or previous in _PLURAL
        self.subject, self.after_aux = _Subject(seen=relative, plural=relative and many), False

    def _conjunction(self, index: int) -> None:
        word, (before, _, after), subject = self.words[index], self.tags[index : index + 3], self.subject
        if word == "but" or (subject.finite and _begins_clause(self.tags[index + 2 :])):
            self.subject = _Subject()
        elif word == "and" and subject.seen and not subject.finite and not subject.in_phrase:
            subject.compound = not (before.startswith("AJ") and after != "AT0")
        self.after_aux = False

    def _other(self, index: int) -> None:
        word, (before, tag, after) = self.words[index], self.tags[index : index + 3]
        begins = tag in _BEGIN_PHRASE and word not in _OBJECTS and before not in ("CJC", "NP0", "PRP", "PRF", "AT0")
        if begins and self.subject.seen and not self.outer and _begins_clause(self.tags[index + 1 :], directly=True):
            if not self.subject.finite and before in NOUNS and tag != "NP0":  # the cat they had seen
                self.outer.append(self.subject)
            if (self.subject.finite and not self.subject.there) or before in NOUNS:
                self.subject = _Subject()
        subject = self.subject
        if not subject.finite:
            subject.read(word, tag, before, after)
            subject.finite = tag in PRESENT and tag != "VVB"  # a general statement: it is known
        subject.passive = subject.passive or (self.after_aux and tag in PARTICIPLES)
        if tag in NOUNS or word in _BE_HAVE:
            self.after_aux = word in _BE_HAVE
        posture = subject.there or (subject.finite and "with" in self.words[:index])  # with their hands folded
        if tag == "VVD" and not (self.stays or self.after_aux or posture) and base_form(word):
            self.lost = self.lost or before not in PARTICIPLES | {"CJC", "PUN"}


def _stays_past(words: list[str], index: int, plural: bool, after_aux: bool) -> bool:
    """Whether an auxiliary keeps its form: could have, as it were, had had to."""
    word = words[index]
    if word in ("could", "would") and "have" in words[index + 1 : index + 6]:
        return True
    unreal = word == "were" and not plural and not _UNREAL.isdisjoint(words[max(0, index - 4) : index])
    return unreal or (word == "had" and after_aux)


def _plural_ahead(words: list[str], tagged: tuple[str, ...], start: int) -> bool:
    """The number of the first noun phrase after ``there was``."""
    for index in range(start, len(words)):
        tag, word = tagged[index], words[index]
        if (tag == "AT0" and word in ("a", "an")) or word in ("one", "no", "nothing", "something", "little", "much"):
            return False
        if word in _PLURAL or (tag == "CRD" and word != "one"):
            return True
        if tag in NOUNS and tagged[index + 1 : index + 2] not in (("NN1",), ("NN2",), ("NN0",)):
            return tag == "NN2"
    return False


def _begins_clause(tagged: Sequence[str], *, directly: bool = False) -> bool:
    """Whether a noun phrase with its own finite verb begins here, as after ``and`` in *he sat and the men stood*.

    Args:
      directly: nothing but adverbs may stand between its first noun and the verb.
    """
    noun = False
    for tag in tagged:
        if tag in PAST or tag == "VM0":
            return noun
        if tag not in _PHRASE_TAGS and not tag.startswith("AV") and not (tag == "CJC" and noun):
            return False
        if directly and noun and not (tag in NOUNS or tag.startswith("AV")):
            return False
        noun = noun or tag in NOUNS or tag in ("PNP", "PNI", "EX0", "DT0")
    return False


def _is_finite(index: int, words: list[str], tokens: Sequence[str], tagged: tuple[str, ...], subject: _Subject) -> bool:
    """Whether the word at ``index`` is the finite past verb of its clause, which has no auxiliary before it."""
    word, tag = words[index], tagged[index]
    base = base_form(word)
    if tag not in ("VVD", "VVN") and not (base == word and tag in ("VVB", "VVI")):  # put, cut: every form is the same
        return False
    if base is None or "-" in word:
        return False
    following = [*words, "."][index + 1]
    after = [*tagged, ""][index + 1]
    if after in ("VBD", "VHD", "VDD", "VM0"):  # the conquered will be heard
        return False
    if following == "by" and word not in _GOES_BY:
        return False
    if word in ("named", "called") and subject.finite and [*tokens, "."][index + 1][0].isupper():
        return False
    back = index - 1
    while back >= 0 and tagged[back].startswith("AV"):
        back -= 1
    before = tagged[back] if back >= 0 else ""
    if before.startswith(("AT", "DPS", "PR", "VB", "VH", "AJ", *_INFINITIVE_AFTER)) and words[back] != "that":
        return False
    if before == "PUN" and following in _AFTER_PARTICIPLES and (word.endswith("ed") or "VVN" in possible_tags(word)):
        return False  # stone dead, shot through the heart
    if before == "PUN" and after == "PUN" and "VVN" in possible_tags(word):  # a path, little used, ...
        return False
    if before in ("CJC", "PUN"):
        listed = subject.passive and "VVN" in possible_tags(word)  # was led home, fed and left there
        joined = (listed or (back > 0 and tagged[back - 1] in PARTICIPLES)) and after not in _BEGIN_PHRASE
        return subject.seen and word not in _FEELINGS and not joined and (tag == "VVD" or subject.finite)
    return subject.seen and not subject.finite
