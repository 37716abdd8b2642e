"""One book's questions to a model: asks many at once, has answers corrected, falls back and counts.

Questions are sent in one batch. Unusable answers are sent back in a second batch, with the reasons. Which questions are
asked depends only on answers, never on their order of arrival, so a run with the same cache asks the same questions.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from polaris_jax.errors import InputError
from polaris_jax.llm import CallFailed, Client, Request
from polaris_jax.llm.failures import UNUSABLE
from polaris_jax.scaffold.analysis.novel_stats import analyse
from polaris_jax.scaffold.annotator import AnnotationTask, Faithfulness
from polaris_jax.scaffold.llm.context_budget import pack, shares, tokens
from polaris_jax.scaffold.llm.faithfulness import FaithfulnessChecker, text_words
from polaris_jax.scaffold.llm.fields import chars
from polaris_jax.scaffold.llm.question import AnnotationQuestion, InvalidField, QuestionField, value_at
from polaris_jax.scaffold.offline.annotator import OfflineAnnotator
from polaris_jax.scaffold.profile import Bound

T = TypeVar("T")
_FATAL = ("auth", "bad_request", "quota")  # every other field would fail too
_MARGIN = 400  # tokens: chat template, and the reasons why an answer is sent back
_LARGEST_ANSWER = 0.3  # share of the window


@dataclass(frozen=True)
class Answer:
    """A field's value, or None and the kind of failure."""

    value: Any = None
    failure: str = ""


@dataclass(frozen=True)
class ChunkedQuestion:
    """A question about items that may need several context windows.

    Attributes:
      build: bound -> question without material.
      bound: bound of the whole answer; it is divided among windows by length.
      items: parts of the material, in order; a window holds at most ``most`` of them, each whole.
    """

    build: Callable[[Bound], AnnotationQuestion]
    bound: Bound
    items: Sequence[str]
    most: int | None = None


@dataclass
class _Pending:
    """A question in progress: final answers, readable but unfaithful answers, and what to send back."""

    question: AnnotationQuestion
    settled: dict[str, Any] = field(default_factory=dict)
    unfaithful_values: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    problems: list[str] = field(default_factory=list)
    unfaithful: bool = False
    failure: str = ""

    @property
    def open(self) -> bool:
        return len(self.settled) < len(self.question.fields)


