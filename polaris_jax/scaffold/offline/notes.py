"""Turns a sentence of the novel into a note: shorter, in the third person and present tense, and not a quotation.

The steps: choose clauses, name the subject, change person and tense, then remove every 8-gram of the prose (trajectory
specification 2.6) by replacing common words and shortening at a phrase boundary.
"""

import re
from collections.abc import Collection

from polaris_jax.scaffold.analysis.lexicons import (
    CONJUNCTIONS,
    DETERMINERS,
    FUNCTION_WORDS,
    word_set,
)
from polaris_jax.scaffold.analysis.novel_stats import NovelStats
from polaris_jax.scaffold.analysis.rewording import CUT_BEFORE, drop_leading, original
from polaris_jax.scaffold.analysis.verbs import IRREGULAR, base_form, is_past, third_person, to_present

_TOKEN = re.compile(r"(?:Mr|Mrs|Dr|St|Ms)\.|[^\W_]+(?:['’-][^\W_]+)*|[^\w\s]|_")
_SUBORDINATE = word_set(
    "when while as if though although because since after before once until till whenever unless at in on for by "
    "with to from upon"
)
_SUBORDINATORS = word_set(
    "who which whom whose when while if because where whenever unless although though that as until till"
)
_OPEN = _SUBORDINATORS | _SUBORDINATE | word_set("moment")  # they open a clause that needs a main clause
_NARRATOR = {
    "i": "the narrator",
    "me": "the narrator",
    "my": "the narrator's",
    "mine": "the narrator's",
    "myself": "the narrator",
    "we": "they",
    "us": "them",
    "our": "their",
    "ours": "theirs",
    "ourselves": "themselves",
    "i'd": "the narrator had",
    "i'll": "the narrator will",
    "i've": "the narrator has",
    "i'm": "the narrator is",
    "am": "is",
}
_SAYS_NOW = word_set(
    "remember think know suppose believe say tell hope see fear mean want have do wish feel find write come go "
    "own confess"
)
_STATES = word_set("is are has does")  # verbs of general statements
_PRESENT = word_set("is are has have does do can will must may")
_COUNTED = re.compile(r"The passage mentions |Has [\d,]+ words in |Chapters? \d+ (?:to \d+ )?of ")
_PRESENT_IRREGULAR = frozenset(third_person(base) for base in IRREGULAR.values())


def _clean(sentence: str) -> str:
    text = sentence.replace("_", "").strip(' “”"‘’«»')
    text = re.sub(r"\s*[(\[][^)\]]*[)\]]\s*", " ", text)
    parts = re.split(r"\s*(?:—|–|--+)\s*", text)
    if len(parts) > 2 and parts[0] and parts[2][:1].islower():  # an aside between dashes
        text = f"{parts[0]} {parts[2]}"
    else:
        text = parts[0] if len(parts[0].split()) >= 5 else ", ".join(parts)
    return " ".join(text.split())


def _has_verb(clause: str, stats: NovelStats) -> bool:
    return any(is_past(w) or w in ("is", "are", "has", "have", "am") for w in clause.lower().split()) or not stats.past


def clauses(sentence: str, stats: NovelStats, budget: int) -> str:
    """The beginning of a sentence, without an opening adverbial: whole comma-clauses as long as they fit ``budget``
    words."""
    text = _clean(sentence)
    parts = [part.strip() for part in re.split(r"[;:]", text) if part.strip()]
    body = next(
        (part for part in parts if len(part.split()) >= 5 and _has_verb(part, stats)), parts[0] if parts else ""
    )
    pieces = [piece.strip() for piece in body.rstrip(".!?…").split(",") if piece.strip()]
    while len(pieces) > 1:
        opening = pieces[0].split()
        rest = " ".join(pieces[1:]).split()
        skippable = len(opening) <= 3 or opening[0].lower() in _SUBORDINATE or opening[0].lower().endswith("ing")
        starts = rest[0].lower() in DETERMINERS | word_set("i he she they we it there") or rest[0][0].isupper()
        if skippable and starts and len(rest) >= 5 and not (len(opening) <= 3 and _has_verb(pieces[0], stats)):
            pieces.pop(0)
        else:
            break
    kept = pieces[:1]
    for piece in pieces[1:]:
        if len(" ".join([*kept, piece]).split()) > budget:
            break
        kept.append(piece)
    result = ", ".join(kept)
    if len(result.split()) > budget:
        result = _shorten(result, budget)
    tokens = result.split()
    return " ".join(drop_leading(tokens))


def _shorten(text: str, budget: int) -> str:
    """Cuts before the last preposition or conjunction that leaves at most ``budget`` words."""
    tokens = text.split()
    for end in range(min(budget, len(tokens) - 1), 4, -1):
        if tokens[end].lower() in CUT_BEFORE:
            return " ".join(tokens[:end])
    return " ".join(tokens[:budget])


def _join(tokens: list[str]) -> str:
    text = re.sub(r"\s+([,.;:!?])", r"\1", " ".join(token for token in tokens if token))
    return re.sub(r"(?:,\s*)+,", ",", text).strip(" ,")


def _third_person(tokens: list[str]) -> list[str]:
    """Replaces the first person: once per note by ``the narrator``, then by a pronoun."""
    out: list[str] = []
    named = False
    for index, token in enumerate(tokens):
        word = token.lower().replace("’", "'")
        if index and tokens[index - 1] == "I" and word in _SAYS_NOW:
            out.append(third_person(word))
            continue
        if word in _NARRATOR and (word != "us" or token != "US"):
            change = _NARRATOR[word]
            if named and word == "my":
                change = "their"
            elif named and word == "myself":
                change = "themselves"
            named = named or "narrator" in change
            out.extend(change.split())
        else:
            out.append(token)
    return out


