"""Chapter names: one line, 1-120 characters, unique in the book."""

import re

MAX_CHARS = 120


def unique_names(names: list[str], labels: list[str], prefixes: list[str]) -> list[str]:
    """Makes names unique.

    Args:
      names: names without part.
      labels: the numbers in the names; when one repeats, numbering restarts, and every name gets its prefix.
      prefixes: names of the parts (labels only), '' without one.
    """
    restarts = len(set(labels)) < len(labels)
    result: list[str] = []
    seen: set[str] = set()
    for name, prefix in zip(names, prefixes, strict=True):
        if restarts and prefix and prefix != name:
            name = f"{prefix} - {name}"
        name = _fit(name)
        base, again = name, 1
        while name in seen:
            again += 1
            name = f"{_fit(base, MAX_CHARS - 6)} ({again})"
        seen.add(name)
        result.append(name)
    return result


def heading_name(label: str, title: str) -> str:
    """Label and title of a part or unit as one name, without the part above it: ``Chapter I: The Door``."""
    title = re.sub(r"\s+", " ", title.replace("_", "")).strip()
    title = title.strip("[]").rstrip(".,;: ") if not title.endswith("...") else title
    label = re.sub(r"\s+", " ", label).strip().lstrip("#").strip()
    return f"{label}: {title}" if label and title else label or title


def _fit(name: str, limit: int = MAX_CHARS) -> str:
    """Cuts a name at a word to the limit."""
    if len(name) <= limit:
        return name
    return name[: limit - 1].rsplit(" ", 1)[0].rstrip(" ,;:.—–-") + "…"