class AnnotationSession:
    """State that all parts of the plan share while one book is annotated.

    Attributes:
      task: the book.
      offline: fills in what the model fails to answer.
      stats: measurements of the novel.
      fallback: path -> kind of failure, in the order in which fields fell back.
      samples, temperature, thinking_tokens: see ``AnnotatorSpec``.
      context_tokens: tokens of the window, without those for thinking.
      book: the book's prose, with which long questions begin; empty if the window does not hold all of it.
    """

    def __init__(
        self,
        task: AnnotationTask,
        client: Client,
        samples: int,
        temperature: float,
        context_tokens: int,
        thinking_tokens: int = 0,
    ):
        self.task, self.client = task, client
        self.samples, self.temperature = samples, temperature
        self.context_tokens, self.thinking_tokens = context_tokens - thinking_tokens, thinking_tokens
        self.book = ""
        self.offline = OfflineAnnotator()
        self.stats = analyse(task.context.novel)
        self.fallback: dict[str, str] = {}
        self.faithfulness = Faithfulness()

    @property
    def copy_checker(self) -> FaithfulnessChecker:
        """Checks for 8-grams copied from the novel; any name may occur."""
        return FaithfulnessChecker(self.stats)

    def checker(self, *texts: str) -> FaithfulnessChecker:
        """Checks for copied 8-grams, and that every name occurs in ``texts``."""
        return FaithfulnessChecker(self.stats, frozenset().union(*map(text_words, texts)))

    def room(self, question: AnnotationQuestion) -> int:
        """Tokens left for material in the context window, at least 64."""
        said = sum(map(tokens, (question.system, question.book, question.instruction, question.schema)))
        return max(64, self.context_tokens - said - question.max_tokens - _MARGIN)

    def affordable(self, bound: Bound, lists: int = 1) -> Bound:
        """The bound with at most as many bullets as fit one answer with ``lists`` lists."""
        most = int(_LARGEST_ANSWER * self.context_tokens * 2.5 / (chars(bound.words) + 5)) // lists
        return Bound(max(1, min(bound.count, most)), bound.words)

    def settle(self, answer: Answer, path: str, fallback: Callable[[], T]) -> T:
        """The answer's value; or ``fallback()``, which is recorded as a fallback at ``path``."""
        if answer.value is not None:
            return answer.value
        self.fallback[path] = answer.failure
        return fallback()

    def ask(self, questions: Sequence[AnnotationQuestion]) -> list[dict[str, Answer]]:
        """One answer per field of every question, in order.

        Raises:
          InputError: the server refuses the key or the request.
          BudgetSpent: the client's budget allows no further call.
        """
        asked = [_Pending(question) for question in questions]
        self._round(asked, [each.question.request() for each in asked])
        for turn in range(1, 1 + max((question.corrections for question in questions), default=0)):
            again = [each for each in asked if each.open and each.problems and turn <= each.question.corrections]
            for each in again:
                self._note(rewrites=each.unfaithful)
            self._round(again, [self._correction(each, turn) for each in again])
        return [self._answers(each) for each in asked]

    def about_book(self, question: AnnotationQuestion) -> AnnotationQuestion:
        """The question with the whole book before it, if the window holds the book."""
        return replace(question, book=self.book)

    def ask_about_book(self, questions: Sequence[AnnotationQuestion]) -> list[dict[str, Answer]]:
        """Like ``ask``; a question without an answer is asked once more without the book."""
        answers = self.ask(questions)
        lost = [
            number
            for number, (question, said) in enumerate(zip(questions, answers, strict=True))
            if question.book and all(answer.value is None for answer in said.values())
        ]
        again = self.ask([replace(questions[number], book="") for number in lost])
        for number, said in zip(lost, again, strict=True):
            answers[number] = said
        return answers

    def ask_chunked(self, jobs: Sequence[ChunkedQuestion]) -> list[dict[str, Answer]]:
        """Like ``ask``, for questions about many items: if they do not fit one window, they are asked window by window.

        The lists of all windows are joined in order; of other fields, the first answer is used. A field that fails in
        one window fails.
        """
        groups = []
        for job in jobs:
            whole = job.build(self.affordable(job.bound))
            runs = pack(job.items, self.room(whole), job.most)
            texts = ["\n\n".join(run) for run in runs]
            if len(runs) == 1:
                groups.append([whole.about(texts[0])])
                continue
            bounds = shares(job.bound, [len(text) for text in texts])
            groups.append(
                [job.build(self.affordable(bound)).about(text) for bound, text in zip(bounds, texts, strict=True)]
            )
        answers = iter(self.ask([question for group in groups for question in group]))
        return [merged([next(answers) for _ in group]) for group in groups]

    def _correction(self, each: _Pending, turn: int) -> Request:
        """The question again, with what was wrong, and with the answer if there is room for it.

        A question about the whole book asks only for the fields that are still open, because its answers are long.
        """
        problems = "\n".join(f"- {problem}" for problem in each.problems)
        question = each.question
        if question.book:
            left = tuple(part for part in question.fields if part.key not in each.settled)
            return replace(question, fields=left).request("", problems[:4_000], turn)
        problems = problems[:700]
        used = sum(
            map(
                tokens, (question.system, question.material, question.instruction, question.schema, each.text, problems)
            )
        )
        fits = used + question.max_tokens + 100 <= self.context_tokens
        return question.request(each.text if fits else "", problems, turn)

    def _round(self, asked: Sequence[_Pending], requests: Sequence[Request]) -> None:
        """Sends the requests and reads the replies into ``asked``."""
        room = self.thinking_tokens
        sent = [replace(request, max_tokens=request.max_tokens + room) for request in requests]
        for each, reply in zip(asked, self.client.ask_all(sent) if sent else (), strict=True):
            each.problems, each.unfaithful = [], False
            if isinstance(reply, CallFailed):
                if reply.kind in _FATAL:
                    raise InputError("annotator", self.client.identity, f"the server refuses: {reply}")
                each.failure, each.text = reply.kind, reply.reply or ""
                if reply.kind in UNUSABLE:  # the model did answer, but not with usable JSON
                    each.text = each.text[: 2 * each.question.max_tokens]
                    each.problems.append(f"it was not one complete JSON object under the schema ({reply.detail[:160]})")
                continue
            each.failure, each.text = "", reply.text
            for part in each.question.fields:
                if part.key not in each.settled:
                    self._read(each, part, reply.data)

    def _read(self, each: _Pending, part: QuestionField, data: Any) -> None:
        try:
            said = value_at(data, part.key)
            value = part.read(said)
            if echo := next((text for text in _strings(said) if _echoes(text, each.question)), None):
                raise InvalidField(f"it only repeats the instruction: {echo[:80]}")
        except InvalidField as error:
            each.problems.append(f"{part.key}: {error}")
            return
        issues = part.issues(value)
        if not issues:
            each.settled[part.key] = value
            return
        first = part.key not in each.unfaithful_values
        each.unfaithful_values[part.key] = value
        each.problems.append(f"{part.key}: {issues.message()}")
        each.unfaithful = True
        if first:
            self._note(unknown_names=len(issues.names), copied_ngrams=len(issues.copies))

    def _note(self, **counts: int) -> None:
        now = self.faithfulness
        self.faithfulness = replace(now, **{name: getattr(now, name) + count for name, count in counts.items()})

    def _answers(self, each: _Pending) -> dict[str, Answer]:
        result = {}
        for part in each.question.fields:
            if part.key in each.settled:
                result[part.key] = Answer(each.settled[part.key])
                continue
            unfaithful = each.unfaithful_values.get(part.key)
            repaired = None if unfaithful is None else part.repair(unfaithful)
            kind = "unfaithful" if unfaithful is not None else each.failure or "invalid"
            result[part.key] = Answer(repaired, "" if repaired is not None else kind)
        return result


def _strings(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict | list):
        for part in data.values() if isinstance(data, dict) else data:
            yield from _strings(part)


def _echoes(text: str, question: AnnotationQuestion) -> bool:
    """Whether a text of several words is copied from the instruction or the guide, as small models do."""
    said = " ".join(text.lower().strip(" .").split())
    return " " in said and said in " ".join(f"{question.system} {question.instruction}".lower().split())


def merged(windows: Sequence[dict[str, Answer]]) -> dict[str, Answer]:
    """One answer made of the answers about successive windows."""
    if len(windows) == 1:
        return windows[0]
    result = {}
    for key in windows[0]:
        parts = [answers[key] for answers in windows]
        failed = next((part for part in parts if part.value is None), None)
        if failed is None and isinstance(parts[0].value, tuple):
            result[key] = Answer(tuple(dict.fromkeys(item for part in parts for item in part.value)))
        else:
            result[key] = failed or parts[0]
    return result
