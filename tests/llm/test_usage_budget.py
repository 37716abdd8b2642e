"""A budget holds, however many threads spend it."""

import random
import threading
import time

import pytest

from polaris_jax.llm import BudgetSpent, UsageTracker
from polaris_jax.llm.failures import AttemptFailed


@pytest.mark.parametrize("limits", [{"budget_tokens": 2000}, {"budget_usd": 0.004, "prices": (1.0, 3.0)}])
def test_no_interleaving_exceeds_the_budget(limits):
    usage = UsageTracker(**limits)
    stopped = []

    def work(seed):
        chance = random.Random(seed)
        while True:
            prompt, completion = chance.randint(1, 150), chance.randint(1, 150)
            try:
                with usage.call("work", prompt, completion, retry=False) as spending:
                    time.sleep(chance.random() / 500)
                    if chance.random() < 0.8:
                        spending.settle(chance.randint(0, prompt), chance.randint(0, completion))
            except BudgetSpent as spent:
                stopped.append(spent)
                return

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(stopped) == 8
    used, limit = (usage.tokens, 2000) if usage.budget_tokens else (usage.usd, 0.004)
    # The stop came only when a call of the largest size no longer fitted.
    assert limit * 0.8 < used <= limit


def test_a_call_that_may_have_been_charged_is_booked_at_its_upper_bound():
    usage = UsageTracker()
    with pytest.raises(AttemptFailed), usage.call("a", 100, 50, retry=False):
        raise AttemptFailed("timeout", "hung")
    with usage.call("a", 100, 50, retry=True) as spending:
        spending.settle(0, 0)
    summary = usage.summary()
    assert (summary["tokens"], summary["calls"], summary["retries"], summary["unknown"]) == (150, 2, 1, 1)
    assert summary["usd"] is None


def test_a_file_brings_back_every_number(tmp_path):
    usage = UsageTracker(prices=(1.0, 2.0))
    for purpose in ("judge", "scene"):
        with usage.call(purpose, 10, 5, retry=False) as spending:
            spending.settle(9, None)
        usage.count_cached(purpose)
        usage.count_failed(purpose)
    usage.write(tmp_path / "new" / "ledger.json")
    again = UsageTracker(prices=(1.0, 2.0))
    again.restore(tmp_path / "new" / "ledger.json")
    assert again.summary() == usage.summary()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["ledger.json"]
