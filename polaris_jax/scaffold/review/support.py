"""Whether a scene supports a bullet: who did what to whom, negated or not, he or she.

Without a model, this is a comparison of words. The bullet is compared with the few sentences that share most of its
words. Words are compared by their roots, so that tense and number do not matter. If bullet and sentence are parallel, a
different name, pronoun or negation is a fault. If the bullet is a summary in other words, only its names, its genders
and the share of its words that the scene has can be judged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import Match, SequenceMatcher
from functools import cached_property, lru_cache
from itertools import pairwise

from polaris_jax.scaffold.analysis.lexicons import FUNCTION_WORDS, PREPOSITIONS, SPEECH_VERBS, TITLES, stem, word_set
from polaris_jax.scaffold.analysis.names import Entity, bare
from polaris_jax.scaffold.analysis.novel_stats import NovelStats
from polaris_jax.scaffold.analysis.sentences import WORD, sentences
from polaris_jax.scaffold.analysis.verbs import base_form

_SPAN = 3  # sentences that one bullet is compared with
_SLOT = 4  # most words that may stand in the place of a name
_MEMORY = 6  # a pronoun may refer to a name this many sentences back
_NAME = 0.4  # factor on the weight of a name among the words
_PARALLEL = 0.6  # share of the bullet's words in one sentence from which on the two are compared word by word
_MALE, _FEMALE = word_set("he him his himself"), word_set("she her hers herself")
_FIRST = word_set("i me my mine myself we us our")
_DENIALS = word_set("not never no nobody nothing none neither nor without cannot hardly scarcely")
_NARRATOR = "narrator"
_COMPARES = word_set("as than like")  # a name after one of these is not who the next pronoun means
_CONDITIONS = word_set("if unless whether lest")
_OPEN = _CONDITIONS | word_set("would could might should may wish wishes hope hopes")


@dataclass(frozen=True)
class Support:
    """The result of a comparison; every number is 0-1.

    Attributes:
      words: share of the bullet's words, weighted by rarity, in the few sentences that have most of them.
      scene: the same for the whole scene.
      stranger: share of its names that the scene does not name. unknown: a name is not even in the novel.
      referent: how sure it is that the scene means another person than the one named.
      gender: how sure it is that he and she are exchanged.
      denial: how sure it is that one negates what the other says.
    """

    words: float
    scene: float
    stranger: float
    unknown: bool
    referent: float
    gender: float
    denial: float


@dataclass(frozen=True)
class _Sentence:
    """A sentence: words in lower case, their roots, which words are names, the people named, the share of speech.

    ``compared`` are the people with whom somebody is only compared: "as honest as Tom".
    """

    words: tuple[str, ...]
    roots: tuple[str, ...]
    names: frozenset[str]
    people: tuple[Entity, ...]
    compared: frozenset[Entity] = frozenset()
    quoted: float = 0.0

    @cached_property
    def distinct(self) -> frozenset[str]:
        return frozenset(self.roots)


@lru_cache(maxsize=1 << 16)
def root(word: str) -> str:
    """The common root of a word's forms: the same for ``took``, ``takes`` and ``taking``."""
    return stem(base_form(word) or word)


def _read(text: str, stats: NovelStats, quoted: float = 0.0) -> _Sentence:
    found = [bare(word) for word in WORD.findall(text)]
    words = tuple(word.lower().replace("’", "'") for word in found)
    names = frozenset(
        word.lower()
        for before, word in pairwise(["", *found])
        if word[0].isupper() and (word in stats.name_parts or before.lower() in TITLES) and word.lower() not in TITLES
    )
    mentions = [(entity, text[:start].split()[-1:]) for entity, start, _ in stats.mentions(text) if entity.person]
    compared = frozenset(entity for entity, before in mentions if before and before[0].lower() in _COMPARES)
    people = tuple(entity for entity, _ in mentions)
    return _Sentence(words, tuple(map(root, words)), names, people, compared, quoted)


