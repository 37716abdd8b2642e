"""Reads a judge's prompt from a file: the published prompt of a benchmark, if the user has it.

Published prompts have placeholders for the task and the text: ``{writing_prompt}`` and ``{test_model_response}``
(EQ-Bench), ``$INST$`` and ``$RESPONSE$`` (LongWriter's ``judge.txt``), ``{query}``, ``{response}`` and ``{criteria}``
(WritingBench's ``prompt.py``). All placeholders are filled at once, so that braces in a story stay unchanged.
"""

import ast
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from polaris_jax import storage
from polaris_jax.errors import InputError
from polaris_jax.evals import jsonl

FIELD = "--rubric"
OURS = "our own words, with the published criteria and scale"
_PLACE = re.compile(r"\{[a-z][a-z_]*\}|\$[A-Z]+\$")
_SYSTEM, _USER = "evaluate_system", "evaluate_prompt"  # names in WritingBench's prompt.py


@dataclass(frozen=True)
class JudgeTemplate:
    """A prompt with placeholders.

    Attributes:
      name: name of the file; digest: SHA-256 of its bytes, hex.
      text: the user message; system: the system message, or None.
      escaped: whether braces that belong to the text are doubled, as ``str.format`` needs.
    """

    name: str
    digest: str
    text: str
    system: str | None = None
    escaped: bool = False

    @property
    def version(self) -> str:
        """Part of the cache key of an answer."""
        return f"file-{self.digest[:16]}"

    @property
    def source(self) -> str:
        """The source of the prompt, for a report."""
        return f"official prompt, from {self.name} (SHA-256 {self.digest[:16]})"

    def messages(self, values: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """The messages with every placeholder filled."""
        user = _PLACE.sub(lambda place: values[place[0]], _unescaped(self.text) if self.escaped else self.text)
        return (*(() if self.system is None else (("system", self.system),)), ("user", user))


def read_template(
    address: str | os.PathLike, needed: Sequence[Sequence[str]], more: Sequence[str] = ()
) -> JudgeTemplate:
    """A prompt from a text file, or from the two strings of WritingBench's ``prompt.py``.

    Args:
      needed: groups of placeholders; the file must have one of each group.
      more: placeholders that it may have.

    Raises:
      InputError: no such file, an unknown placeholder, or a missing one.
    """
    content = jsonl.read_text(address, FIELD)
    name, digest = storage.name_of(os.fspath(address)), hashlib.sha256(content.encode()).hexdigest()
    if name.endswith(".py"):
        found = _strings(content, os.fspath(address))
        template = JudgeTemplate(name, digest, found[_USER], found.get(_SYSTEM), escaped=True)
    else:
        template = JudgeTemplate(name, digest, content, escaped="{{" in content)
    places = set(_PLACE.findall(_unescaped(template.text) if template.escaped else template.text))
    unknown = places - {place for group in needed for place in group} - set(more)
    if unknown:
        raise InputError(FIELD, os.fspath(address), f"has the place {min(unknown)}, which this benchmark cannot fill")
    missing = next((group for group in needed if not places & set(group)), None)
    if missing:
        raise InputError(FIELD, os.fspath(address), f"is no prompt of this benchmark: no {' or '.join(missing)} in it")
    return template


def _unescaped(text: str) -> str:
    return text.replace("{{", "{").replace("}}", "}")


def _strings(source: str, address: str) -> dict[str, str]:
    """The strings that a Python file assigns, also as ``"...".strip()``. The file is not executed."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(FIELD, address, f"is not Python: {str(error).splitlines()[0][:80]}") from None
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            value = node.value
            stripped = isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute)
            if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr == "strip":
                value = value.func.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                found[node.targets[0].id] = value.value.strip() if stripped else value.value
    if _USER not in found:
        raise InputError(FIELD, address, f"assigns no string to {_USER}, as WritingBench's prompt.py does")
    return found
