"""The dimensions of Story Quality as data: sixteen, and two catch-alls (POLARIS §3.3.2: names and ranges).

Six dimensions earn points (P1-P6, 100 in all), ten lose them (N1-N10, 151 in all); BONUS and PENALTY hold what none of
them covers. The descriptions are our own.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Dimension:
    """One thing to score.

    Attributes:
      id: short name, for tables and for the brief rubric.
      stem: of the keys ``<stem>_score`` and ``<stem>_justification`` in the judge's JSON.
      most: highest score; the lowest is 0.
      title: a short title.
      asks: what the judge looks at, and what belongs to another dimension.
      bands: ``(first score of the band, what earns it)``, ascending from 0.
    """

    id: str
    stem: str
    most: int
    title: str
    asks: str
    bands: tuple[tuple[int, str], ...] = ()

    @property
    def score_key(self) -> str:
        """Key of the score in the judge's JSON."""
        return f"{self.stem}_score"

    @property
    def sign(self) -> int:
        """+1 where points are earned, -1 where they are lost."""
        return 1 if self.id == "BONUS" or self.stem.startswith("positive") else -1


POSITIVE = (
    Dimension(
        "P1",
        "positive_prompt_fulfillment_premise_integration",
        15,
        "Premise made into story",
        "Does what the prompt asked for live in the events, so that taking it away would leave another story? "
        "A request that the story contradicts is counted under N1, not here.",
        (
            (0, "the premise is named and then forgotten"),
            (5, "present but decorative; the plot would run without it"),
            (10, "it drives most of what happens"),
            (13, "it shapes cause, people and ending in ways the prompt did not spell out"),
        ),
    ),
    Dimension(
        "P2",
        "positive_narrative_arc_pacing",
        20,
        "Arc and pace",
        "Does one thing lead to the next, does pressure grow, is the length spent where it matters, and does the end "
        "follow from what came before?",
        (
            (0, "incidents in a row, or no ending"),
            (6, "a shape is there, but it stalls, rushes or ends by decree"),
            (12, "clear causes, steady pull, an ending that pays"),
            (17, "every scene turns something and the ending is both surprising and owed"),
        ),
    ),
    Dimension(
        "P3",
        "positive_character_depth_agency",
        15,
        "People who choose",
        "Are these particular people, with wants that conflict, whose decisions under pressure move the story?",
        (
            (0, "names with a function"),
            (5, "a trait or two, moved by the plot"),
            (9, "distinct people whose choices cost them something"),
            (13, "contradictory, alive, changed or revealed by what they decide"),
        ),
    ),
    Dimension(
        "P4",
        "positive_voice_stylistic_distinctiveness",
        15,
        "A voice",
        "Could a reader recognise this narrator by diction, rhythm and point of view? Ornament that strains is counted "
        "under N10.",
        (
            (0, "anonymous prose"),
            (5, "clean but interchangeable"),
            (9, "a consistent manner that suits the matter"),
            (13, "an authored voice, sentence by sentence"),
        ),
    ),
    Dimension(
        "P5",
        "positive_concrete_world_scene_realization",
        20,
        "Scenes one can stand in",
        "Is it happening in front of us: specific objects, exact actions, senses used with purpose, a place with its "
        "own rules and habits?",
        (
            (0, "told from far away"),
            (6, "some settings and gestures, mostly stock"),
            (12, "scenes played out with telling particulars"),
            (17, "precise, layered and accurate throughout, and the details mean something"),
        ),
    ),
    Dimension(
        "P6",
        "positive_thematic_emotional_richness_subtlety",
        15,
        "Meaning and feeling",
        "Is there something under the events, is emotion earned by them, and is more implied than said?",
        (
            (0, "nothing beneath the plot"),
            (5, "a theme announced, a feeling named"),
            (9, "feeling earned and left partly unsaid"),
            (13, "stays with the reader and bears a second reading"),
        ),
    ),
)