@lru_cache(maxsize=8)
def _people_of(stats: NovelStats) -> dict[str, frozenset[Entity]]:
    """Part of a name, in lower case → the people it may mean."""
    found: dict[str, set[Entity]] = {}
    for entity in stats.entities:
        for form in entity.aliases:
            for part in WORD.findall(form):
                found.setdefault(part.lower(), set()).add(entity)
    return {part: frozenset(entities) for part, entities in found.items()}


@lru_cache(maxsize=256)
def _scene(text: str, stats: NovelStats) -> tuple[_Sentence, ...]:
    return tuple(_read(one.text, stats, one.quoted) for one in sentences(text, stats.quotes))


def support(line: str, scene: str, stats: NovelStats) -> Support:
    """Compares a bullet with the prose that it is about.

    Args:
      stats: measurements of the whole novel, with its people and the rarity of words.
    """
    told, mine = _scene(scene, stats), _read(line, stats)
    weights = _weights(mine, stats)
    total = sum(weights.values())
    if not told or not total:
        return Support(0.0, 0.0, 0.0, False, 0.0, 0.0, 0.0)
    mine_roots = frozenset(weights)
    known = [mine_roots & sentence.distinct for sentence in told]
    shares = [sum(weights[r] for r in sorted(found)) / total for found in known]
    whole = sum(weights[r] for r in sorted(frozenset().union(*known))) / total
    spoken = line.startswith("“")
    # A bullet about narration rarely comes from speech.
    worth = [
        one * (0.8 if sentence.quoted > 0.5 and not spoken else 1.0) for one, sentence in zip(shares, told, strict=True)
    ]
    best = max(range(len(told)), key=lambda i: (worth[i], -len(told[i].words)))
    starts = [max(0, place - back) for place, share in enumerate(shares) if share for back in range(_SPAN)]
    spans = {frozenset().union(*known[start : start + _SPAN]) for start in starts}
    close = max((sum(weights[r] for r in sorted(span)) for span in spans), default=0.0) / total
    parallel = shares[best] >= _PARALLEL
    referent, gender, denial = (
        _parallel(mine, told, best, stats) if parallel else (_absent(mine, told, shares), 0.0, 0.0)
    )
    if spoken:
        referent = _speaker(mine, told, best)
    else:
        gender = max(gender, _own_gender(mine, told, best, parallel))
    return Support(
        min(1.0, close), whole, _stranger(line, scene, stats), _unknown(line, stats), referent, gender, denial
    )


def _speaker(mine: _Sentence, told: Sequence[_Sentence], best: int) -> float:
    """How sure it is that somebody else speaks: the speaker of a line should be named near it."""
    if not mine.people:
        return 0.0
    speaker = mine.people[-1]
    near = {entity for sentence in told[max(0, best - 1) : best + 2] for entity in sentence.people}
    around = {entity for sentence in told[max(0, best - _MEMORY) : best + _MEMORY] for entity in sentence.people}
    if speaker in near:
        return 0.0
    said = any(not SPEECH_VERBS.isdisjoint(sentence.words) for sentence in told[max(0, best - 1) : best + 2])
    return 0.9 if speaker not in around else 0.7 if near and said else 0.45


def _weights(mine: _Sentence, stats: NovelStats) -> dict[str, float]:
    """Root → rarity, for the bullet's content words."""
    found: dict[str, float] = {}
    for word, own in zip(mine.words, mine.roots, strict=True):
        if word in FUNCTION_WORDS or word in TITLES or len(word) < 3 or word == _NARRATOR:
            continue
        part = _NAME if word in mine.names else 1.0  # the sentence may have a pronoun instead
        found[own] = max(found.get(own, 0.0), part * (stats.weight(word) or 2.0))
    return found


