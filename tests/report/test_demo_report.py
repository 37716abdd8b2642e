"""The report of a demo: its numbers are those of the files, missing files do not break it, and it is one file."""

import json
import shutil

import pytest
from demo_folder import metrics, small_book, write_demo_folder, write_json
from pages import Page

from polaris_jax.data import train_sentencepiece
from polaris_jax.errors import InputError
from polaris_jax.report import write_report
from polaris_jax.trajectory import count_words, render, split_stages

# A number of a file, another value for it, and how the page then says it.
CHANGES = [
    ("demo.json", "estimate_s", 3725, "1 h 02 min"),
    ("demo.json", "version", "7.8.9", "version 7.8.9"),
    ("demo.json", "timings/books", 44.6, "books 45 s"),
    ("demo.json", "timings/writing", 5000, "writing 1 h 23 min"),
    ("demo.json", "settings/seed", 424_242, "424242"),
    ("books.json", "tokens", 1_234_567, "1,234,567 in all"),
    ("books.json", "window", 16_384, "of 2,048 tokens"),
    ("books.json", "fill", 0.412, "41.2 % filled"),
    ("books.json", "trained_on", [0, 1], "2 trained on"),
    ("books.json", "books/0/accepted", False, "1 of 3"),
    ("books.json", "books/2/reason", "only 812 words of prose", "only 812 words of prose"),
    ("books.json", "books/0/chapter_count", 613, "613"),
    ("books.json", "books/0/words", 765_432, "765,432"),
    ("books.json", "books/0/trajectories", 517, "517"),
    ("books.json", "books/0/seconds", 4.56, "4.56 s"),
    ("books.json", "trajectories/1/valid", False, "1 valid in the strict grammar"),
    ("books.json", "trajectories/1/tokens", 987_654, "987,654"),
    ("books.json", "trajectories/1/words", 876_543, "876,543"),
    ("books.json", "trajectories/0/by_kind/prose", 50_000_000, "prose 100.00 %"),
    ("books.json", "trajectories/0/by_role/book_plan/words", 500_000, "500,"),
    ("books.json", "trajectories/0/by_role/book_plan/tokens", 50_000_000, "100.0 %"),
    ("training.json", "mesh/context", 8, "cut in 16 chunks"),
    ("training.json", "mesh/data", 3, "12 devices"),
    ("training.json", "groups/0/1", 771, "771"),
    ("training.json", "groups/0/2", 28_346_688, "50.0 %"),
    ("training.json", "parameters", 7_615_616_512, "7.62 B"),
    ("training.json", "rows", 818, "818"),
    ("training.json", "fill", 0.555, "55.5 %"),
    ("training.json", "steps", 919, "48 of 919"),
    ("training.json", "epochs", 6.25, "6.25"),
    ("training.json", "config/optim.precision", "fp32_master", "fp32_master"),
    ("book/run.json", "totals/sampled", 61_616, "61,616"),
    ("book/run.json", "totals/forced", 71_717, "71,717"),
    ("book/run.json", "totals/forced_share", 0.538, "53.8 %"),
    ("book/run.json", "totals/prefilled", 81_818, "81,818"),
    ("book/run.json", "totals/retries", 9191, "9,191"),
    ("book/run.json", "totals/tokens_per_second", 12.34, "12.3"),
    ("book/run.json", "steps/1/model_logprob", -7.77, "−7.77"),
    ("book/run.json", "steps/1/attempts", 663, "663"),
    ("book/run.json", "verdict", None, "in progress"),
]


def page_of(folder) -> Page:
    return Page(write_report(folder).read_text(encoding="utf-8"))


def edit(file, place: str, value) -> None:
    """Sets one value of a JSON file, named by its path."""
    content = json.loads(file.read_text())
    *parents, last = [int(key) if key.isdigit() else key for key in place.split("/")]
    node = content
    for key in parents:
        node = node[key]
    assert node[last] != value
    node[last] = value
    write_json(file, content)


@pytest.fixture(scope="module")
def shared_demo(tmp_path_factory):
    """One folder and its page, for tests that leave it as it was."""
    transcript = render(small_book())
    folder = write_demo_folder(tmp_path_factory.mktemp("demo"), [transcript] * 2, transcript)
    return folder, page_of(folder)


