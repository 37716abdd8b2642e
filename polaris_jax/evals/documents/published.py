"""Published results of the same benchmarks, for orientation: their judges, prompts and stories differ from ours.

Source: model cards of POLARIS-9B and POLARIS-no-HRI-9B (arXiv:2606.04095; single runs, no error bars).
"""

from polaris_jax.evals.documents.document import Cell, DocumentSection, Table

_NOTE = "Judged by {judge} on the authors' prompts; not comparable number by number."
_BANDS = ["model", "1-4k", "4-8k", "8-12k", "all"]
_QUALITY: list[list[Cell]] = [
    ["POLARIS-9B", 57.4, 48.2, 44.1, 52.1, -3.0, 0.72],
    ["POLARIS-no-HRI-9B", 56.5, 47.0, 37.7, 49.7, -3.8, 0.70],
    ["Qwen3.5-9B", 35.1, 8.7, -11.8, 18.5, -10.8, 0.88],
    ["Qwen3.5-27B", 51.5, 38.7, 24.6, 42.8, -5.9, 0.82],
    ["Gemma 4 31B", 53.9, 49.7, 47.1, None, None, 0.36],
]
_LONGFORM: list[list[Cell]] = [
    ["POLARIS-9B", 63.1, 57.5, 54.3, 59.8],
    ["POLARIS-no-HRI-9B", 62.1, 55.7, 51.6, 58.2],
    ["Qwen3.5-9B", 50.2, 37.2, 30.3, 42.6],
]
_RATIO: list[list[Cell]] = [
    ["POLARIS-9B", 0.99, 0.87, 0.72, 0.90],
    ["POLARIS-no-HRI-9B", 0.94, 0.86, 0.70, 0.87],
    ["Qwen3.5-9B", 1.09, 0.96, 0.88, 1.01],
]
_OTHERS = {  # WritingBench D4, LongBench-Write, EQ-Bench Creative
    "POLARIS-9B": (7.9, 81.2, 70.3),
    "POLARIS-no-HRI-9B": (7.8, 82.1, 69.7),
    "Qwen3.5-9B": (6.8, 67.1, 59.2),
}
ELO = {
    "GPT-5.4": 1911,
    "Claude Opus 4.6": 1783,
    "POLARIS-9B": 1661,
    "Gemini 3.1 Pro": 1627,
    "Gemini 3 Flash": 1620,
    "Gemma 4 31B": 1514,
    "Qwen3.5-27B": 1503,
    "Qwen3.5-9B": 1352,
}


def published_sections(bench: str) -> list[DocumentSection]:
    """A section with the published results of a benchmark, or none."""
    tables = _tables(bench)
    return (
        [DocumentSection("Published", "Results of the authors of POLARIS, for orientation.", tables)] if tables else []
    )


def _tables(bench: str) -> list[Table]:
    if bench == "story-quality":
        columns = [*_BANDS, "slope per bucket", "length ratio 8-12k"]
        return [Table("Published Story Quality", columns, _QUALITY, _NOTE.format(judge="GPT-5.4"))]
    if bench == "eqbench-longform":
        note = _NOTE.format(judge="GPT-5.4") + " All criteria weigh alike there: compare with the measure uniform."
        return [Table("Published EQ-Bench LongForm", _BANDS, _LONGFORM, note)]
    if bench == "length":
        return [Table("Published length ratios", _BANDS, _RATIO, "Of the stories of the Story Quality test.")]
    if bench == "pairwise":
        rows: list[list[Cell]] = [[model, rating] for model, rating in ELO.items()]
        note = _NOTE.format(judge="Gemini 3 Flash in both orders") + " Its anchors are not stated."
        return [Table("Published Elo on EQ-Bench Creative", ["model", "Elo"], rows, note)]
    place = {"writingbench": 0, "longbench-write": 1, "eqbench-creative": 2}.get(bench)
    if place is None:
        return []
    judge = "GPT-5.4" if bench == "eqbench-creative" else "Gemini 3.1 Pro"
    return [
        Table(
            "Published",
            ["model", "score"],
            [[model, row[place]] for model, row in _OTHERS.items()],
            _NOTE.format(judge=judge),
        )
    ]
