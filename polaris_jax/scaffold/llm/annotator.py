"""``LLMAnnotator``: asks a language model for the parts of a plan in order, bottom-up."""

from polaris_jax.llm import Client
from polaris_jax.scaffold.annotator import Annotation, AnnotationTask, Progress
from polaris_jax.scaffold.assemble import legal_preview, plot_facts
from polaris_jax.scaffold.llm.arcs import arcs_of
from polaris_jax.scaffold.llm.book_cards import book_cards, sections_of
from polaris_jax.scaffold.llm.cards import cards
from polaris_jax.scaffold.llm.pitch import preview_of, prompts_of
from polaris_jax.scaffold.llm.question import VERSION
from polaris_jax.scaffold.llm.session import AnnotationSession
from polaris_jax.scaffold.llm.world import archetypes_of, cast_of, rules_and_style, synopsis


class LLMAnnotator:
    """Annotates books by asking ``client``; the offline annotator fills in, on record, what the model fails to answer.

    Args:
      client: any ``polaris_jax.llm.Client``; with its cache a second run is free and a stopped run continues.
      samples: independent samples per scene vector.
      temperature: temperature of these samples; everything else is greedy.
      context_tokens: the model's window. From 32,768 on, the book is sent whole, or in the largest runs of chapters
        that fit, and the cards of many scenes are asked for at once. Below, every scene is asked about alone.
      thinking_tokens: tokens of the window that are reserved for the model's thinking before each answer.
    """

    version = VERSION

    def __init__(
        self,
        client: Client,
        samples: int = 4,
        temperature: float = 0.7,
        context_tokens: int = 8192,
        thinking_tokens: int = 0,
    ):
        self.client, self.thinking_tokens = client, thinking_tokens
        self.samples, self.temperature, self.context_tokens = samples, temperature, context_tokens
        self.name = client.identity

    def annotate(self, task: AnnotationTask, progress: Progress | None = None) -> Annotation:
        """See ``Annotator``.

        Raises:
          InputError: the server refuses the key or the request.
          BudgetSpent: the client has spent its budget; the answers so far are in its cache.
        """
        session = AnnotationSession(
            task, self.client, self.samples, self.temperature, self.context_tokens, self.thinking_tokens
        )
        sections = sections_of(session)
        chapters = cards(session, progress) if sections is None else book_cards(session, sections, progress)
        arcs = arcs_of(session, chapters)
        facts = plot_facts(arcs)
        notes = synopsis(session, chapters)
        rules, style = rules_and_style(session, chapters, notes)
        main, side = cast_of(session, chapters, notes)
        archetypes = archetypes_of(session, chapters, notes, (*main, *side))
        preview = legal_preview(preview_of(session, chapters, facts, notes))
        return Annotation(
            chapters=chapters,
            arcs=arcs,
            preview=preview,
            world_rules=rules,
            writing_style=style,
            archetypes=archetypes,
            main=main,
            side=side,
            prompts=prompts_of(session, chapters, facts, preview),
            fallback=session.fallback,
            faithfulness=session.faithfulness,
        )

    def close(self) -> None:
        """Closes the client."""
        self.client.close()
