"""Clients that people use with such a server: lm-eval, inspect-ai and ``llm``, each as it is installed.

They are not dependencies of the project: ``pip install --target FOLDER lm-eval[api] inspect-ai llm``, then
``POLARIS_CLIENTS=FOLDER``. lm-eval's own backend needs torch and accelerate beside them.
"""

import json
import os
import subprocess
import sys

import pytest
from serving_process import plain_checkpoint, running

CLIENTS = os.environ.get("POLARIS_CLIENTS")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CLIENTS, reason="set POLARIS_CLIENTS to a folder with lm-eval, inspect-ai and llm"),
]

LM_EVAL = """
import json, sys
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.models.openai_completions import LocalCompletionsAPI
folder, url = sys.argv[1:]
pairs = [
    ("The keeper of the tide book", " ruled his columns"),
    ("Nobody doubted", " him."),
    ("That is when you have", " high water."),
    ("That is when you have", " Saturdays"),
    ("", "Six o'clock on Tuesday"),
]
texts = ["The keeper of the tide book ruled his columns every Friday and slept well.", "Nobody doubted him."]
asked = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
rolling = [Instance("loglikelihood_rolling", {}, (text,), i) for i, text in enumerate(texts)]
until = [Instance("generate_until", {}, ("The keeper", {"until": ["."], "max_gen_toks": 12, "do_sample": False}), 0)]
server = LocalCompletionsAPI(
    model="plain", base_url=url + "/v1/completions", tokenizer=folder, num_concurrent=1, batch_size=2, max_length=500
)
own = HFLM(pretrained=folder, dtype="float32", device="cpu", batch_size=1, max_length=500)
print(json.dumps([
    {"pairs": lm.loglikelihood(asked), "rolling": lm.loglikelihood_rolling(rolling), "text": lm.generate_until(until)}
    for lm in (server, own)
]))
"""

INSPECT = """
import sys
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import generate, system_message
question = Sample("Who ruled his columns?", target="e")
task = Task([question], solver=[system_message("Be brief."), generate()], scorer=includes())
(log,) = eval(task, model="openai-api/house/plain", max_tokens=16, temperature=0, display="none", log_dir=sys.argv[1])
assert log.status == "success", log.error
print(log.samples[0].output.completion, flush=True)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return plain_checkpoint(tmp_path_factory.mktemp("clients") / "plain")


@pytest.fixture(scope="module")
def url(folder):
    with running(folder, "--window=512", "--slots=2") as server:
        yield server.url


def run(*command, **environment):
    environment = os.environ | {"PYTHONPATH": CLIENTS, "HF_HUB_OFFLINE": "1", "NO_PROXY": "127.0.0.1"} | environment
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran.stdout.strip().splitlines()


def test_lm_evals_likelihoods_equal_those_of_its_own_backend(folder, url):
    served, own = json.loads(run(sys.executable, "-c", LM_EVAL, str(folder), url, OPENAI_API_KEY="none")[-1])
    for (ours, greedy), (theirs, expected) in zip(served["pairs"], own["pairs"], strict=True):
        assert ours == pytest.approx(theirs, abs=1e-3)
        assert greedy == expected
    assert served["rolling"] == pytest.approx(own["rolling"], abs=1e-3)
    assert served["text"] == own["text"]


def test_inspect_ai_runs_a_task(url, tmp_path):
    settings = {"HOUSE_BASE_URL": f"{url}/v1", "HOUSE_API_KEY": "none"}
    assert run(sys.executable, "-c", INSPECT, str(tmp_path), HOME=str(tmp_path), **settings)[-1].strip()


def test_llm_answers_in_a_terminal(url, tmp_path):
    listed = f"- model_id: plain\n  model_name: plain\n  api_base: {url}/v1\n  api_key_name: none\n"
    (tmp_path / "extra-openai-models.yaml").write_text(listed)
    (tmp_path / "keys.json").write_text(json.dumps({"none": "none"}))
    command = [sys.executable, "-m", "llm", "-m", "plain", "Who ruled his columns?", "-o", "max_tokens", "12"]
    streamed, whole = (
        run(*command, *flags, LLM_USER_PATH=str(tmp_path), LLM_LOAD_PLUGINS="") for flags in ((), ("--no-stream",))
    )
    assert streamed == whole != []
