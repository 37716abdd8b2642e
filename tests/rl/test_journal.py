"""What a step has produced survives a kill, to the bit."""

import numpy as np
from toys import reward

from polaris_jax.rl.journal import Journal, Rollout


def rollout(member):
    draw = np.random.default_rng(member)
    text = "a line\u2028and\x85another"  # line ends that are none in JSON lines
    return Rollout("0/a", member, draw.integers(0, 9, 5).astype(np.int32),
                   np.log(draw.random(5)).astype(np.float32), text, "stop")


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
        assert (have.text, have.logprobs.dtype) == (want.text, np.float32)
    assert again.rewards["0/a", -1] == reward("0/a", -1, 0.1 + 0.2)


def test_a_line_that_a_kill_cut_off_is_written_again(tmp_path):
    journal = Journal(tmp_path, 1)
    journal.add(rollout(0))
    journal.add(rollout(1))
    journal.close()
    journal.path.write_bytes(journal.path.read_bytes()[:-20])
    again = Journal(tmp_path, 1)
    assert set(again.rollouts) == {("0/a", 0)}
    again.add(rollout(1))
    again.close()
    assert set(Journal(tmp_path, 1).rollouts) == {("0/a", 0), ("0/a", 1)}
