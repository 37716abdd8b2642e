"""Whether a passage supports a bullet, in the eyes of a model: the interface, and who implements it.

``open_entailment(EntailmentSpec(...))`` opens a language model behind a server (``entailment_llm``) or a classifier of
natural language inference in a local folder (``entailment_nli``). Both take pairs of passage and bullet in any number
and give a probability each. ``bullets.judge_bullet`` joins it with the comparison of words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from polaris_jax.errors import InputError
from polaris_jax.llm import ClientSpec, open_client
from polaris_jax.scaffold.review.entailment_llm import ModelEntailment
from polaris_jax.scaffold.review.entailment_nli import ClassifierEntailment, read_labels

_STOP_AFTER = 16  # unusable answers after which a model is not asked any further


class Entailment(Protocol):
    """Judges whether passages support bullets.

    Attributes:
      identity: who judges, for reports and for the keys of finished books.
    """

    identity: str

    def probabilities(self, pairs: Sequence[tuple[str, str]]) -> list[float | None]:
        """The probability (0-1) that the passage supports the bullet, for each pair of passage and bullet.

        None where the model gave no usable answer. A passage that is too long is judged in pieces, and the piece that
        supports the bullet best counts. Thread-safe.

        Raises:
          BudgetSpent, InputError: the model cannot be asked any further.
        """

    def close(self) -> None:
        """Releases connections; it is not used afterwards."""


@dataclass(frozen=True)
class EntailmentSpec:
    """Names a judge of support; can be pickled and logged. At most one of its fields is given.

    Attributes:
      client: a language model behind a server.
      folder: a sequence classifier in Hugging Face's layout.
    """

    client: ClientSpec | None = None
    folder: str | None = None

    def __bool__(self) -> bool:
        return self.client is not None or self.folder is not None

    def identity(self) -> dict | None:
        """The identity without opening it, as JSON values; None for no model.

        Raises:
          InputError: the folder is no classifier.
        """
        if self.client is not None:
            return {
                "name": self.client.identity,
                "version": ModelEntailment.version,
                "structured": self.client.structured,
                "dials": self.client.key_identity.removeprefix(self.client.identity).strip(),
            }
        if self.folder is not None:
            return {"name": read_labels(self.folder).identity, "version": ClassifierEntailment.version}
        return None


def open_entailment(spec: EntailmentSpec) -> Entailment | None:
    """The judge of a spec, or None; close it when done.

    Raises:
      InputError: the client or the folder cannot be opened, or both are given.
    """
    if spec.client is not None and spec.folder is not None:
        raise InputError("judge", spec.folder, "either a language model or a folder judges, not both")
    if spec.client is not None:
        return ModelEntailment(open_client(spec.client, stop_after=_STOP_AFTER))
    return None if spec.folder is None else ClassifierEntailment(spec.folder)
