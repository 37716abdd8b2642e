"""Preference pairs: DPO's loss and gradient against torch, and ORPO and DPO on a file of pairs."""

import json

import jax
import numpy as np
import pytest
from tiny_policy import WORDS

from polaris_jax.cli import main
from polaris_jax.data import load_tokenizer
from polaris_jax.errors import InputError
from polaris_jax.rl import dpo_loss, post_train, rl_config
from polaris_jax.rl.dpo import dpo_cotangents
from polaris_jax.rl.learner import Learner
from polaris_jax.rl.objective import linear
from polaris_jax.rl.pair_rows import read_pairs
from polaris_jax.rl.pair_training import PairObjective
from polaris_jax.training import TrainState, read_metrics
from polaris_jax.training.setup import pretrained_params, set_up

ONE = jax.devices()[:1]
WORD_LIST = WORDS.split()


def pair_rows(count, seed=0):
    """Pairs of one preference: the chosen story ends on the water, the rejected one on the hill."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        first, second = (WORD_LIST[index] for index in rng.integers(0, len(WORD_LIST), 2))
        prompt = f"{first} {second} {number % 7}"
        yield {
            "prompt": prompt,
            "chosen": f"the {first} by the river",
            "rejected": f"a {second} on the hill was lit",
            "rejected_model": "x",
        }


@pytest.fixture(scope="module")
def pair_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in pair_rows(24)))
    return path


@pytest.fixture(scope="module")
def pair_store(pair_file, policy, tmp_path_factory):
    store = tmp_path_factory.mktemp("store") / "pairs"
    arguments = ["--data", str(pair_file), "--tokenizer", str(policy), "--out", str(store), "--split=70/30/0"]
    assert main(["build", *arguments]) == 0
    return store


@pytest.fixture
def config(make_config, pair_store):
    config = make_config()
    config.data.update({"kind": "pairs", "train": str(pair_store), "validation": str(pair_store)})
    config.rl.update({"objective": "dpo", "prompts_per_step": 8, "window": 128, "dpo_beta": 0.5})
    config.rollout.max_tokens = 40
    config.validation.update({"every": 4})
    config.train.update({"steps": 4, "checkpoint_every": 2})
    return config


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("beta", [0.1, 2.0])
def test_dpo_and_its_gradient_are_torchs(beta, smoothing):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    values, reference = rng.normal(-40, 8, 8), rng.normal(-40, 8, 8)
    chosen, rejected = [0, 2, 4, 6], [1, 3, 5, 1]  # one rejected answer belongs to two pairs
    x = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    r = torch.tensor(reference, dtype=torch.float64)
    margin = beta * ((x[chosen] - r[chosen]) - (x[rejected] - r[rejected]))
    theirs = torch.nn.functional.binary_cross_entropy_with_logits(margin, torch.full((4,), 1 - smoothing).double())
    theirs.backward()
    metrics, shares = dpo_cotangents(values, reference, chosen, rejected, beta=beta, label_smoothing=smoothing)
    # Differences of numbers near 40 in float32, times beta: 40 * 2**-23 * 4 * beta, absolutely.
    np.testing.assert_allclose(metrics["loss"], theirs.item(), rtol=1e-5, atol=4e-5 * beta)
    np.testing.assert_allclose(shares, -x.grad.numpy(), rtol=1e-5, atol=4e-5 * beta**2)
    np.testing.assert_allclose(metrics["margin"], margin.mean().item(), rtol=1e-5, atol=4e-5 * beta)
    assert metrics["accuracy"] == (margin > 0).double().mean().item()
    assert metrics["chosen_reward"] - metrics["rejected_reward"] == pytest.approx(metrics["margin"], abs=1e-4)


def test_dpo_of_equal_policies_is_log_2_and_far_margins_stay_finite():
    zeros = np.zeros(2, np.float32)
    loss, metrics = dpo_loss(zeros - 9, zeros - 5, zeros - 9, zeros - 5, beta=0.1)
    assert float(loss) == pytest.approx(np.log(2), rel=1e-6)
    assert float(metrics["accuracy"]) == 0.0
    for far in (-1e4, 1e4):
        loss, _ = dpo_loss(zeros + far, zeros, zeros, zeros, beta=1.0, label_smoothing=0.1)
        assert np.isfinite(float(loss))


@pytest.mark.parametrize("objective", ["dpo", pytest.param("dpo of means", marks=pytest.mark.slow), "orpo"])
def test_the_update_follows_the_gradient_of_the_loss_over_the_whole_model(objective, config, pair_file, policy):
    """In two passes through weights per token, on packed windows, equal to one differentiation of the plain loss."""
    import jax.numpy as jnp

    config.rl.objective = objective.partition(" ")[0]
    config.rl.dpo_normalise = objective == "dpo of means"
    typed = rl_config(config)
    setup = set_up(typed, devices=ONE)
    learner = Learner(typed, setup.model, setup.mesh, setup.optimizer, setup.schedule, setup.labels)
    tokenizer = load_tokenizer(policy)
    pairs, _ = read_pairs(str(pair_file), str(policy), tokenizer, max_prompt=48, max_response=40, limit=3)
    params = learner.working(TrainState(jnp.zeros((), jnp.int32), pretrained_params(typed, setup), None))
    packed = learner.pack([side.row for pair in pairs for side in (pair.chosen, pair.rejected)])
    logprobs = learner.logprobs(params, packed)
    weigh = PairObjective(typed)
    reference = None if objective == "orpo" else weigh.scores(logprobs, pairs) + np.array([1.0, -2, 0, 3, 0.5, 0])
    metrics, weights = weigh(logprobs, pairs, reference)
    (_, _), ours = learner.gradients(params, packed.with_fields({"cotangents": weights}), linear)

    from polaris_jax.models import Decoder

    def plain(params):
        values = []
        for pair in pairs:
            for side in (pair.chosen, pair.rejected):
                text = jnp.asarray(np.concatenate([side.row.prompt, side.row.response]))[None]
                logits = Decoder(setup.model, params)(text[:, :-1])
                nats = jnp.take_along_axis(jax.nn.log_softmax(logits), text[:, 1:, None], -1)[0, :, 0]
                kept = nats[len(side.row.prompt) - 1 :] * side.learned
                values.append(kept.sum() / (side.learned.sum() if weigh.mean else 1))
        chosen, rejected = jnp.stack(values[::2]), jnp.stack(values[1::2])
        if objective == "orpo":
            odds = [v - jnp.log(1 - jnp.exp(v)) for v in (chosen, rejected)]
            return -chosen.mean() - jnp.log(jax.nn.sigmoid(odds[0] - odds[1])).mean()
        margin = typed.rl.dpo_beta * ((chosen - reference[::2]) - (rejected - reference[1::2]))
        return -jnp.log(jax.nn.sigmoid(margin)).mean()

    loss, theirs = jax.jit(jax.value_and_grad(plain))(params)  # faster to compile than single operations
    assert metrics["loss"] == pytest.approx(float(loss), rel=1e-4)
    scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(theirs))
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-3, atol=2e-5 * scale)


def held_out(folder):
    return [json.loads(path.read_text()) for path in sorted((folder / "validation").glob("*.json"))]


@pytest.mark.parametrize("objective", ["dpo", "orpo"])
def test_a_run_lowers_the_loss_and_raises_the_margin_on_held_out_pairs(objective, config, tmp_path):
    config.rl.objective = objective
    facts = {}
    assert post_train(config, tmp_path / "run", devices=ONE, on_start=facts.update).finished
    assert (facts["pairs"], facts["validation"]) == (17, 7)
    first, last = held_out(tmp_path / "run")
    assert (first["step"], last["step"]) == (0, 4)
    assert last["loss"] < first["loss"]
    assert last["margin"] > first["margin"]
    assert last["accuracy"] >= first["accuracy"]
    if objective == "dpo":  # at the start the policy is its reference
        assert first["loss"] == pytest.approx(np.log(2), abs=1e-5)
        assert first["margin"] == pytest.approx(0, abs=1e-4)
    records = read_metrics(tmp_path / "run")
    assert records[-1]["validation/margin"] == last["margin"]
    assert records[-1][f"{objective}/loss"] == records[-1]["loss"]
    assert min(record["pairs/chosen_tokens"] for record in records) > 1
    from polaris_jax.report import read_state, write_run_report

    page = write_run_report(read_state(str(tmp_path / "run")), str(tmp_path / "report.html"), None)
    assert objective.upper() in (tmp_path / "report.html").read_text(), page


def test_a_resumed_run_is_the_same_run_and_reads_its_reference(config, tmp_path):
    assert post_train(config, tmp_path / "whole", devices=ONE).finished

    class Killed(Exception):
        pass

    def die_in_the_fourth(record):
        if record["step"] == 4:
            raise Killed

    with pytest.raises(Killed):
        post_train(config, tmp_path / "parts", devices=ONE, on_step=die_in_the_fourth)
    stored = (tmp_path / "parts" / "reference.json").read_bytes()
    facts = {}
    assert post_train(config, tmp_path / "parts", devices=ONE, on_start=facts.update).finished
    assert facts["resumed_at"] == 2
    assert (tmp_path / "parts" / "reference.json").read_bytes() == stored
    one, other = (read_metrics(tmp_path / name) for name in ("whole", "parts"))
    assert [record["loss"] for record in one] == [record["loss"] for record in other]
    assert one[-1]["validation/loss"] == other[-1]["validation/loss"]


def test_a_file_and_a_store_of_it_give_the_same_pairs(pair_file, pair_store, policy):
    tokenizer = load_tokenizer(policy)
    most = {"max_prompt": 48, "max_response": 40}
    by_file, counts = read_pairs(str(pair_file), str(policy), tokenizer, **most)
    by_store, _ = read_pairs(str(pair_store), str(policy), tokenizer, **most)
    assert len(by_file) == len(by_store) == 24
    assert counts == {"long_prompts": 0, "long_answers": 0}
    for one, other in zip(by_file, by_store, strict=True):
        for side in ("chosen", "rejected"):
            for array in ("prompt", "response"):
                np.testing.assert_array_equal(
                    getattr(getattr(one, side).row, array), getattr(getattr(other, side).row, array)
                )
            assert getattr(one, side).row.response[-1] == tokenizer.eot_id
            assert getattr(one, side).learned.all()
    longest = max(len(pair.rejected.row.response) for pair in by_file)
    short = {"max_prompt": 48, "max_response": longest - 1}
    kept, counts = read_pairs(str(pair_file), str(policy), tokenizer, **short)
    assert counts["long_answers"] == 24 - len(kept) > 0
    cut, again = read_pairs(str(pair_file), str(policy), tokenizer, long_answers="cut", **short)
    assert (len(cut), again) == (24, counts)
    assert max(len(side.row.response) for pair in cut for side in (pair.chosen, pair.rejected)) == longest - 1
    with pytest.raises(InputError, match="no pair fits"):
        read_pairs(str(pair_file), str(policy), tokenizer, max_prompt=1, max_response=40)


def test_what_is_no_pair_is_refused(config, make_config, pair_store, policy, tmp_path, capsys):
    (tmp_path / "chat.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    (tmp_path / "broken.jsonl").write_text('{"prompt": "a", "chosen": "b"}\n')
    for name, said in (("chat.jsonl", "of the format completion"), ("broken.jsonl", "broken.jsonl:1: rejected")):
        config.data.train = str(tmp_path / name)
        with pytest.raises(InputError, match=said):
            post_train(config, tmp_path / "run", devices=ONE)
    assert (
        main(
            ["build", "--data", str(tmp_path / "chat.jsonl"), "--tokenizer", str(policy), "--out", str(tmp_path / "s")]
        )
        == 0
    )
    config.data.train = str(tmp_path / "s")
    with pytest.raises(InputError, match="no preference pair"):
        post_train(config, tmp_path / "run", devices=ONE)
    prompts = make_config()
    prompts.data.train = str(tmp_path / "pairs.jsonl")
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    with pytest.raises(InputError, match=r"data.kind=pairs"):
        post_train(prompts, tmp_path / "run", devices=ONE)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"data.kind": "prompts"}, "rl.objective"),
        ({"rl.objective": "grpo"}, "rl.objective"),
        ({"rl.epochs": 2}, "rl.epochs"),
        ({"rl.dpo_beta": 0.0}, "rl.dpo_beta"),
        ({"rl.dpo_label_smoothing": 0.6}, "rl.dpo_label_smoothing"),
        ({"rl.thinking": True}, "rl.thinking"),
        ({"validation.benches": ("writingbench",)}, "validation.benches"),
    ],
)
def test_settings_that_pairs_cannot_have(changes, field, config):
    for name, value in changes.items():
        section, key = name.split(".")
        config[section][key] = value
    with pytest.raises(InputError, match=rf"config\.{field}"):
        rl_config(config)
