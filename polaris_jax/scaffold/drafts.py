"""Prepares prose for planning: clean chapters of usable length with at most twelve scenes each."""

import re
import unicodedata
from dataclasses import dataclass, replace

from polaris_jax.errors import InputError
from polaris_jax.library.novel import Novel
from polaris_jax.scaffold.analysis.sentences import sentence_spans
from polaris_jax.scaffold.limits import one_line
from polaris_jax.trajectory import count_words

MERGE_BELOW = 50  # words; shorter chapters join a neighbour
SCENE_LEAST, SCENE_MOST = 60, 2_500  # words
_LINE_ENDS = re.compile(r"\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")


@dataclass(frozen=True)
class Draft:
    """A chapter before annotation; the concatenated scenes are its text. ``cut``: prose was left out."""

    name: str
    scenes: tuple[str, ...]
    cut: bool = False

    @property
    def text(self) -> str:
        return "".join(self.scenes)

    @property
    def words(self) -> int:
        return count_words(self.text)


def _clean(text: str) -> str:
    text = _LINE_ENDS.sub("\n", unicodedata.normalize("NFC", text))
    text = re.sub(r"[^\S\n]+(?=\n)", "", text).replace("\t", " ")
    text = "".join(char for char in text if char == "\n" or unicodedata.category(char) not in ("Cc", "Cs"))
    text = text.replace("<|", "< |").replace("```", "'''")
    return re.sub(r"(?m)^#+\s*", "", re.sub(r"\n{3,}", "\n\n", text))


def _clean_scenes(scenes: tuple[str, ...]) -> tuple[str, ...]:
    """Scenes with clean text; white space at a border is one blank line, one newline, one space or nothing."""
    result: list[str] = []
    for scene in scenes:
        scene = _clean(scene)
        if not scene.strip():
            continue
        if result:
            gap = result[-1][len(result[-1].rstrip()) :] + scene[: len(scene) - len(scene.lstrip())]
            between = "\n\n" if gap.count("\n") > 1 else "\n" if "\n" in gap else " " if gap else ""
            result[-1] = result[-1].rstrip() + between
        result.append(scene.lstrip())
    if result:
        result[-1] = result[-1].rstrip()
    return tuple(result)


