"""Judges that score a story with the rubric: a language model behind ``polaris_jax.llm``, or the offline judge.

Replies are cached by content (rubric version, model, prompt, story, sample). So a human reference is judged once, and
a killed run pays for nothing twice. The client's ``UsageTracker`` counts the cost.
"""

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import ClassVar, Protocol

from polaris_jax.llm import CallFailed, Client, ModelOrOfflineSpec, Request, open_client
from polaris_jax.llm.failures import OUTAGE
from polaris_jax.options import ANY_NUMBER, AT_LEAST_1, NOT_NEGATIVE, option
from polaris_jax.rewards import rubric
from polaris_jax.rewards.judgement import Judgement, read_replies
from polaris_jax.rewards.length_hiding import without_length_request
from polaris_jax.rewards.offline_judge import OfflineJudge

_MAX_TOKENS = {"full": 16384, "brief": 1024}


class Judge(Protocol):
    """Judges stories.

    Attributes:
      identity: model, rubric version and number of samples, for records.
      concurrency: how many stories may be judged at once.
    """

    identity: str
    concurrency: int

    def judge(self, prompt: str, story: str) -> Judgement:
        """Judges one story; thread-safe. A failure is a ``Judgement`` with ``failed``.

        Args:
          prompt: the request as the writer got it; the judge does not see its length request.
          story: without thinking.

        Raises:
          BudgetSpent: the budget does not allow the call.
          InputError: a mistake of the caller, such as a missing key.
        """

    def close(self) -> None:
        """Closes connections."""


@dataclass(frozen=True)
class JudgeSpec(ModelOrOfflineSpec):
    """Which judge to use and how to ask it; ``offline`` is ``OfflineJudge``."""

    samples: int = option(
        1, bounds=AT_LEAST_1, doc="samples per story; their qualities are averaged, their variance is kept"
    )
    temperature: float = option(0.2, bounds=NOT_NEGATIVE, doc="temperature of the samples")
    seed: int | None = option(0, bounds=ANY_NUMBER, doc="seed of the samples; None leaves it to the server")
    rubric: str = option("full", choices=rubric.RUBRICS, doc="full, or brief for small context windows")
    max_tokens: int | None = option(
        None,
        blank=0,
        bounds=AT_LEAST_1,
        doc="limit of an answer, including reasoning; None: 16384 (full) or 1024 (brief)",
    )

    _where: ClassVar[str] = "judge"


def open_judge(spec: JudgeSpec = JudgeSpec()) -> Judge:
    """Opens the judge that ``spec`` describes.

    Raises:
      InputError: a library is missing or the cache cannot be opened.
    """
    if spec.client is None:
        return OfflineJudge()
    return ModelJudge(open_client(spec.client), spec, spec.client.concurrency)


class ModelJudge:
    """A language model with the rubric as judge (see ``Judge``). ``client`` is asked once per sample."""

    def __init__(self, client: Client, spec: JudgeSpec, concurrency: int = 8):
        self.client, self.spec, self.concurrency = client, spec, concurrency
        samples = f" x{spec.samples}" if spec.samples > 1 else ""
        self.identity = f"{client.identity} rubric {spec.rubric} {rubric.version(spec.rubric)}{samples}"

    def requests(self, prompt: str, story: str) -> list[Request]:
        """The requests about one story, one per sample."""
        spec = self.spec
        messages = (
            ("system", rubric.instructions(spec.rubric)),
            ("user", rubric.question(without_length_request(prompt), story)),
        )
        return [
            Request(
                messages,
                schema=rubric.schema(spec.rubric),
                temperature=spec.temperature,
                max_tokens=spec.max_tokens or _MAX_TOKENS[spec.rubric],
                seed=spec.seed,
                sample=sample,
                purpose="judge",
                version=f"story-quality {rubric.version(spec.rubric)}",
            )
            for sample in range(spec.samples)
        ]

    def judge(self, prompt: str, story: str) -> Judgement:
        """See ``Judge.judge``. Failed samples are left out of the mean; when all fail, the judgement has failed."""
        if not story.strip():
            return Judgement((), failed="no_story", detail="there is nothing to judge", judge=self.identity)
        raw: list[str] = []
        unusable: list[str] = []
        failed, detail, cached, outage, hopeless = None, "", True, None, False
        for request in self.requests(prompt, story):
            try:
                reply = self.client.ask(request)
                raw.append(reply.text)
                cached = cached and reply.cached
            except CallFailed as failure:
                failed, detail, cached, hopeless = failure.kind, failure.detail, False, failure.hopeless
                unusable += [] if failure.reply is None else [failure.reply]
                outage = failure.kind if failure.kind in OUTAGE else outage
                if outage or hopeless:
                    break  # neither failure depends on this story
        judged = read_replies(raw, failed, detail, unusable, self.identity, cached)
        return dataclasses.replace(judged, outage=outage, hopeless=hopeless)

    def close(self) -> None:
        """See ``Judge.close``."""
        self.client.close()


def judge_all(
    judge: Judge, stories: Sequence[tuple[str, str]], progress: Callable[[int, int], None] | None = None
) -> list[Judgement]:
    """Judgements of ``(prompt, story)`` pairs, in order, asked concurrently.

    Args:
      progress: called after every story with the number of judged stories and of all stories.

    Raises:
      BudgetSpent, InputError: as ``Judge.judge``; stories not yet begun are not judged.
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
