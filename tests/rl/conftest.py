"""Tiny policies over a vocabulary of letters, and configs that post-train them in seconds."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from judged_runs import JUDGED
from ml_collections import ConfigDict
from servers import Proxy
from tiny_policy import make_policy, tiny_config


@pytest.fixture(scope="session")
def policy(tmp_path_factory) -> Path:
    """The folder of ``tiny_policy.make_policy``."""
    return make_policy(tmp_path_factory.mktemp("policy"))


@pytest.fixture(scope="session")
def make_config(policy) -> Callable[[], ConfigDict]:
    """Fresh configs of ``tiny_policy.tiny_config``."""
    return partial(tiny_config, policy)


@pytest.fixture
def judge():
    """A judge behind HTTP that gives every story the same good scores."""
    with Proxy() as proxy:
        proxy.always = {"STORY": JUDGED}
        yield proxy
