"""What a person sees of a post-training run: its page and its samples, from the files of a real run."""

import sys
from pathlib import Path

import jax
import pytest
from judged_runs import JUDGED, on_passages
from servers import Proxy

from polaris_jax import storage
from polaris_jax.cli import main
from polaris_jax.rewards.dimensions import DIMENSIONS
from polaris_jax.rl import post_train
from polaris_jax.rl.journal import Journal

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))

from pages import Page


@pytest.fixture(scope="module")
def run(make_config, tmp_path_factory):
    """Two steps with a judge whose calls have a price."""
    folder = tmp_path_factory.mktemp("run")
    with Proxy() as judge:
        judge.always = {"STORY": JUDGED}
        config = on_passages(make_config(), judge.base_url)
        config.train.steps = 2
        config.judge.prices = (1000.0, 2000.0)
        post_train(config, folder, devices=jax.devices()[:1])
    return folder


def page_of(run, name, *flags):
    file = run / name
    assert main(["watch", str(run), *flags, str(file)]) == 0
    return Page(file.read_text()), file.read_text()


def test_the_page_shows_rewards_lengths_and_the_price_of_the_judge(run, capsys):
    page, html = page_of(run, "report.html", "--html")
    for shown in (
        "Post-training run, step 2 of 2",
        "Reward of the policy",
        "Story Quality (judge)",
        "Lengths against targets",
        "entropy estimate",
        "KL from the policy before the step",
        "surrogate objective",
        "No judgement has failed.",
    ):
        assert shown in page.text, shown
    calls = int((run / "ledger.json").read_text().split('"calls": ')[1].split(",")[0])
    assert f"{calls * (10 * 1000 + 5 * 2000) / 1e6:.4f} USD" in page.text
    assert "nats per supervised token" not in page.text
    assert html.count("<svg") > 10
    assert "<script" not in html
    assert "default-src 'none'" in html
    assert main(["watch", str(run), "--once"]) == 0
    assert "nats per token" not in capsys.readouterr().out


def test_the_samples_show_texts_sheets_and_advantages(run):
    page, html = page_of(run, "samples.html", "--steps=2", "--samples")
    for shown in (
        "Step 2",
        "words asked for",
        "completion 1",
        "completion 3",
        "human reference",
        "Judge's sheet",
        "Tell a story",
    ):
        assert shown in page.text, shown
    assert all(dimension.title in page.text for dimension in DIMENSIONS)
    assert page.tags.count("details") >= 2 * (4 + 4)  # two groups of four texts, each with the judge's reply
    assert "<script" not in html


def test_the_record_of_a_step_names_every_text_of_its_groups(run):
    groups = storage.read_json(str(run / "steps" / "000002.groups.json"))["groups"]
    journal = Journal(run, 2)
    journal.close()
    assert len(groups) == 2
    for group in groups:
        assert set(group["advantages"]) == {"-1", "0", "1", "2"}
        rewards = {key[1]: reward.scalar for key, reward in journal.rewards.items() if key[0] == group["group"]}
        best = max((member for member in rewards if member >= 0), key=lambda member: rewards[member])
        assert group["advantages"][str(best)] == max(group["advantages"][str(member)] for member in range(3))
        assert group["reference"]
        assert group["prompt"].startswith("Tell a story")


def test_a_step_that_is_not_recorded_and_another_run_are_refused(run, tmp_path, capsys):
    assert main(["watch", str(run), "--steps=9", "--samples", str(tmp_path / "x.html")]) == 2
    assert "there are steps 1 to 2" in capsys.readouterr().err
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    assert main(["watch", str(tmp_path), "--samples", str(tmp_path / "x.html")]) == 2
    assert "polaris rl" in capsys.readouterr().err
    assert not (tmp_path / "x.html").exists()
