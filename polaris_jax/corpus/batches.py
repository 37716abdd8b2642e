"""Plans a library with a provider's batches, which cost half and take a day: files are exchanged in rounds."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from polaris_jax import storage
from polaris_jax.corpus import work_area
from polaris_jax.corpus.stage_timer import StageTimer
from polaris_jax.corpus.steps import Job, choose, novel_of, survey_all
from polaris_jax.corpus.trajectories import NovelRefused, plan_novel, refuse_hopeless, token_counter
from polaris_jax.data import Tokenizer
from polaris_jax.llm.batch_client import BatchClient, BatchPending
from polaris_jax.scaffold import Annotation, AnnotationTask, LLMAnnotator, OfflineAnnotator
from polaris_jax.scaffold.annotator import Progress as ScaffoldProgress

Progress = Callable[[str, int, int], None]


class _Patient:
    """An annotator whose model may not have answered yet. Then it uses the offline plan, so that questions about a
    novel's other volumes are asked in the same round.

    Attributes:
      waiting: number of volumes that wait for answers.
    """

    def __init__(self, annotator: LLMAnnotator):
        self._annotator, self._offline, self.waiting = annotator, OfflineAnnotator(), 0
        self.name, self.version = annotator.name, annotator.version

    def annotate(self, task: AnnotationTask, progress: ScaffoldProgress | None = None) -> Annotation:
        try:
            return self._annotator.annotate(task, progress)
        except BatchPending:
            self.waiting += 1
            return self._offline.annotate(task)

    def close(self) -> None:
        self._annotator.close()


@dataclass(frozen=True)
class BatchRound:
    """The state after one round.

    Attributes:
      files: files to upload now; empty if there are no new questions.
      asked, waiting: number of questions in these files, and of unanswered questions from earlier rounds.
      planned, open: number of novels whose plans are complete, and of those that wait.
      ledger: tokens and money of the answers read in this round.
    """

    files: tuple[str, ...]
    asked: int
    waiting: int
    planned: int
    open: int
    ledger: dict


def next_round(
    job: Job,
    addresses: Sequence[str],
    tokenizer: Tokenizer,
    folder: str | os.PathLike,
    progress: Progress | None = None,
) -> BatchRound:
    """Reads the answers in ``folder`` into the client's cache, and writes the questions that follow from them.

    Once no novel is open, ``build_library`` with the same annotator finds every answer in its cache.

    Args:
      job: its annotator uses a model of provider ``openai`` with a cache.
      progress: called with (what, done, of how many).

    Raises:
      InputError: another provider, no cache, or a file in the folder that is not part of a batch.
    """
    spec = job.annotator
    assert spec.client is not None
    client = BatchClient(spec.client, folder)
    annotator = LLMAnnotator(client, spec.samples, spec.temperature, spec.context_tokens, spec.thinking_tokens)
    patient = _Patient(annotator)
    measure, planned, waiting = token_counter(tokenizer), 0, 0
    rows = survey_all(job, addresses, progress)
    try:
        chosen = [row for row in choose(job, rows) if row.status == "read"]
        for number, row in enumerate(chosen):
            if progress:
                progress("asking", number, len(chosen))
            if storage.read_json(work_area.facts_at(job.work, row.book)) is not None:
                planned += 1
                continue
            novel = novel_of(job, row, StageTimer())
            try:
                if job.options.profile == "full" and job.options.window:
                    refuse_hopeless(novel, job.options, measure)
                before = patient.waiting
                plan_novel(novel, patient, job.options, measure)
                waiting += patient.waiting > before
                planned += patient.waiting == before
            except NovelRefused:
                continue
        fresh, earlier = client.collected
        return BatchRound(tuple(client.write()), fresh, earlier, planned, waiting, client.usage.summary())
    finally:
        client.close()