NEGATIVE = (
    Dimension(
        "N1",
        "negative_prompt_violation_constraint_breach",
        15,
        "Breaks the brief",
        "Explicit demands of the prompt that are ignored or contradicted, and refusals to write.",
        ((0, "none"), (1, "a minor demand missed"), (6, "a central demand missed"), (11, "not the story asked for")),
    ),
    Dimension(
        "N2",
        "negative_coherence_continuity_internal_consistency_pov_confusion",
        20,
        "Does not hold together",
        "Facts, time, place, point of view or the rules of the world that contradict each other without intent.",
        (
            (0, "a slip at most"),
            (5, "slips that make one reread"),
            (11, "contradictions that damage the story"),
            (17, "cannot be followed"),
        ),
    ),
    Dimension(
        "N3",
        "negative_generic_templated_language_structure",
        15,
        "Made from a template",
        "Stock phrases, sentence patterns on repeat, headings or list-like structure that nobody asked for.",
        ((0, "hardly any"), (4, "noticeable"), (8, "frequent"), (12, "the texture of the whole")),
    ),
    Dimension(
        "N4",
        "negative_over_summary_abstraction_thin_grounding",
        15,
        "Summary in place of scene",
        "Decisive moments reported instead of shown; abstractions where a body, a thing or a place was needed.",
        ((0, "hardly any"), (4, "noticeable"), (8, "frequent"), (12, "almost nothing is dramatised")),
    ),
    Dimension(
        "N5",
        "negative_over_explanation_redundancy_moralizing_paraphrase_loops",
        15,
        "Says it again",
        "Morals spelt out, ideas restated in other words, the same description or reflection returning.",
        ((0, "hardly any"), (4, "noticeable"), (8, "frequent"), (12, "the story circles")),
    ),
    Dimension(
        "N6",
        "negative_drift_bloat_structural_breakdown",
        20,
        "Loses its way",
        "Focus lost as it goes on, padding, subplots dropped, going on after the end, a late collapse.",
        ((0, "hardly any"), (5, "some slack"), (10, "long stretches without purpose"), (15, "falls apart")),
    ),
    Dimension(
        "N7",
        "negative_dialogue_problems_stilted_expository_same_voice",
        15,
        "Dialogue that is not talk",
        "Stiff lines, information delivered in quotation marks, everyone speaking alike. No dialogue is no fault: 0.",
        ((0, "none"), (1, "a few such lines"), (6, "many"), (11, "nearly all")),
    ),
    Dimension(
        "N8",
        "negative_mechanical_formatting_errors",
        8,
        "Errors on the page",
        "Spelling, grammar, punctuation, stray markup, text broken off in the middle of a sentence.",
        ((0, "clean"), (2, "occasional"), (5, "distracting"), (7, "hard to read")),
    ),
    Dimension(
        "N9",
        "negative_predictability_cliche",
        8,
        "Seen before",
        "Plot, turns and ending as everybody would have guessed them; ideas, not wording, which is N3.",
        ((0, "fresh"), (2, "familiar in places"), (5, "formula"), (7, "nothing but formula")),
    ),
    Dimension(
        "N10",
        "negative_overwrought_nonsensical_language",
        20,
        "Overwritten",
        "Purple or forced figures, piled-up images, clauses that sound fine and mean nothing. Sheer density is enough.",
        ((0, "hardly any"), (5, "noticeable"), (10, "frequent"), (15, "it smothers the story")),
    ),
)

BONUS = Dimension(
    "BONUS",
    "bonus",
    8,
    "A merit that no P dimension covers",
    "Tied to one moment of the story. 0 unless the merit can be named, shown, and told apart from every P dimension.",
    ((0, "none, or the case is vague"), (1, "minor"), (3, "clear"), (6, "what the story will be remembered for")),
)
PENALTY = Dimension(
    "PENALTY",
    "penalty",
    8,
    "A failure that no N dimension covers",
    "Tied to one moment of the story. 0 unless the failure can be named, shown, and told apart from every N dimension.",
    ((0, "none, or the case is vague"), (1, "minor"), (3, "clear"), (6, "it ruins the story")),
)

DIMENSIONS = (*POSITIVE, *NEGATIVE, BONUS, PENALTY)
