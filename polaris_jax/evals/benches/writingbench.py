"""WritingBench, domain D4 (literature and arts): each prompt has a checklist, each criterion is scored 1-10."""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from polaris_jax.evals.benches.bench import JudgePrompt, Unusable, key_of, object_schema
from polaris_jax.evals.benches.judge_template import OURS, read_template
from polaris_jax.evals.benches.rubric_answer import NumberScale, read_rubric
from polaris_jax.evals.generations import Generation
from polaris_jax.rewards import count_words

ANCHORS = ("1-2", "3-4", "5-6", "7-8", "9-10")
LOW, HIGH = 1, 10
_QUERY, _RESPONSE, _CRITERION = "{query}", "{response}", "{criteria}"  # placeholders of WritingBench's prompt.py
_SCALE = NumberScale(LOW, HIGH, whole=True)
_SYSTEM = (
    "You are a strict examiner of writing. You judge one criterion at a time and nothing else, by the anchor texts you "
    "are given. Begin at the bottom of the scale and move up only for what you can point to in the text."
)
_TASK = """WRITING TASK
{prompt}

RESPONSE
{story}

END OF RESPONSE

CRITERION: {name}
{description}

{anchors}

Give a whole number from 1 to 10 for this criterion alone. Answer with a JSON object: {{"score": <1-10>, "reason":
"<what in the response decided it>"}}"""
_SCHEMA = object_schema({"score": {"type": "integer", "minimum": LOW, "maximum": HIGH}, "reason": {"type": "string"}})


class WritingBench:
    """See the module.

    Args:
      rubric: address of WritingBench's ``prompt.py``, or of a text with its placeholders; default: our own.
    """

    name, title, version = "writingbench", "WritingBench D4", "1"
    headline, scale = "score", (1.0, 10.0)
    summary = "WritingBench D4: a checklist of criteria per prompt, 1 to 10"
    prompt_set = "writingbench-d4"
    answer_tokens = 150
    rubric_source = OURS

    def __init__(self, rubric: str | None = None):
        self.template = None if rubric is None else read_template(rubric, [(_QUERY,), (_RESPONSE,), (_CRITERION,)])
        if self.template is not None:
            self.version, self.rubric_source = self.template.version, self.template.source

    def judge_prompts(self, generation: Generation) -> list[JudgePrompt]:
        """See ``Bench.judge_prompts``; the checklist is the generation's field ``checklist``."""
        prompts = []
        for name, criterion in checklist(generation.meta.get("checklist")).items():
            if self.template is not None:
                # The published code formats the criterion as Python prints a dictionary.
                values = {_QUERY: generation.prompt, _RESPONSE: generation.story, _CRITERION: str(dict(criterion))}
                prompts.append(JudgePrompt(name, self.template.messages(values)))
                continue
            anchors = "\n".join(f"{span}: {criterion[span]}" for span in ANCHORS if criterion.get(span))
            text = _TASK.format(
                prompt=generation.prompt,
                story=generation.story,
                name=name,
                anchors=anchors,
                description=criterion.get("criteria_description") or criterion.get("description") or "",
            )
            prompts.append(JudgePrompt(name, (("system", _SYSTEM), ("user", text)), _SCHEMA))
        return prompts

    def read_answer(self, text: str, generation: Generation, unit: str) -> dict[str, float]:
        """See ``Bench.read_answer``."""
        try:
            [score] = read_rubric(text, ["score"], _SCALE).values()
        except Unusable as wrong:  # a judge may also name the criterion
            if wrong.kind != "unusable":
                raise
            [score] = read_rubric(text, [unit], _SCALE).values()
        return {"score": score, f"criterion/{key_of(unit)}": score}

    def count_words(self, story: str) -> int:
        """See ``Bench.count_words``. WritingBench's code counts no words: its judge assesses length."""
        return count_words(story)

    def story_measures(self, readings: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """The mean over the judged criteria. (Criteria differ between prompts, so single ones are not averaged.)"""
        return {"score": mean(reading["score"] for reading in readings), "criteria": len(readings)}


def checklist(given: Any) -> dict[str, Mapping[str, Any]]:
    """Criteria by name.

    Raises:
      Unusable: there is no checklist.
    """
    found = {}
    for number, entry in enumerate(given if isinstance(given, list) else []):
        if isinstance(entry, Mapping):
            found[str(entry.get("name") or f"criterion {number + 1}")] = entry
    if not found:
        raise Unusable("no checklist: give --prompts with a checklist per prompt, or a checklist field per story")
    return found
