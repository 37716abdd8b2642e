"""Writes books with a model behind a server."""

from typing import Any

from polaris_jax.errors import InputError
from polaris_jax.llm.spec import ClientSpec
from polaris_jax.sampling.book_model import AttemptContext, StepSample
from polaris_jax.sampling.server.attempt import ServerAttempt
from polaris_jax.sampling.server.connection import Connection
from polaris_jax.sampling.settings import WriterSettings
from polaris_jax.trajectory import Step

BYTES_PER_TOKEN = 4  # for a server that does not count; English text in current vocabularies


def estimate(text: str) -> int:
    """Tokens of a text by its bytes."""
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


class ServerSession:
    """A transcript that is sent to a server with every request (``book_model.BookSession``)."""

    def __init__(self, connection: Connection, window: int):
        self.text = ""
        self.connection, self.window = connection, window
        self.tokens_seen = 0  # of the last request and its answer

    @property
    def length(self) -> int:
        """Tokens of the last request and its answer, as the server counts them; before the first one an estimate."""
        return self.tokens_seen or estimate(self.text)

    def count(self, text: str) -> int:
        """Tokens of a text by the server's tokenizer, else an estimate from its bytes."""
        if not text:
            return 0
        counted = self.connection.count(text)
        return estimate(text) if counted is None else counted

    def commit(self, text: str) -> int:
        """See ``BookSession.commit``. The server reads the text with the next request; nothing is read now."""
        if not text.startswith(self.text):
            raise ValueError("a commit continues the text that is already there")
        self.text = text
        return 0

    def attempt(self, step: Step, settings: WriterSettings, context: AttemptContext) -> StepSample:
        """See ``BookSession.attempt``."""
        return ServerAttempt(self, step, settings, context).run()


class ServerModel:
    """A model behind a server as a ``book_model.BookModel``.

    Args:
      window: tokens of the longest transcript.
    """

    def __init__(self, connection: Connection, window: int):
        self._connection, self._window = connection, window

    def check(self, settings: WriterSettings) -> None:
        """Raises ``InputError`` about a setting that the engine cannot follow."""
        engine = self._connection.engine
        wanted = {
            "typical_p": settings.typical_p < 1.0,
            "xtc_probability": settings.xtc_probability > 0.0,
            "dry_multiplier": settings.dry is not None,
        }
        for name in (name for name, on in wanted.items() if on and not engine.fiction):
            raise InputError(f"--{name.replace('_', '-')}", "on", f"{engine.name} has no such sampler; leave it out")
        neutral = {"top_k": settings.top_k in (None, 0), "min_p": settings.min_p == 0.0}
        neutral |= {"repetition_penalty": settings.repetition_penalty == 1.0}
        for name in (name for name, off in neutral.items() if not off and name not in engine.names):
            raise InputError(f"--{name.replace('_', '-')}", "on", f"{engine.name} has no such option; leave it out")

    def identity(self) -> dict[str, Any]:
        """Engine and model by name. The address is left out, because a server may move."""
        return {"server": {"engine": self._connection.engine.name, "model": self._connection.model}}

    def begin(self) -> ServerSession:
        """See ``BookModel.begin``."""
        return ServerSession(self._connection, self._window)


def open_server(spec: ClientSpec, window: int, engine: str | None = None, *, any_model: bool = False) -> ServerModel:
    """The model that ``spec`` names behind its server.

    Args:
      spec: address (``base_url``), model, name of the variable with the key, patience.
      window: tokens of the longest transcript; a server with less room lowers it.
      engine: name of ``ENGINES``; None asks the server.
      any_model: take the server's only model, whatever ``spec`` calls it.

    Raises:
      InputError: nobody answers, or there is no such model.
    """
    connection = Connection(spec, engine, any_model)
    return ServerModel(connection, min(window, connection.window or window))