@pytest.mark.parametrize(("name", "place", "value", "shown"), CHANGES, ids=[f"{c[0]}:{c[1]}" for c in CHANGES])
def test_a_number_in_a_file_is_the_number_on_the_page(shared_demo, name, place, value, shown):
    folder, before = shared_demo
    file = folder / name
    original = file.read_bytes()
    try:
        edit(file, place, value)
        after = page_of(folder)
    finally:
        file.write_bytes(original)
    assert after.text.count(shown) > before.text.count(shown)


def test_losses_are_quarter_means_of_the_metrics(demo):
    records = metrics(40)
    (demo / "run/metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    text = page_of(demo).text
    for key in ("loss", "loss/prose", "loss/scaffold", "loss/copy", "loss/role/chapter_text"):
        first = sum(record[key] for record in records[:10]) / 10
        last = sum(record[key] for record in records[-10:]) / 10
        assert f"{first:.3f} {last:.3f} {last - first:+.3f}".replace("-", "−") in text
    assert "40 steps" in text
    assert f"{40 * 8192:,}" in text
    assert f"{40 * 7900:,}" in text


def test_speed_is_the_median_without_the_compiling_step(demo):
    records = metrics(5)
    for record, rate in zip(records, (1, 700, 900, 800, 7000), strict=True):
        record["tokens_per_s"] = rate
    (demo / "run/metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert "850 tokens/s" in page_of(demo).text


@pytest.mark.parametrize(
    "key",
    [
        "loss/prose",
        "loss/scaffold",
        "loss/copy",
        "loss/role/book_plan",
        "step_time_s",
        "tokens_per_s",
        "learning_rate",
        "grad_norm",
        "update_norm",
        "param_norm",
    ],
)
def test_every_curve_follows_the_metrics(demo, key):
    def curves():
        page = page_of(demo)
        return [value for tag, name, value in page.attributes if (tag, name) == ("path", "d")]

    before = curves()
    records = metrics()
    records[20][key] *= 1.5
    (demo / "run/metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert curves() != before


def test_words_and_verdict_of_the_book_come_from_its_transcript(demo):
    book = small_book("The Other Lamp", "Write about <another> lamp & a ship.")
    (demo / "book/artifact.txt").write_text(render(book), encoding="utf-8")
    text = page_of(demo).text
    assert "The Other Lamp" in text
    assert "Write about <another> lamp & a ship." in text
    broken = render(book).replace("## World Rules", "## World Laws")
    (demo / "book/artifact.txt").write_text(broken, encoding="utf-8")
    text = page_of(demo).text
    assert "not valid" in text
    assert "stage 2 book_plan" in text


def test_text_of_books_and_files_never_becomes_markup(demo):
    evil = '<script>alert("x")</script><img src=x onerror=alert(1)>&amp;'
    artifact = render(small_book()).replace("The water came up", evil).replace("Write about a lamp.", evil)
    (demo / "book/artifact.txt").write_text(artifact, encoding="utf-8")
    (demo / "transcripts/0001.txt").write_text(artifact, encoding="utf-8")
    for name, place in (
        ("books.json", "books/0/title"),
        ("books.json", "books/0/author"),
        ("books.json", "books/2/reason"),
        ("books.json", "trajectories/0/title"),
        ("demo.json", "device"),
        ("demo.json", "settings/seed"),
        ("training.json", "config/seed"),
        ("training.json", "groups/0/0"),
        ("book/run.json", "steps/1/notes"),
    ):
        edit(demo / name, place, [evil] if place.endswith("notes") else evil)
    page = page_of(demo)
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert page.text.count(evil) > 10


def test_the_page_needs_nothing_from_outside(shared_demo):
    folder, page = shared_demo
    source = (folder / "report.html").read_text(encoding="utf-8")
    assert not {"script", "link", "iframe", "img", "object", "embed", "base"} & set(page.tags)
    assert not page.values("src")
    for forbidden in ("http:", "https:", "url(", "@import", "//cdn"):
        assert forbidden not in source
    assert "default-src 'none'" in source


def test_links_lead_to_places_on_the_page(shared_demo):
    _, page = shared_demo
    identifiers = page.values("id")
    assert len(identifiers) == len(set(identifiers))
    assert page.values("href")
    assert {link.removeprefix("#") for link in page.values("href")} <= set(identifiers)


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("demo.json", "How long each part took is not recorded yet"),
        ("books.json", "The books have not been read yet"),
        ("training.json", "Training has not laid out its devices yet"),
        ("run/metrics.jsonl", "No training step has been recorded yet"),
        ("book/artifact.txt", "The model has not written anything yet"),
        ("book/run.json", "How it was sampled is not recorded"),
        ("transcripts", "No trajectory has been built yet"),
    ],
)
def test_a_missing_piece_becomes_a_sentence(demo, missing, sentence):
    assert sentence not in page_of(demo).text
    target = demo / missing
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    assert sentence in page_of(demo).text


@pytest.mark.parametrize("name", ["demo.json", "books.json", "training.json", "book/run.json"])
@pytest.mark.parametrize("content", ['{"books": [', "{}", "[]", '{"books": null, "mesh": {}, "totals": null}'])
def test_a_damaged_file_does_not_keep_the_report_from_being_written(demo, name, content):
    (demo / name).write_text(content)
    assert "How to go on" in page_of(demo).text


def test_an_empty_folder_gives_a_page_of_sentences(tmp_path):
    text = page_of(tmp_path).text
    assert text.count("yet") >= 10
    assert "polaris segment" in text
    assert "polaris write" not in text


def test_an_interrupted_book_shows_what_is_there(demo, lamp):
    (demo / "book/run.json").unlink()
    cut = lamp.index("<|start_header_id|>chapter_text") + 200
    (demo / "book/artifact.txt").write_text(lamp[:cut], encoding="utf-8")
    text = page_of(demo).text
    assert "in progress" in text
    assert "being written" in text
    assert "Chapter 1: The Lamp" in text
    assert "No chapter is finished yet" not in text


def test_tokens_of_a_stage_are_those_of_the_trained_models_tokenizer(demo, lamp):
    tokenizer = train_sentencepiece([lamp], 330, demo / "run/model")
    text = page_of(demo).text
    for stage in split_stages(lamp):
        tokens = len(tokenizer.encode(lamp[stage.start : stage.end]))
        assert text.count(f"{stage.role} {count_words(stage.text)} {tokens:,} {len(stage.text):,} valid") >= 2
    (demo / "run/model/tokenizer.model").write_bytes(b"cut off")
    assert "How to go on" in page_of(demo).text


def test_a_metrics_line_cut_off_by_a_kill_is_ignored(demo):
    lines = (demo / "run/metrics.jsonl").read_text().splitlines()
    (demo / "run/metrics.jsonl").write_text("\n".join(lines[:7]) + '\n{"step": 8, "loss": 2.')
    assert "7 of 48" in page_of(demo).text


def test_losses_that_are_not_numbers_are_left_out(demo):
    records = metrics(8)
    records[3]["loss/prose"] = float("nan")
    del records[5]["loss/prose"]
    (demo / "run/metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    page = page_of(demo)
    assert not [value for value in page.values("d") if "nan" in value]
    assert "nan" not in page.text.split()


def test_a_file_name_cannot_lead_out_of_the_folder(demo):
    (demo.parent / "secret.txt").write_text("the secret")
    edit(demo / "books.json", "trajectories/0/file", "../secret.txt")
    assert "the secret" not in page_of(demo).text


def test_commands_can_be_pasted_into_a_shell(demo):
    odd = demo.rename(demo.with_name("my demo; rm x"))
    text = page_of(odd).text
    assert f"--checkpoint='{odd}'/run" in text
    assert "--prompt='Write about a lamp.'" in text


def test_a_folder_that_is_not_there_is_the_callers_mistake(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        write_report(tmp_path / "nothing")


def test_the_report_is_replaced_in_one_piece(demo):
    first = write_report(demo)
    assert first == demo / "report.html"
    before = first.read_bytes()
    write_report(demo)
    assert first.read_bytes() == before
    assert [path.name for path in demo.iterdir() if path.name.endswith(".tmp")] == []