@lru_cache(maxsize=256)
def _names_in(scene: str, stats: NovelStats) -> frozenset[str]:
    """The words of a scene as written, and all forms of the names of its people and places."""
    here = {entity for entity, _, _ in stats.mentions(scene)}
    forms = {part for entity in here for form in entity.aliases for part in form.split()}
    return frozenset(map(bare, WORD.findall(scene))) | forms


def _stranger(line: str, scene: str, stats: NovelStats) -> float:
    """Share of the bullet's names that the scene does not have, not even in another form."""
    names = [word for word in map(bare, WORD.findall(line)) if word[:1].isupper() and word in stats.name_parts]
    known = _names_in(scene, stats) if names else frozenset()
    return sum(name not in known for name in names) / len(names) if names else 0.0


def _unknown(line: str, stats: NovelStats) -> bool:
    """Whether a word inside a sentence looks like a name and is nowhere in the novel."""
    found = list(WORD.finditer(line))
    return any(
        before.group()[0].islower() and line[match.start() - 1] == " " and word[0].isupper() and word[1:].islower()
        and word not in stats.name_parts and word.lower() not in stats.vocabulary and word.lower() not in TITLES
        for before, match in pairwise(found)
        if len(word := bare(match.group())) > 2
    )  # fmt: skip


def _parallel(mine: _Sentence, told: Sequence[_Sentence], best: int, stats: NovelStats) -> tuple[float, float, float]:
    """Referent, gender and denial of a bullet that is parallel to one sentence."""
    other = told[best]
    matcher = SequenceMatcher(None, mine.roots, other.roots, autojunk=False)
    blocks = [block for block in matcher.get_matching_blocks() if block.size]
    if not blocks:
        return 0.0, 0.0, 0.0
    known = _people_of(stats)
    referent = gender = 0.0
    for _, a, b, c, d in matcher.get_opcodes():
        left, right = mine.words[a:b], other.words[c:d]
        if left == right:
            continue
        slot = len(left) <= _SLOT and len(right) <= _SLOT + 2  # longer stretches differ in content
        names = mine.names & set(left)
        found = {w for w in other.names & set(right) if any(one.person for one in known.get(w, ()))}
        gender = max(gender, _turned(left, right))
        for name in names - found:
            who = known.get(name, frozenset())
            if any(who & known.get(one, frozenset()) for one in found):
                continue  # another form of the same name
            if found:
                referent = max(referent, 1.0 if slot else 0.45)
            elif name not in other.words:
                doubt = _instead(who, right, told, best)
                # The bullet may begin with who tells it, so a name without a counterpart is a weak sign.
                referent = max(referent, doubt if right and slot else 0.45 * doubt)
        if _NARRATOR in left and found and not _FIRST & set(right):
            referent = max(referent, 0.9)
    first, last = blocks[0], blocks[-1]
    region = other.words[max(0, first.b - 2) : last.b + last.size]
    body = mine.words[: last.a + last.size + 2]
    differs = sum(map(_denies, body)) % 2 != sum(map(_denies, region)) % 2
    return referent, gender, max(float(differs), _turned_round(mine, other, first, last))


def _turned_round(mine: _Sentence, other: _Sentence, first: Match, last: Match) -> float:
    """How sure it is that a parallel bullet says something else because of what it leaves out of the sentence.

    A condition becomes a fact, or the sentence's last preposition is cut off ("the man that he drives" of "drove for").
    """
    condition = not _CONDITIONS.isdisjoint(other.words[max(0, first.b - 2) : last.b + last.size])
    as_fact = condition and _OPEN.isdisjoint(mine.words)
    rest, ends = other.words[last.b + last.size :], last.a + last.size == len(mine.words)
    stranded = ends and len(rest) == 1 and rest[0] in PREPOSITIONS
    return 0.7 * (as_fact or stranded)


