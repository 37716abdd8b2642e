"""Changes the past tense of a narration into the present tense of plot notes.

There is no part-of-speech tagger. A small automaton reads a clause, remembers the subject's number, and changes a past
form only where a finite verb can stand. It leaves doubtful participles unchanged.
"""

from polaris_jax.scaffold.analysis.lexicons import ADVERBS, DETERMINERS, PREPOSITIONS, TITLES, word_set

_PAIRS = """
arise arose, awake awoke, bear bore, beat beat, become became, begin began, bend bent, bet bet, bid bade, bind
bound, bite bit, blow blew, break broke, bring brought, build built, burst burst, buy bought, cast cast, catch
caught, choose chose, cling clung, come came, creep crept, cut cut, deal dealt, dig dug, draw drew, dream
dreamt, drink drank, drive drove, eat ate, fall fell, feed fed, feel felt, fight fought, find found, flee
fled, fling flung, fly flew, forbid forbade, forget forgot, forgive forgave, freeze froze, get got, give gave,
go went, grow grew, hang hung, hear heard, hide hid, hit hit, hold held, hurt hurt, keep kept, kneel knelt,
know knew, lay laid, lead led, lean leant, leap leapt, leave left, lend lent, let let, lie lay, lose lost,
make made, mean meant, meet met, pay paid, put put, ride rode, ring rang, rise rose, run ran, say said, see
saw, seek sought, sell sold, send sent, set set, shake shook, shine shone, shoot shot, show showed, shrink
shrank, shut shut, sing sang, sink sank, sit sat, sleep slept, slide slid, speak spoke, spend spent, spin
spun, split split, spread spread, spring sprang, stand stood, steal stole, stick stuck, sting stung, strike
struck, strive strove, swear swore, sweep swept, swim swam, swing swung, take took, teach taught, tear tore,
tell told, think thought, throw threw, tread trod, undertake undertook, understand understood, wake woke, wear
wore, weep wept, win won, wind wound, withdraw withdrew, wring wrung, write wrote, overtake overtook, overhear
overheard, bleed bled, speed sped, light lit, smell smelt, spit spat, burn burnt, learn learnt, foresee
foresaw, forsake forsook, slay slew, shed shed, bestow bestowed
"""
IRREGULAR = {past: base for base, past in (pair.split() for pair in _PAIRS.split(","))}
_UNCHANGED = frozenset(base for past, base in IRREGULAR.items() if past == base)
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
_BE_HAVE = word_set(
    "be am is are was were been being have has had having get got gets wasn't weren't hadn't hasn't haven't isn't "
    "aren't"
)
_NOT_PAST = word_set(
    "hundred indeed bed red need speed seed feed deed weed sacred wicked naked aged beloved kindred reed greed "
    "breed heed exceed proceed succeed agreed-upon wretched rugged ragged crooked learned blessed so-called"
)
_PLURAL = word_set("they we you i these those people men women children both few many several all others police feet")
_SINGULAR = word_set(
    "he she it this that there one everyone nobody everybody somebody someone nothing something who which narrator"
)
_NUMBERS = word_set("two three four five six seven eight nine ten twenty several many few both")
_EITHER_CASE = word_set(
    "it you all both one that this these those many few several nothing something others people men women"
)
_CLAUSE_OPENERS = word_set(
    "and but or who which that when as while if because where until till before after what how though although whom"
)
_DEGREES = word_set("more most very so too quite rather less as half much")
_FEELINGS = word_set(
    "excited tired pleased surprised frightened married delighted ashamed astonished interested exhausted amused "
    "confused worried alarmed satisfied disappointed puzzled determined agitated distressed dressed"
)
_GOES_BY = word_set("came went stood sat lay ran rode drove flew fell held")
_KEEP_NG = word_set("long belong prolong hang wing ring bang clang throng fling")
_SILENT_E = (
    "at",
    "ut",
    "id",
    "ud",
    "ad",
    "in",
    "ar",
    "ir",
    "ur",
    "ib",
    "um",
    "iz",
    "ok",
    "ak",
    "as",
    "os",
    "us",
    "is",
    "ap",
    "or",
)
_NO_E = word_set(
    "murmur visit limit abandon profit merit inherit exhibit repeat treat seat heat defeat float wait await "
    "develop gallop focus bias credit edit favor labor honor harbor color conquer interpret comfort appear "
    "disappear near fear clear explain remain contain obtain maintain entertain gain join avoid raid load head "
    "need succeed answer"
)


