"""Plans of chapter openings: the scene card that an annotator writes of each, as a model is shown it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from polaris_jax.library.novel import Novel
from polaris_jax.llm import Client
from polaris_jax.scaffold.annotator import AnnotationTask, Context
from polaris_jax.scaffold.drafts import Draft
from polaris_jax.scaffold.llm.cards import ScenePlace, scene_questions, settled_scene
from polaris_jax.scaffold.llm.session import AnnotationSession, Answer, merged
from polaris_jax.scaffold.offline import OfflineAnnotator
from polaris_jax.scaffold.profile import MEDIUM, Bound
from polaris_jax.studies.plans.openings import ChapterOpening
from polaris_jax.trajectory import Scene, Vector

# A bullet per 45 words: the ratio of plan to prose is then about that of the paper's data (two to three).
DETAIL = replace(MEDIUM, scene=Bound(4, 18), scene_words=45)
WITHOUT_PLAN = "From a novel.\n\n"
_PLAN = "Notes for a passage of a novel.\n\n{lines}\n\nThe passage.\n\n"


@dataclass(frozen=True)
class OpeningPlan:
    """The card of an opening.

    Attributes:
      scene: the scene without its text.
      fallback: fields that the model failed to answer and the offline annotator filled in.
    """

    scene: Scene
    fallback: tuple[str, ...] = ()

    def to_json(self) -> dict:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def of(cls, saved: dict) -> "OpeningPlan":
        """The card that ``to_json`` made."""
        scene = saved["scene"]
        lists = {name: tuple(scene[name]) for name in ("focuses", "summary")}
        return cls(Scene(**{**scene, **lists, "vector": Vector(**scene["vector"])}), tuple(saved["fallback"]))

    @property
    def lines(self) -> str:
        """The annotator's answers as text for a model, without the card's numbers and without fallbacks."""
        scene = self.scene
        said = {
            "name": (scene.name,),
            "focuses": (f"About: {'; '.join(scene.focuses)}",),
            "perspective": (scene.perspective,),
            "summary": scene.summary,
        }
        return "\n".join(f"- {line}" for name, lines in said.items() if name not in self.fallback for line in lines)


def heading(plan: OpeningPlan | None) -> str:
    """The text before a passage: the plan, or one line if there is no plan or nothing in it was answered."""
    return WITHOUT_PLAN if plan is None or not plan.lines else _PLAN.format(lines=plan.lines)


def offline_plans(novel: Novel, openings: Sequence[ChapterOpening]) -> dict[str, OpeningPlan]:
    """The offline annotator's cards, by id."""
    offline, context = OfflineAnnotator(), _context(novel)
    taken: set[str] = set()
    used: set[str] = set()
    found = {}
    for opening in openings:
        scene = offline.scene(opening.text, context, DETAIL, taken, used)
        found[opening.id] = OpeningPlan(replace(scene, text=""))
    return found


def model_plans(
    novel: Novel, openings: Sequence[ChapterOpening], client: Client, context_tokens: int = 4096
) -> dict[str, OpeningPlan]:
    """A language model's cards, by id; asked, checked and repaired in the same way as for whole books.

    The model is not asked for the vector: the offline annotator's is put in its place, and it is not used.

    Raises:
      InputError: the server refuses the request.
    """
    context, offline = _context(novel), OfflineAnnotator()
    parts = tuple(Draft(opening.name, (opening.text,)) for opening in openings)
    task = AnnotationTask(novel, context, parts, DETAIL, arcs=1)
    session = AnnotationSession(task, client, 1, 0.0, context_tokens)
    places = [
        ScenePlace(number, 0, opening.text, Answer(offline.vector(opening.text, context)))
        for number, opening in enumerate(openings)
    ]
    plans = [scene_questions(session, place, ()) for place in places]
    answers = iter(session.ask([question for plan in plans for question in plan]))
    found = {}
    for opening, place, plan in zip(openings, places, plans, strict=True):
        scene = settled_scene(session, place, merged([next(answers) for _ in plan]))
        failed = tuple(path.removeprefix(f"{place.path}/") for path in session.fallback if path.startswith(place.path))
        found[opening.id] = OpeningPlan(replace(scene, text=""), failed)
    return found


def _context(novel: Novel) -> Context:
    prose = "\n\n".join(chapter.text for chapter in novel.chapters)
    return Context(novel.title, novel.author, prose, prose)
