"""Judges behind a proxy that makes calls fail."""

import pytest
from servers import MODEL, Proxy

from polaris_jax.llm import ClientSpec
from polaris_jax.rewards import JudgeSpec, open_judge


@pytest.fixture
def proxy():
    """A proxy with no model behind it: it answers with what a test puts in ``faults``."""
    with Proxy() as running:
        yield running


@pytest.fixture
def connect():
    """``connect(proxy, samples=..., **client fields)``: a judge behind a proxy that hardly waits; closed afterwards."""
    judges = []

    def open_to(proxy, samples=1, rubric="brief", **client):
        fields = {"provider": "openai", "model": MODEL, "base_url": proxy.base_url, "backoff": 0.01, **client}
        judges.append(open_judge(JudgeSpec("llm", ClientSpec(**fields), samples=samples, rubric=rubric)))
        return judges[-1]

    yield open_to
    for judge in judges:
        judge.close()