# Beginnings of verbs in un-, and of verbs that only look like them.
_VERBS_IN_UN = word_set(
    "unbar unbend unbolt unbound unbuckl unbutton unclasp unclos uncoil uncork uncover undercut underlin undermin "
    "undress unearth unfasten unfold unfurl unhing unhitch unhook unit unlac unlatch unload unlock unmask unpack unpin "
    "unroll unsaddl unscrew unseal unsheath unti untwist unveil unwrap unyok"
)
_UNDONE = tuple(sorted(_VERBS_IN_UN))


def base_form(past: str, vocabulary: frozenset[str] = frozenset()) -> str | None:
    """The infinitive of a past form, or None if the word is not one; the book's vocabulary decides doubtful cases."""
    if past in IRREGULAR:
        return IRREGULAR[past]
    if not past.endswith("ed") or len(past) < 5 or past in _NOT_PAST or _adjective(past):
        return None
    if past.endswith("eed"):
        return past[:-1]
    root = past[:-2]
    if root.endswith("i"):
        return root[:-1] + "y"
    guess = _regular(root)
    options = {root, root + "e"} | ({root[:-1]} if root[-1] == root[-2] else set())
    attested = sorted(option for option in options if option in vocabulary)
    return attested[0] if len(attested) == 1 else guess


def _regular(root: str) -> str:
    vowels = sum(1 for a, b in zip("x" + root, root, strict=False) if b in "aeiouy" and a not in "aeiouy")
    if root[-1] == root[-2] and root[-1] not in "aeiou":
        return root if root[-1] in "sfz" or (root[-1] == "l" and vowels == 1) else root[:-1]
    if root in _NO_E:
        return root
    if root.endswith("ng"):
        return root if root in _KEEP_NG else root + "e"
    if root[-1] in "cvuz" or (root[-1] == "g" and root[-2] not in "o") or (root[-1] == "s" and root[-2] != "s"):
        return root + "e"
    if root[-1] == "l" and root[-2] not in "aeiouylrw":
        return root + "e"
    single = len(root) >= 2 and root[-2] in "aeiou" and (len(root) < 3 or root[-3] not in "aeiou")
    if single and root[-1] not in "wxyh" and (vowels == 1 or root.endswith(_SILENT_E)):
        return root + "e"
    return root


def third_person(base: str) -> str:
    """``carry`` to ``carries``."""
    if base in ("be", "have", "do"):
        return {"be": "is", "have": "has", "do": "does"}[base]
    if base.endswith(("s", "x", "z", "ch", "sh", "o")):
        return base + "es"
    if base.endswith("y") and base[-2:-1] not in "aeiou":
        return base[:-1] + "ies"
    return base + "s"


def is_past(word: str) -> bool:
    """Whether a lower-cased word can be a past verb form."""
    return (
        word in AUXILIARY_PAST
        or word in IRREGULAR
        or (word.endswith("ed") and len(word) > 4 and word not in _NOT_PAST and not _adjective(word))
    )


def _adjective(word: str) -> bool:
    """Whether a word in -ed is an adjective by its form: ``ill-timed``, ``unharmed``, but not ``untied``."""
    if "-" in word:
        return True
    return word.startswith("un") and not word.startswith(_UNDONE)


