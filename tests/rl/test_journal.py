"""What a step has produced survives a kill, to the bit."""

from pathlib import Path

import numpy as np
from journals import read_journals
from toys import reward

from polaris_jax.rl.journal import Journal, Reward, Rollout


def rollout(member):
    draw = np.random.default_rng(member)
    text = "a line\u2028and\x85another"  # they end a line of text, but not of JSON lines
    tokens = draw.integers(0, 9, 5).astype(np.int32)
    logprobs, model_logprobs = np.log(draw.random((2, 5))).astype(np.float32)
    return Rollout("0/a", member, tokens, logprobs, model_logprobs, text, "stop")


def test_everything_comes_back_to_the_bit(tmp_path):
    journal = Journal(tmp_path, 3)
    for member in range(3):
        journal.add(rollout(member))
    journal.add(reward("0/a", -1, 0.1 + 0.2))
    journal.close()
    again = Journal(tmp_path, 3)
    assert again.resumed == 3
    for member in range(3):
        have, want = again.rollouts["0/a", member], rollout(member)
        np.testing.assert_array_equal(have.tokens, want.tokens)
        np.testing.assert_array_equal(have.logprobs, want.logprobs)
        np.testing.assert_array_equal(have.model_logprobs, want.model_logprobs)
        assert (have.text, have.logprobs.dtype) == (want.text, np.float32)
    assert again.rewards["0/a", -1] == reward("0/a", -1, 0.1 + 0.2)


def test_a_line_that_a_kill_cut_off_is_written_again(tmp_path):
    journal = Journal(tmp_path, 1)
    journal.add(rollout(0))
    journal.add(rollout(1))
    journal.close()
    Path(journal.path).write_bytes(Path(journal.path).read_bytes()[:-20])
    again = Journal(tmp_path, 1)
    assert set(again.rollouts) == {("0/a", 0)}
    again.add(rollout(1))
    again.close()
    assert set(Journal(tmp_path, 1).rollouts) == {("0/a", 0), ("0/a", 1)}


def judged(member, failed=None, scalar=0.5):
    breakdown = {"scalar": None if failed else scalar, "failed": failed, "components": {}, "diagnostics": {}}
    return Reward("0/a", member, breakdown, {"failed": failed, "detail": "", "raw": []})


def test_a_failed_judgement_is_on_record_and_not_final(tmp_path):
    first = Journal(tmp_path, 1)
    for found in (judged(0), judged(1, "invalid_json"), judged(2, "empty")):
        first.add(found)
    first.close()
    again = Journal(tmp_path, 1)
    assert set(again.rewards) == {("0/a", 0)}
    assert {found.failed for found in again.failures.values()} == {"invalid_json", "empty"}
    again.add(judged(2, "empty"))
    assert not again.changed()
    again.add(judged(1))
    assert again.changed()
    again.close()
    assert set(Journal(tmp_path, 1).rewards) == {("0/a", 0), ("0/a", 1)}
    assert [line["kind"] for _, lines in read_journals(tmp_path) for line in lines] == ["reward"] * 5


def test_steps_that_followed_from_other_rewards_are_dropped(tmp_path):
    for step in (1, 2, 3, 10):
        journal = Journal(tmp_path, step)
        journal.add(judged(0))
        journal.close()
        Path(f"{journal.stem}.groups.json").write_text("{}")
    assert Journal(tmp_path, 2).drop_later() == 2
    assert [step for step, _ in read_journals(tmp_path)] == [1, 2]
    assert len(list((tmp_path / "steps").iterdir())) == 4


IN_A_BUCKET = """
import sys
from polaris_jax import storage
from polaris_jax.rl import journal
from test_journal import read_journals, rollout
run = "gs://library/run"
for step in (1, 2, 3):
    held = journal.Journal(run, step)
    held.add(rollout(0))
    if step == 3:
        journal.BETWEEN_PUTS = 0.0
        held.add(rollout(1))  # what comes later than that is put at once
        held.add(rollout(2))
    else:
        held.close()
    storage.write_json(f"{held.stem}.groups.json", {})
read = {step: len(lines) for step, lines in read_journals(run)}
dropped = journal.Journal(run, 1).drop_later()
print(read, dropped, sorted(storage.names(f"{run}/steps")))
"""


def test_a_journal_in_a_bucket(bucket_client):
    assert bucket_client(IN_A_BUCKET) == "{1: 1, 2: 1, 3: 3} 2 ['000001.groups.json', '000001.jsonl']"
