"""``polaris rl --estimate``: the calls and cost of judging a run, before anything is loaded, asked or written."""

import json

import pytest

from polaris_jax.cli import main
from polaris_jax.rl import rl_config
from polaris_jax.rl.config import judge_spec
from polaris_jax.rl.preflight import judge_forecast
from polaris_jax.rl.run_factory import read_tasks
from polaris_jax.training import load_config


def test_the_estimate_is_the_forecast_of_the_whole_run(policy, tmp_path, capsys):
    rows = [
        {"uid": f"u{n}", "prompt": "the river", "target_word_count": 300 + n, "story": "rain. " * 9} for n in range(4)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = tmp_path / "config.py"
    file.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(__file__).rpartition('/')[0]!r})\n"
        "from pathlib import Path\n"
        "from tiny_policy import tiny_config\n"
        "def get_config():\n"
        f"    config = tiny_config(Path({str(policy)!r}))\n"
        f"    config.data.update({{'train': {str(tmp_path / 'rows.jsonl')!r}, 'validation': ''}})\n"
        "    config.judge.update({'kind': 'llm', 'provider': 'openai', 'model': 'm', 'prices': (1.0, 10.0),\n"
        "        'base_url': 'http://127.0.0.1:1/v1'})\n"
        "    return config\n"
    )
    flags = [f"--config={file}", f"--workdir={tmp_path / 'run'}", "--estimate"]
    assert main(["rl", *flags, "--json", "--config.train.steps=5"]) == 0
    found = json.loads(capsys.readouterr().out)
    config = rl_config(load_config(file, ["train.steps=5"]))
    _, tasks, validation, _ = read_tasks(config)
    wanted = judge_forecast(judge_spec(config, "replies"), config, tasks, validation)
    assert found["steps"] == 5
    assert found["judge"]["calls"] == wanted.calls > 0
    assert found["judge"]["usd"] == pytest.approx(wanted.usd)
    assert found["judge"]["hours"] > 0
    assert main(["rl", *flags, "--config.judge.kind=none"]) == 0
    assert "no model judges" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()