def _instead(who: frozenset[Entity], right: Sequence[str], told: Sequence[_Sentence], best: int) -> float:
    """How sure it is that a name is wrong where the sentence has a pronoun or nothing."""
    pronouns, readings = (_MALE | _FEMALE) & set(right), []
    if _FIRST & set(right):  # only speech names the narrator; a person whom the narration names is somebody else
        narrated = any(who & set(sentence.people) for sentence in told if sentence.quoted == 0)
        readings.append(0.9 if narrated or not any(person.person for person in who) else 0.3)
    if pronouns or not readings:
        readings += [_antecedent(person, pronouns or _MALE | _FEMALE, told, best) for person in who] or [0.8]
    return min(readings)


def _turned(left: Sequence[str], right: Sequence[str]) -> float:
    """Whether one side has he and the other she."""
    mine = {w for w in left if w in _MALE | _FEMALE}
    other = {w for w in right if w in _MALE | _FEMALE}
    return float(bool(mine and other and (mine <= _MALE) != (other <= _MALE)))


def _denies(word: str) -> bool:
    return word in _DENIALS or word.endswith("n't")


def _antecedent(person: Entity, pronouns: frozenset[str] | set[str], told: Sequence[_Sentence], best: int) -> float:
    """How sure it is that a pronoun of the sentence ``best`` does not mean ``person``."""
    male, female = bool(pronouns & _MALE), bool(pronouns & _FEMALE)
    fits = {"m": male, "f": female, "?": True}[person.gender]
    if not fits:
        return 1.0
    near = told[max(0, best - _MEMORY) : best]
    before = [entity for sentence in near for entity in sentence.people if entity not in sentence.compared]
    if person not in before and any(person in sentence.compared for sentence in near):
        return 0.7
    sure = [e for e in before if {"m": male, "f": female, "?": False}[e.gender]]
    rivals = list(dict.fromkeys(reversed(sure or before)))  # the last one first
    if not rivals:
        return 0.3 if person in {e for sentence in told for e in sentence.people} else 0.6
    return next((doubt for doubt, rival in zip((0.0, 0.3), rivals, strict=False) if rival == person), 0.7)


def _own_gender(mine: _Sentence, told: Sequence[_Sentence], best: int, parallel: bool) -> float:
    """How sure it is that the bullet's pronouns fit nobody it names, or nobody near in the scene."""
    male, female = bool(_MALE & set(mine.words)), bool(_FEMALE & set(mine.words))
    if not male and not female:
        return 0.0
    sexes = {entity.gender for entity in mine.people}
    near = [word for sentence in told[max(0, best - 1) : best + 2] for word in sentence.words]
    people = {entity.gender for sentence in told[max(0, best - _MEMORY) : best + 2] for entity in sentence.people}
    worst = 0.0
    for says, words, sex, opposite in ((male, _MALE, "m", "f"), (female, _FEMALE, "f", "m")):
        if not says:
            continue
        here = not words.isdisjoint(near)
        if not here and sex not in people:
            worst = max(worst, 0.9 if parallel else 0.7)
        elif not here and sexes == {opposite}:
            worst = max(worst, 0.8)
        elif parallel and words.isdisjoint(told[best].words) and sex not in {e.gender for e in told[best].people}:
            other = _FEMALE if sex == "m" else _MALE
            worst = max(worst, 0.75 if not other.isdisjoint(told[best].words) else 0.0)
    return worst


def _absent(mine: _Sentence, told: Sequence[_Sentence], shares: Sequence[float]) -> float:
    """How sure it is that a person named in a free summary is not involved.

    The sentences that have most of its words should name the person, or be near one that does.
    """
    if not mine.people:
        return 0.0
    ranked = sorted(range(len(told)), key=lambda i: -shares[i])[:_SPAN]
    near: set[Entity] = set()
    for place in ranked:
        near |= {entity for sentence in told[max(0, place - 2) : place + 2] for entity in sentence.people}
    missing = [person for person in set(mine.people) if person not in near]
    return 0.4 * len(missing) / len(set(mine.people))
