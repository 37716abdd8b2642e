"""Benchmarks at every validation: written with the current weights, judged by the run's own judge, refused early."""

import json

import jax
import pytest
from judged_runs import SHEET, on_passages
from servers import Proxy, completion

from polaris_jax.commands.rl_benches import check_names, run_bench
from polaris_jax.errors import InputError
from polaris_jax.rl import post_train
from polaris_jax.training import read_metrics


def test_scores_are_metrics_and_the_stories_are_kept(make_config, tmp_path):
    config = on_passages(make_config())
    config.train.steps = 1
    config.data.max_prompt_tokens = 700  # the vocabulary of the policy is one of letters
    config.rl.window = 1024
    config.validation.update({"benches": ("longbench-write",), "bench_limit": 2, "first": False})
    criteria = ("Relevance", "Accuracy", "Coherence", "Clarity", "Breadth and Depth", "Reading Experience")
    rated = dict.fromkeys(criteria, 4)
    with Proxy() as proxy:
        proxy.always = {"Breadth": completion(json.dumps({"Analysis": "fine"} | rated)), "STORY": completion(SHEET)}
        config.judge.base_url = proxy.base_url
        post_train(config, tmp_path, devices=jax.devices()[:1], benches=run_bench, say=lambda line: None)
    [record] = read_metrics(tmp_path)
    written = (tmp_path / "benches" / "longbench-write-000001.jsonl").read_text().splitlines()
    assert len(written) == 2
    assert record["bench/longbench-write/failed"] == 0
    assert {"prompt", "story", "id"} <= json.loads(written[0]).keys()


@pytest.mark.parametrize(
    ("fields", "match"),
    [({"kind": "offline"}, "a model judges them"), ({}, "polaris rl runs them")],
    ids=["no model judges", "nobody runs them"],
)
def test_what_cannot_be_is_refused_before_the_start(make_config, tmp_path, fields, match):
    config = on_passages(make_config(), "http://127.0.0.1:9/v1")
    config.judge.update(fields)
    config.validation.benches = ("eqbench-creative",)
    with pytest.raises(InputError, match=match):
        post_train(config, tmp_path / "run", benches=run_bench if fields else None)
    assert not (tmp_path / "run").exists()


def test_an_unknown_benchmark_is_named():
    with pytest.raises(InputError, match="'no-such': choose of"):
        check_names(("no-such",))