def drafts(novel: Novel, max_words: int | None) -> list[Draft]:
    """Clean drafts with unique one-line names; chapters over ``max_words`` are split into ``name (i of k)``.

    Raises:
      InputError: the novel was rejected or has too little prose for two chapters.
    """
    if not novel.accepted:
        raise InputError("novel", novel.path, novel.reason or "the library did not accept it as a novel")
    found = [
        Draft(one_line(chapter.name, 110) or f"Chapter {i}", _clean_scenes(chapter.scenes or (chapter.text,)))
        for i, chapter in enumerate(novel.chapters, 1)
    ]
    found = _merge_short([draft for draft in found if draft.scenes])
    if max_words:
        found = [part for draft in found for part in _split(draft, max_words)]
    if len(found) == 1:
        size = found[0].words
        found = _split(found[0], min(2_000, max(1, (size + 1) // 2)), spare=False)
    if len(found) < 2:
        raise InputError("novel", novel.path, "it has too little prose for a book of two chapters")
    return _unique(found)


def _merge_short(found: list[Draft]) -> list[Draft]:
    result: list[Draft] = []
    for index, draft in enumerate(found):
        if result and len(found) > 2 and (draft.words < MERGE_BELOW or result[-1].words < MERGE_BELOW):
            before = result[-1]
            keep = draft if before.words < MERGE_BELOW <= draft.words else before
            remaining = len(result) + len(found) - index - 1
            if remaining >= 2:
                joined = (*before.scenes[:-1], before.scenes[-1] + "\n\n", *draft.scenes)
                result[-1] = Draft(keep.name, joined)
                continue
        result.append(draft)
    return result


def pieces(text: str, most: int) -> list[str]:
    """Cuts a text into runs of at most ``most`` words: at paragraph ends, else sentence ends, else between words."""
    runs: list[str] = []
    size = 0
    for unit in _units(text, most):
        words = count_words(unit)
        if runs and size + words <= most:
            runs[-1] += unit
            size += words
        else:
            runs.append(unit)
            size = words
    return runs


def _units(text: str, most: int) -> list[str]:
    units: list[str] = []
    for paragraph in re.findall(r".+?(?:\n\s*\n|\Z)", text, re.S):
        if count_words(paragraph) <= most:
            units.append(paragraph)
            continue
        for start, end in sentence_spans(paragraph):
            sentence = paragraph[start:end]
            if count_words(sentence) <= most:
                units.append(sentence)
            else:
                tokens = re.findall(r"\s*\S+\s*", sentence)
                units += ["".join(tokens[i : i + most]) for i in range(0, len(tokens), most)]
    return units


def _split(draft: Draft, most: int, spare: bool = True) -> list[Draft]:
    """``name (i of k)`` parts of near-equal length, cut at paragraph or sentence ends; ``spare`` allows 5 % excess."""
    words = draft.words
    if words <= most * (1.05 if spare else 1) or words < 2:
        return [draft]
    parts = -(-words // most)
    goal = -(-words // parts)
    groups: list[dict[int, str]] = [{}]  # per part: scene number -> its prose in this part
    size = 0
    for number, scene in enumerate(draft.scenes):
        for unit in pieces(scene, max(1, goal // 20)):
            if groups[-1] and size + count_words(unit) / 2 > goal and len(groups) < parts:
                groups.append({})
                size = 0
            groups[-1][number] = groups[-1].get(number, "") + unit
            size += count_words(unit)
    cleaned = [_clean_scenes(tuple(group.values())) for group in groups]
    return [Draft(f"{draft.name} ({i} of {len(cleaned)})", scenes) for i, scenes in enumerate(cleaned, 1)]


def _unique(found: list[Draft]) -> list[Draft]:
    seen: set[str] = set()
    result = []
    for draft in found:
        name, again = draft.name, 1
        while name in seen:
            again += 1
            name = f"{draft.name} [{again}]"
        seen.add(name)
        result.append(replace(draft, name=name))
    return result


def cut(draft: Draft, most: int) -> Draft:
    """The beginning of a chapter, at most ``most`` words; it ends with a paragraph, or at least with a sentence."""
    if draft.words <= most:
        return draft
    kept, size = "", 0
    for unit in _units(draft.text, max(20, most // 3)):
        words = count_words(unit)
        if kept and size + words > most:
            break
        kept += unit
        size += words
    scenes, used = [], 0
    for scene in draft.scenes:
        if used < len(kept):
            scenes.append(scene[: len(kept) - used])
        used += len(scene)
    while len(scenes) > 1 and not scenes[-1].strip():
        scenes.pop()
    return Draft(draft.name, (*scenes[:-1], scenes[-1].rstrip()), cut=True)


def fit_scenes(scenes: tuple[str, ...], most: int) -> tuple[str, ...]:
    """Between one and ``most`` scenes of 60 to 2,500 words where the chapter allows it; their concatenation is
    unchanged."""
    parts = [piece for scene in scenes for piece in pieces(scene, SCENE_MOST)]
    while len(parts) > 1:
        sizes = [count_words(part) for part in parts]
        smallest = min(range(len(parts)), key=sizes.__getitem__)
        if sizes[smallest] >= SCENE_LEAST and len(parts) <= most:
            break
        if sizes[smallest] >= SCENE_LEAST:
            left = min(range(len(parts) - 1), key=lambda i: sizes[i] + sizes[i + 1])
        else:
            neighbours = [i for i in (smallest - 1, smallest + 1) if 0 <= i < len(parts)]
            left = min(min(neighbours, key=sizes.__getitem__), smallest)
        parts[left : left + 2] = [parts[left] + parts[left + 1]]
    return tuple(parts)