def to_present(tokens: list[str], vocabulary: frozenset[str] = frozenset()) -> tuple[list[str], list[int]]:
    """Puts the finite past verbs of a token list (words and single punctuation marks) into the present tense.

    Returns:
      The new tokens and the indices of their finite verbs.
    """
    result: list[str] = []
    finite = plural = of_seen = compound = after_aux = participle_run = False
    subject_seen = many = False
    found: list[int] = []
    for index, token in enumerate(tokens):
        word = token.lower().replace("’", "'")
        previous = tokens[index - 1].lower() if index else ""
        if not word[:1].isalpha():
            if word in ",;:.":
                finite = finite and word == ","
                after_aux = False
            result.append(token)
            continue
        if word in ("of", "in", "at", "with", "from", "to", "on", "by") and not finite:
            of_seen = True
        if word in AUXILIARY_PAST:
            following = tokens[index + 1].lower() if index + 1 < len(tokens) else ""
            second = tokens[index + 2].lower() if index + 2 < len(tokens) else ""
            conditional = word in ("could", "would") and "have" in (following, second)
            inverted = word in ("had", "were") and following in ("he", "she", "it", "there", "they", "the")
            if conditional or inverted or (word == "had" and after_aux):  # would have, had he known, had had to
                result.append(token)
            else:
                result.append(AUXILIARY_PAST[word][1 if plural or compound else 0])
            finite, after_aux, participle_run = True, True, False
            found.append(len(result) - 1)
            continue
        is_object = previous in PREPOSITIONS or (
            finite and word in _EITHER_CASE and previous not in _CLAUSE_OPENERS and previous[:1].isalpha()
        )
        if word in _NUMBERS and not finite and not of_seen:
            many = True
        if word in _SINGULAR | _PLURAL and (previous not in DETERMINERS or word == "narrator") and not is_object:
            if word in ("who", "which", "that"):
                plural = _plural_noun(tokens[index - 1]) if index else False
            else:
                plural = word in _PLURAL
            compound = compound and word == "narrator" and not finite
            finite, of_seen, after_aux, subject_seen, many = False, False, False, True, False
            result.append(token)
            continue
        base = base_form(word, vocabulary) if is_past(word) else None
        if base and _finite_place(index, tokens, finite, after_aux, participle_run, subject_seen, word):
            result.append(base if plural or compound else third_person(base))
            finite, participle_run, after_aux = True, False, False
            found.append(len(result) - 1)
            continue
        participle_run = bool(base) or (participle_run and word in ("and", "or"))
        if word in _CLAUSE_OPENERS:
            following = tokens[index + 1] if index + 1 < len(tokens) else "."
            if word == "and" and finite and previous == "," and (following[0].isupper() or following in DETERMINERS):
                finite, of_seen, subject_seen, compound, plural = False, False, False, False, False  # a new main clause
            elif word == "and" and not finite and subject_seen:
                compound = True
            elif word != "and" and word != "or":
                finite, of_seen, subject_seen = False, False, word in ("who", "which", "that")
            after_aux = False
        elif word not in ADVERBS and word not in PREPOSITIONS and word not in DETERMINERS and not word.endswith("ly"):
            subject_seen = True
            if not finite and not of_seen and word not in TITLES:
                plural = _plural_noun(token) or many
            if word not in _BE_HAVE:
                after_aux = False
            else:
                after_aux = True
        result.append(token)
    return result, found


def _plural_noun(token: str) -> bool:
    word = token.lower()
    return word in _PLURAL or (
        word.endswith("s") and not word.endswith(("ss", "us", "'s", "’s", "is")) and token[0].islower()
    )


def _finite_place(
    index: int, tokens: list[str], finite: bool, after_aux: bool, participle_run: bool, subject_seen: bool, word: str
) -> bool:
    """Whether a past-looking word at ``index`` can be the finite verb of its clause."""
    back = index - 1
    if back >= 0 and tokens[back].lower() in _DEGREES:
        return False
    while back >= 0 and (tokens[back].lower() in ADVERBS - {"all", "both"} or tokens[back].lower().endswith("ly")):
        back -= 1
    following = tokens[index + 1] if index + 1 < len(tokens) else "."
    if back < 0 or after_aux or participle_run or (following == "by" and word not in _GOES_BY):
        return False
    if word in ("named", "called") and following[0].isupper() and finite:
        return False
    before = tokens[back].lower().replace("’", "'")
    if (
        before == ","
        and word.endswith("ed")
        and following.lower() in ("in", "by", "with", "from", "at", "on", "of", "up")
    ):
        return False
    if before in ("and", "but", "or", ",") and word in _FEELINGS:
        return False
    if before in ("and", "but", "or", ","):
        return subject_seen and (word not in _UNCHANGED or finite)
    if (
        before in DETERMINERS
        or before in PREPOSITIONS
        or before in _BE_HAVE
        or before.endswith("'s")
        or not before[:1].isalpha()
    ):
        return before == "that"
    if before in (
        "to",
        "will",
        "would",
        "shall",
        "should",
        "can",
        "could",
        "may",
        "might",
        "must",
        "did",
        "do",
        "does",
    ):
        return False
    return subject_seen and not finite
