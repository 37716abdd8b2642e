"""The prompt of a chat model: the transcript so far, and which part to write next.

A text completion needs no such prompt: it continues the transcript itself, as in training.
"""

from polaris_jax.trajectory import Step
from polaris_jax.trajectory.grammar import Grammar

LONGEST_GRAMMAR = 6_000  # characters of a grammar that is shown

_SYSTEM = """You write a book in stages: a preview, a plan, cards of chapters and scenes, then the prose, chapter by \
chapter. All stages stand in one transcript, and each follows from the ones before it. You are shown the transcript up \
to the place where you go on. Write only what comes next there; repeat nothing and explain nothing."""
_PROSE = """Go on with the prose of this chapter, about {words} words in all, following its scenes. One empty line \
between paragraphs. No headings, no lists, no comments."""
_PART = "Go on with {part}, directly after the last character of the transcript."
_FORM = "Answer with the JSON object that the schema describes; headings and markers are added for you."
_GRAMMAR = "What you write must be a member of this grammar (GBNF):\n{grammar}"


def messages(step: Step, transcript: str, grammar: Grammar, form: bool, complaint: str) -> list[dict[str, str]]:
    """The messages that ask for what follows ``transcript``.

    Args:
      grammar: of the answer; shown unless the engine enforces it by a ``form``.
      complaint: why the previous answer was refused; empty for the first.
    """
    part = step.name.replace("/", ", ").replace("_", " ")
    wanted = _PROSE.format(words=step.target_words) if step.target_words else _PART.format(part=part)
    lines = [wanted]
    if form:
        lines.append(_FORM)
    elif not step.target_words and len(text := grammar.gbnf()) <= LONGEST_GRAMMAR:
        lines.append(_GRAMMAR.format(grammar=text))
    if complaint:
        lines.append(f"Your last answer was refused: {complaint}.")
    request = f"<transcript>\n{transcript}\n</transcript>\n\n" + "\n".join(lines)
    return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": request}]