_PRONOUN_GENDER = {"he": "m", "him": "m", "his": "m", "she": "f", "her": "f"}


def _named(tokens: list[str], referents: dict[str, str], stats: NovelStats) -> list[str]:
    """Replaces the first he and the first she by a name, as long as the sentence has named nobody."""
    result: list[str] = []
    left = dict(referents)
    for index, token in enumerate(tokens):
        name = left.get(_PRONOUN_GENDER.get(token.lower(), ""))
        if token in stats.name_parts:
            left = {}
        if name is None:
            result.append(token)
            continue
        following = tokens[index + 1].lower() if index + 1 < len(tokens) else "."
        owns = token.lower() == "his" or (
            token.lower() == "her" and following[0].isalpha() and following not in FUNCTION_WORDS
        )
        del left[_PRONOUN_GENDER[token.lower()]]
        parts = _TOKEN.findall(name)
        result += [*parts[:-1], parts[-1] + ("'" if parts[-1].endswith("s") else "'s") * owns]
    return result


def note(
    sentence: str,
    stats: NovelStats,
    budget: int = 24,
    referents: dict[str, str] | None = None,
    essay: bool = False,
) -> str | None:
    """One bullet (without ``- ``) about ``sentence``, or None if nothing readable is left.

    Args:
      budget: most words to keep, 5-45.
      referents: the last named man (``m``) and woman (``f``) before the sentence; the first pronoun for each is
        replaced unless the sentence names somebody before it.
      essay: in a novel in the past tense, also accept general statements in the present tense.
    """
    tokens = _TOKEN.findall(clauses(sentence, stats, budget))
    if len(tokens) < 4:
        return None
    tokens = [t.lower() if len(t) > 1 and t.isupper() and t.lower() in stats.vocabulary else t for t in tokens]
    tokens = _named(tokens, referents or {}, stats)
    if stats.first_person:
        tokens = _third_person(tokens)
    if stats.past:
        tokens, finite = to_present(tokens, stats.vocabulary)
        if essay:
            finite = [*finite, *(index for index, token in enumerate(tokens) if token.lower() in _STATES)]
        if not _has_main_clause(tokens, finite):
            return None
        verbs = {tokens[index] for index in finite}
        line = original(_join(tokens), stats)
        kept = _TOKEN.findall(line or "")
        return line if _has_main_clause(kept, [i for i, token in enumerate(kept) if token in verbs]) else None
    return original(_join(tokens), stats)


def _has_main_clause(tokens: list[str], finite: list[int]) -> bool:
    """Whether a finite verb stands outside the subordinate clauses, and all of these are complete."""
    pending = main = 0
    for index, token in enumerate(tokens):
        word = token.lower()
        if word in _SUBORDINATORS and (index or word != "that") and not (word == "as" and pending):
            pending += 1
        elif index in finite or word in ("will", "can", "must", "may", "shall"):
            main += not pending
            pending = max(0, pending - 1)
    return main > 0 and not pending


def is_counted(line: str) -> bool:
    """Whether a bullet says counts, phrased by the annotator, where no sentence of the passage made a note."""
    return _COUNTED.match(line) is not None


def shorter(line: str, stats: NovelStats, budget: int, skip: Collection[str]) -> str | None:
    """A note cut at a phrase boundary to at most ``budget`` words and not in ``skip``, or None."""
    tokens = line.rstrip(".").split()
    if len(tokens) <= budget and line not in skip:
        return line
    if is_counted(line):  # it has no shorter form
        return None
    for end in range(min(budget, len(tokens) - 1), 4, -1):
        if tokens[end].lower() in CUT_BEFORE or tokens[end - 1].endswith(","):
            cut = original(" ".join(tokens[:end]).rstrip(","), stats)
            if cut and cut not in skip and not cut.startswith("“") and _whole(cut, stats):
                return cut
    return None


def _whole(line: str, stats: NovelStats) -> bool:
    """Whether a cut note still has its main clause and does not end with a coordinate clause without a verb."""
    parts = [part.strip() for part in line.rstrip(".").split(",")]
    opening = parts[0].lower().split()
    opening = opening[1:] if opening[0] in ("just", "even", "the") else opening
    if opening and opening[0] in _OPEN and not any(speaks(part, stats) for part in parts[1:]):
        return False
    if (
        len(parts) > 1
        and parts[-1].split()[:1]
        and parts[-1].split()[0] in CONJUNCTIONS
        and not speaks(parts[-1], stats)
    ):
        return False
    return speaks(line, stats)


def speaks(line: str, stats: NovelStats) -> bool:
    """Whether a note has a recognisable present-tense verb (plural forms may be missed)."""
    return any(
        word in _PRESENT
        or (
            word.endswith("s")
            and not {word[:-1] + "ed", word[:-1] + "d", word[:-2] + "ed"}.isdisjoint(stats.vocabulary)
        )
        or word in _PRESENT_IRREGULAR
        for word in re.findall(r"\b[a-z]+\b", line)
    )


def content(text: str) -> frozenset[str]:
    """The base forms of a note's content words, for comparing notes."""
    found = set()
    for token in re.findall(r"[^\W_]+", text.lower()):
        if token not in FUNCTION_WORDS and len(token) > 2:
            found.add(base_form(token) or token.removesuffix("s"))
    return frozenset(found)
