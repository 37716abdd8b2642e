"""Turns a sentence of the novel into a note: shorter, in the third person and present tense, and not a quotation.

The steps: choose clauses, name the subject, change person and tense, then remove every 8-gram of the prose (trajectory
specification 2.6) by replacing common words and shortening at a phrase boundary.
"""

import re
from collections.abc import Collection

from polaris_jax.scaffold.analysis.cutting import CUT_BEFORE, can_end, has_its_verbs, tags_of_words
from polaris_jax.scaffold.analysis.lexicons import (
    CONJUNCTIONS,
    DETERMINERS,
    FUNCTION_WORDS,
    word_set,
)
from polaris_jax.scaffold.analysis.novel_stats import NovelStats
from polaris_jax.scaffold.analysis.rewording import drop_leading, original
from polaris_jax.scaffold.analysis.tagging import PRESENT, tags
from polaris_jax.scaffold.analysis.verbs import base_form, is_past, third_person, to_present

_TOKEN = re.compile(r"(?:Mr|Mrs|Dr|St|Ms)\.|[^\W_]+(?:['’-][^\W_]+)*|[^\w\s]|_")
_SUBORDINATE = word_set(
    "when while as if though although because since after before once until till whenever unless at in on for by "
    "with to from upon"
)
_SUBORDINATORS = word_set(
    "who which whom whose when while if because where whenever unless although though that as until till what why how "
    "whatever whoever wherever whether since whilst lest"
)
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
_MARKS_OF_SPEECH = frozenset('“”"«»')
_ASIDE = word_set("i me my myself i'd i'll i've i'm")
_SAYS_NOW = word_set(
    "remember think know suppose believe say tell hope see fear mean want have do wish feel find write come go "
    "own confess"
)
_STATES = word_set("is are has does")  # verbs of general statements
_PARTED = re.compile(r"(?:[A-Z]\w+ )?\w+, (?:is|are|has|have|does|can|will) ")  # subject and verb, by a single comma
_COUNTED = re.compile(r"The passage mentions |Has [\d,]+ words in |Chapters? \d+ (?:to \d+ )?of ")


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
    """Cuts before the last preposition or conjunction that leaves at most ``budget`` words; empty if there is none."""
    tokens = text.split()
    tagged = tags_of_words(tokens)
    for end in range(min(budget, len(tokens) - 1), 4, -1):
        if tokens[end].lower() in CUT_BEFORE and can_end(tokens, end, tagged):
            return " ".join(tokens[:end])
    return ""


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
    later = stats.name_parts.intersection(token.removesuffix("'s").removesuffix("’s") for token in tokens)
    for index, token in enumerate(tokens):
        name = left.get(_PRONOUN_GENDER.get(token.lower(), ""))
        if token in stats.name_parts:
            left = {}
        if name is None or not later.isdisjoint(name.split()):  # "she hoped that Edna would go" is not said of Edna
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
    if len(tokens) < 4 or not _MARKS_OF_SPEECH.isdisjoint(tokens):
        return None
    tokens = [t.lower() if len(t) > 1 and t.isupper() and t.lower() in stats.vocabulary else t for t in tokens]
    tokens = _named(tokens, referents or {}, stats)
    if stats.first_person:
        tokens = _third_person(tokens)
    elif any(token.lower() in _ASIDE for token in tokens):  # the author's own voice in somebody else's story
        return None
    if stats.past:
        tokens, finite = to_present(tokens, stats.name_parts)
        if essay:
            finite = [*finite, *(index for index, token in enumerate(tokens) if token.lower() in _STATES)]
        tokens = _without_open_clause(tokens, finite)
        if not _has_main_clause(tokens, finite):
            return None
        verbs = {tokens[index] for index in finite}
        line = original(_join(tokens), stats)
        kept = _TOKEN.findall(line or "")
        if not has_its_verbs(kept) or _PARTED.match(line or ""):
            return None
        finite = [index for index, token in enumerate(kept) if token in verbs]
        return line if _has_main_clause(kept, finite) and _ends_whole(kept, finite) else None
    return original(_join(tokens), stats)


def _has_main_clause(tokens: list[str], finite: Collection[int]) -> bool:
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


def _without_open_clause(tokens: list[str], finite: Collection[int]) -> list[str]:
    """The tokens up to a last subordinate clause that has no verb, as where the sentence was shortened inside it."""
    for begin in range(len(tokens) - 1, 4, -1):
        if tokens[begin].lower() in _SUBORDINATORS:
            return tokens if any(index > begin for index in finite) else tokens[:begin]
    return tokens


def _ends_whole(tokens: list[str], finite: Collection[int]) -> bool:
    """Whether a last coordinate clause has its verb, and two of them if it begins *and as*."""
    comma = max((index for index, token in enumerate(tokens) if token == ","), default=-1)
    if comma < 0 or tokens[comma + 1 : comma + 2] == [] or tokens[comma + 1].lower() not in CONJUNCTIONS:
        return True
    opens = [token.lower() for token in tokens[comma + 1 : comma + 3]]
    coordinate = opens[0] in ("and", "but", "or", "nor", "so", "yet")
    needed = 1 + (coordinate and opens[-1] in _SUBORDINATORS)
    return sum(index > comma for index in finite) >= needed


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
    tagged = tags_of_words(tokens)
    for end in range(min(budget, len(tokens) - 1), 4, -1):
        at_boundary = tokens[end].lower() in CUT_BEFORE or tokens[end - 1].endswith(",")
        if at_boundary and can_end(tokens, end, tagged):
            cut = original(" ".join(tokens[:end]).rstrip(","), stats)
            if cut and cut not in skip and not cut.startswith("“") and _whole(cut):
                return cut
    return None


def _whole(line: str) -> bool:
    """Whether a cut note still has its main clause, and every clause its verb."""
    tokens = _TOKEN.findall(line)
    finite = [index for index, tag in enumerate(tags(tokens)) if tag in PRESENT]
    return _has_main_clause(tokens, finite) and _ends_whole(tokens, finite) and has_its_verbs(tokens)


def speaks(line: str) -> bool:
    """Whether a note has a verb in the present tense."""
    return not PRESENT.isdisjoint(tags(_TOKEN.findall(line)))


def content(text: str) -> frozenset[str]:
    """The base forms of a note's content words, for comparing notes."""
    found = set()
    for token in re.findall(r"[^\W_]+", text.lower()):
        if token not in FUNCTION_WORDS and len(token) > 2:
            found.add(base_form(token) or token.removesuffix("s"))
    return frozenset(found)
