"""Judges: whoever reads a story and fills in a score sheet; a language model behind ``polaris_jax.llm``, or offline.

Replies are cached by content (rubric version, model, prompt, story, draw), so a reference is judged once, ever, and a
run that was killed pays nothing twice. Money is the client's ledger's business.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Protocol

from polaris_jax.errors import InputError
from polaris_jax.llm import CallFailed, Client, ClientSpec, Request, open_client
from polaris_jax.rewards import rubric
from polaris_jax.rewards.judgement import Judgement, read_replies
from polaris_jax.rewards.length import without_length_request
from polaris_jax.rewards.offline_judge import OfflineJudge

KINDS = ("offline", "llm")
_MAX_TOKENS = {"full": 16384, "brief": 1024}


class Judge(Protocol):
    """Judges stories.

    Attributes:
      identity: who it is, for records: model, rubric version and number of draws.
      concurrency: how many stories may be judged at once.
    """

    identity: str
    concurrency: int

    def judge(self, prompt: str, story: str) -> Judgement:
        """Judges one story; thread-safe. A failure is a ``Judgement`` that says so.

        Args:
          prompt: the request as the writer got it; its length request is not shown to the judge.
          story: without thinking.

        Raises:
          BudgetSpent: the budget does not allow the call.
          InputError: the caller's mistake, such as a missing key.
        """

    def close(self) -> None:
        """Closes connections."""


@dataclass(frozen=True)
class JudgeSpec:
    """Which judge, and how it is asked.

    Attributes:
      kind: ``offline`` (``OfflineJudge``) or ``llm``.
      client: of the model; needed for ``llm``.
      samples: draws per story; their qualities are averaged, their variance is kept.
      temperature, seed: of the draws.
      rubric: ``full``, or ``brief`` for small context windows.
      max_tokens: of an answer, hidden reasoning included; None is 16384 (full) or 1024 (brief).

    Raises:
      InputError: a field is out of range.
    """

    kind: str = "offline"
    client: ClientSpec | None = None
    samples: int = 1
    temperature: float = 0.2
    seed: int | None = 0
    rubric: str = "full"
    max_tokens: int | None = None

    def __post_init__(self):
        for name, allowed in (("kind", KINDS), ("rubric", rubric.RUBRICS)):
            if getattr(self, name) not in allowed:
                raise InputError(f"judge.{name}", getattr(self, name), f"one of {', '.join(allowed)}")
        if self.samples < 1:
            raise InputError("judge.samples", self.samples, "at least 1")
        if (self.client is None) == (self.kind == "llm"):
            raise InputError("judge.client", self.client, "a model's client for kind=llm, and only for that")


def open_judge(spec: JudgeSpec = JudgeSpec()) -> Judge:
    """A judge by its spec.

    Raises:
      InputError: a library is missing or the cache cannot be opened.
    """
    if spec.kind == "offline":
        return OfflineJudge()
    return ModelJudge(open_client(spec.client), spec, spec.client.concurrency)


class ModelJudge:
    """A language model with the rubric. ``client`` is asked once per draw; see ``Judge``."""

    def __init__(self, client: Client, spec: JudgeSpec, concurrency: int = 8):
        self.client, self.spec, self.concurrency = client, spec, concurrency
        draws = f" x{spec.samples}" if spec.samples > 1 else ""
        self.identity = f"{client.identity} rubric {spec.rubric} {rubric.version(spec.rubric)}{draws}"

    def requests(self, prompt: str, story: str) -> list[Request]:
        """What the model is asked about one story: a request per draw."""
        spec = self.spec
        messages = (("system", rubric.instructions(spec.rubric)),
                    ("user", rubric.question(without_length_request(prompt), story)))  # fmt: skip
        return [
            Request(
                messages, schema=rubric.schema(spec.rubric), temperature=spec.temperature,
                max_tokens=spec.max_tokens or _MAX_TOKENS[spec.rubric], seed=spec.seed, sample=sample,
                purpose="judge", version=f"story-quality {rubric.version(spec.rubric)}",
            )
            for sample in range(spec.samples)
        ]  # fmt: skip

    def judge(self, prompt: str, story: str) -> Judgement:
        """See ``Judge.judge``. Draws that fail are left out of the mean; when all do, the judgement has failed."""
        if not story.strip():
            return Judgement((), failed="no_story", detail="there is nothing to judge", judge=self.identity)
        raw, unusable, failed, detail, cached = [], [], None, "", True
        for request in self.requests(prompt, story):
            try:
                reply = self.client.ask(request)
                raw.append(reply.text)
                cached = cached and reply.cached
            except CallFailed as failure:
                failed, detail, cached = failure.kind, failure.detail, False
                unusable += [] if failure.reply is None else [failure.reply]
        return read_replies(raw, failed, detail, unusable, self.identity, cached)

    def close(self) -> None:
        """See ``Judge.close``."""
        self.client.close()


def judge_all(
    judge: Judge, stories: Sequence[tuple[str, str]], progress: Callable[[int, int], None] | None = None
) -> list[Judgement]:
    """Judgements of ``(prompt, story)`` pairs, in order, asked concurrently.

    Args:
      progress: is told after every story how many are judged, of how many.

    Raises:
      BudgetSpent, InputError: as ``Judge.judge``; stories not yet begun are not asked about.
    """
    with ThreadPoolExecutor(max(1, min(judge.concurrency, len(stories))), thread_name_prefix="judge") as pool:
        futures = [pool.submit(judge.judge, prompt, story) for prompt, story in stories]
        try:
            for done, future in enumerate(as_completed(futures), 1):
                future.result()
                if progress is not None:
                    progress(done, len(futures))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        return [future.result() for future in futures]
