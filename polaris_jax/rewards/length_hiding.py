"""Removes the length request from a prompt, because the judge must not see it (POLARIS §3.3.1)."""

import re

from polaris_jax.rewards.requested_length import EXPLICIT, MENTIONED, LengthRequest, length_requests

_MENTION = re.compile(r"words\s+long", re.IGNORECASE)
# A full stop after a title or an initial, or inside a number, does not end a sentence.
_SENTENCE_END = re.compile(
    r"(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bSt)(?<!\b[A-Z])[.!?]+[\"'”’)]*(?!\d)|[。！？]|\n"
)
# Words that only say how long something should be: a sentence of such words is removed whole.
_ONLY_LENGTH = re.compile(
    r"\b(?:your|the|this|it|story|stories|piece|text|response|answer|draft|tale|chapter|should|must|shall|will|is|be|to|please|"
    r"make|keep|write|aim|for|target|length|limit|count|word|words|long|total|in|of|a|an|at|about|approximately|around|roughly|"
    r"exactly|least|most|more|less|fewer|than|no|not|up|between|and|or|over|under|maximum|minimum|max|min|within|required|"
    r"desired|die|der|das|geschichte|soll|sollte|sein|haben|etwa|lang|l'histoire|doit|faire|environ|la|historia|debe|tener)\b|"
    r"[字数以上下内要求控制在左右约約不少于至少全文篇幅故事小说请写長さ글자수분량은는로]|[^\w]",
    re.IGNORECASE,
)
# Words before a number that are removed with it.
_LEAD = re.compile(
    r"(?:[,(\[–—-]\s*)?(?:\b(?:of|in|with|at|to|using|mit|von|de|di|con|com|avec|na|на)\s+)?"
    r"(?:\b(?:about|approximately|approx\.?|around|roughly|circa|exactly|at least|at most|up to|no more than|"
    r"no less than|more than|less than|under|over|between|from|some)\s+|~\s*|不少于|至少|大约|大約|约|約)?\Z",
    re.IGNORECASE,
)
_TRAIL = re.compile(
    r"(?:\s+(?:long|in length|in total|total|or (?:more|less|fewer|so)))?(?:左右|以上|以内|以下)?的?\s*[)\]]?",
    re.IGNORECASE,
)
_SPACED = re.compile(r"[^\W\u3005-\u30ff\u3400-\u9fff]")  # a letter of a script that puts spaces between words
_ARTICLE = re.compile(r"\b(a|A)n?(\s+)\Z")


def without_length_request(prompt: str) -> str:
    """The prompt without the length it asks for.

    The last sentence that contains ``words long`` is removed whole, unless it is the whole prompt. The text after it is
    kept. Titles and initials (``Dr. Smith``) do not end a sentence. A length in other words is removed with its
    sentence if the sentence says nothing else; otherwise only the length: ``a 2,400-word story`` becomes ``a story``.
    """
    mention = max((found.start() for found in _MENTION.finditer(prompt)), default=None)
    if mention is not None:
        hidden = _without_sentence(prompt, mention)
        if hidden != prompt:
            return hidden
    for request in reversed(length_requests(prompt)):
        if request.rank != MENTIONED:
            prompt = _without(prompt, request)
    return prompt


def _without_sentence(prompt: str, mention: int) -> str:
    ends = _SENTENCE_END.finditer(prompt, 0, mention)
    start = max((end.end() for end in ends), default=0)
    before = prompt[:start].rstrip()
    closing = _SENTENCE_END.search(prompt, mention)
    after = prompt[closing.end() :].strip() if closing else ""
    apart = "\n" if closing and (closing[0] == "\n" or prompt[start - 1 : start] == "\n") else " "
    return apart.join(part for part in (before, after) if part) or prompt


def _without(prompt: str, request: LengthRequest) -> str:
    """``prompt`` without one request: its sentence, or the phrase."""
    ends = list(_SENTENCE_END.finditer(prompt, 0, request.start))
    begin = ends[-1].end() if ends else 0
    closing = _SENTENCE_END.search(prompt, request.end)
    end = closing.end() if closing else len(prompt)
    rest = prompt[begin : request.start] + prompt[request.end : end]
    if not _ONLY_LENGTH.sub("", re.sub(r"\d", "", rest)):
        hidden = _without_sentence(prompt, request.start)
        if hidden != prompt:
            return hidden
    lead, trail = _LEAD.search(prompt, begin, request.start), _TRAIL.match(prompt, request.end)
    head = prompt[: lead.start() if lead else request.start]
    tail = prompt[trail.end() if trail else request.end :]
    if request.rank == EXPLICIT and not (
        re.match(r"\s*(?:[.,;)!?]|\Z)", tail) and lead and lead[0][:1] in tuple(",([–—-")
    ):
        return prompt  # the rest would not be a sentence
    return _joined(head, tail)


def _joined(head: str, tail: str) -> str:
    tail = tail.lstrip(" -")
    if re.match(r"[.。!！?？)]|\Z", tail):
        head = head.rstrip(" ,，、;；:：(")
    article = _ARTICLE.search(head)
    if article:
        head = head[: article.start()] + article[1] + ("n" if tail[:1].lower() in tuple("aeiou") else "") + article[2]
    head = head.rstrip(" ")
    apart = " " if head and _SPACED.match(tail) and not head.endswith("\n") else ""
    return (head + apart + tail).strip()
