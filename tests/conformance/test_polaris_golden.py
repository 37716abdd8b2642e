"""Rewards against the golden cases of the released code: as released always, as intended wherever both agree.

Where they do not (a listed defect of the release), the test says what the intended value is instead.
"""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from released_config import native_schema, released_spec, vertex_schema, without_length_sentence

from polaris_jax.errors import InputError
from polaris_jax.rewards import (
    InvalidJudgeReply,
    RepetitionSpec,
    TokenCounts,
    count_thought_tokens,
    judge_length,
    read_rubric_scores,
    released,
    rubric,
    score,
    self_repetition,
    split_thinking,
    story_quality,
    without_length_request,
)
from polaris_jax.rewards.dimensions import DIMENSIONS
from polaris_jax.rewards.length import find_target, requested_words
from polaris_jax.rewards.released import ReleasedRow, hand_off, released_batch, released_quality
from polaris_jax.rewards.released.texts import first_object
from polaris_jax.rewards.reply import strip_fence

EXACT = {"abs": 1e-9, "rel": 0}
FLOAT32 = {"abs": 1e-6, "rel": 1e-5}
NUMBERS = tuple(d.score_key for d in DIMENSIONS)


@pytest.fixture(scope="module")
def golden(shared):
    path = shared / "specs" / "polaris_golden.json"
    if not path.is_file():
        pytest.skip(f"no golden cases at {path}")
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def config(golden):
    main = golden["_meta"]["main_reward_kwargs"]

    def made(overrides=()):
        try:
            return released_spec(main | dict(overrides))
        except InputError as error:
            pytest.skip(f"the specification does not name this setting: {error}")

    return made


def words(count):
    return " ".join(f"w{i}" for i in range(count))


def adds_up(reply):
    """Whether a reply's scores are whole and in range and add up to its totals: then both readings agree."""
    try:
        read = read_rubric_scores(reply)
    except (InvalidJudgeReply, TypeError):
        return False
    ours = {
        "positive_total": read.positive,
        "negative_total": read.negative,
        "bonus_total": read.bonus,
        "penalty_total": read.penalty,
    }
    return ours == {name: value for name, value in read.stated.items() if name in ours}


def unusable(reply):
    """Whether a stored reply holds no usable scores."""
    if isinstance(reply, list):
        text, timed_out, error = reply
        if timed_out or error or not text:
            return True
        reply = text
    try:
        read_rubric_scores(reply)
    except InvalidJudgeReply:
        return True
    return False


def test_thinking_split(golden):
    for case in golden["think_parse"]["cases"]:
        as_released = released.split_thinking(case["text"])
        assert (as_released.thoughts, as_released.story) == (case["thoughts"], case["prediction"])
        intended = split_thinking(case["text"])
        if "</think>" in case["text"] or not case["text"].lstrip().startswith("<think>"):
            assert intended == as_released
        else:
            assert intended.story == "", "an unclosed thinking block is no story"


def test_self_repetition(golden):
    main = RepetitionSpec()
    code = RepetitionSpec(window=80, hinge=0.10, ngrams=1.0, lines=0.5, cap=1.0)
    for case in golden["self_repeat"]["cases"]:
        found = self_repetition(case["text"], main)
        assert found.penalty == pytest.approx(case["self_rep_main_config"], **EXACT)
        assert self_repetition(case["text"], code).penalty == pytest.approx(case["self_rep_code_defaults"], **EXACT)
        assert 0.8 * 0.7 * max(0, found.ngrams - 0.08) == pytest.approx(case["ngram_budget"], **EXACT)
        assert 0.8 * 0.3 * found.near == pytest.approx(case["local_budget"], **EXACT)
        assert 0.4 * found.lines == pytest.approx(case["lines_budget"], **EXACT)


@pytest.mark.parametrize("as_released", [False, True], ids=["intended", "as-released"])
def test_blank_and_length(golden, config, as_released):
    for case in golden["blank_length"]["cases"]:
        spec = config(case["config_overrides"]).reward.length
        text = words(case["text_words"]) if case["text"] is None else case["text"]
        prompt = case["prompt"]
        released_target = released.length_target(prompt, spec, None, case["target_words"])
        asked = find_target(prompt, spec, None, case["target_words"]).words or max(spec.min_words, case["target_words"])
        target = released_target if as_released else asked
        if re.search(r"\d,\d{3}\s+words\s+long", prompt, re.IGNORECASE) and not as_released:
            assert target == requested_words(prompt) != released_target, "a thousands separator is part of the number"
            continue
        found = judge_length(text, target, spec)
        assert found.blank_penalty == case["blank_pen"]
        assert found.length_penalty == pytest.approx(case["length_pen"], **EXACT)
        assert found.length_reward == pytest.approx(case["length_reward"], **EXACT)


def test_length_request_is_hidden_from_the_judge(golden):
    for case in golden["strip_length_sentence"]["cases"]:
        given, expected = case["in"], case["out"]
        assert without_length_sentence(given) == expected
        intended = without_length_request(given)
        after_the_mention = re.split(r"(?i)words\s+long", given)[-1]
        only_the_end_goes = not re.search(r"\w", after_the_mention) and not re.search(
            r"\b[A-Z][a-z]?[a-z]?\.|\d\.\d", given
        )
        if only_the_end_goes:
            assert intended.rstrip("\"”’'") == expected.rstrip("\"”’'"), given


def test_question_to_the_judge(golden):
    example = golden["judge_request_example"]["user_message"]
    prompt = "Write a story about a bridge. It should be 500 words long."
    if "about a bridge" in example and example.endswith("The story.\n"):
        assert rubric.question(without_length_request(prompt), "The story.") == example


def test_judge_reply_as_released(golden, config):
    for case in golden["story_quality_score"]["cases"]:
        reply = case["reply"]
        text, timed_out, error = reply if isinstance(reply, list) else (reply, False, None)
        found = released_quality(
            text,
            case["prompt"],
            words(case["story_whitespace_words"]),
            config(case["config_overrides"]),
            timed_out=timed_out,
            error=error,
            is_human_reference=bool(case["is_gt"]),
        )
        about = case["desc"]
        assert found.value == pytest.approx(case["reward"], **EXACT), about
        assert found.valid == case["valid"], about
        assert (found.error is None) == (case["error"] is None), about
        assert found.timed_out == case["timed_out"], about
        assert found.failed == case["counts_as_failed_for_fallback"], about
        if case["overall_overridden"] is None:
            continue
        assert found.overall.points == pytest.approx(case["overall_overridden"], **EXACT), about
        assert found.judge_overall == case["overall_model_raw"], about
        assert found.overall.bonus_floored == case["bonus_floor_applied"], about
        assert found.overall.penalty_capped == case["penalty_cap_applied"], about
        assert found.overall.bonus == pytest.approx(case["bonus_effective"], **EXACT), about
        assert found.overall.penalty == pytest.approx(case["penalty_effective"], **EXACT), about
        for reason, name in (("n2", "_dq_n2"), ("n10", "_dq_n10"), ("words", "_dq_wc")):
            if case["dq"][name] is not None:
                assert (reason in found.overall.disqualified) == case["dq"][name], about
        if found.overall.disqualified:
            assert found.overall.before == pytest.approx(case["dq"]["overall_score_pre_dq"], **EXACT), about


def test_judge_reply_as_intended(golden, config):
    """A reply whose totals add up scores as released; one that is unusable fails instead of scoring."""
    agreed = 0
    for case in golden["story_quality_score"]["cases"]:
        spec, about, reply = config(case["config_overrides"]), case["desc"], case["reply"]
        story = words(case["story_whitespace_words"])
        breakdown = score(
            story, case["prompt"], judgement=reply, spec=spec.reward, is_human_reference=bool(case["is_gt"])
        )
        if unusable(reply):
            assert breakdown.scalar is None, about
            assert breakdown.failed, about
            assert breakdown.components["story_quality"] is None, about
        elif adds_up(reply) and spec.override and case["error"] is None:
            agreed += 1
            assert breakdown.components["story_quality"] == pytest.approx(case["reward"], **EXACT), about
        else:
            read = read_rubric_scores(reply)
            ours, _ = story_quality(
                read, spec.reward.quality, story, requested_words(case["prompt"]), bool(case["is_gt"])
            )
            assert breakdown.components["story_quality"] == pytest.approx(ours, **EXACT), about
    assert agreed, "no case where the judge added up correctly"


def test_what_the_trainer_is_handed(golden):
    section = golden["scalar_handoff"]
    for row, attention, expected in zip(
        section["reward_tensor"], section["attention_mask"], section["scores"], strict=True
    ):
        attended = sum(attention[section["prompt_len"] :])
        assert hand_off(np.array(row, np.float32), attended) == pytest.approx(expected, **FLOAT32)


EOS = "<|im_end|>"
TOKEN = re.compile(r"</?think>|<\|im_end\|>|\s+|\w+|.", re.DOTALL)


def engine_rows(case):
    """The rows of an engine case as its toy tokenizer cuts them, checked against the token counts it states."""
    rows = []
    for row, reply in zip(case["rows"], case["replies"], strict=True):
        tokens = (TOKEN.findall(row["text"]) + [EOS] * row.get("eos", True))[: case["T"]]
        total, ended = len(tokens), EOS in tokens
        text = "".join(token for token in tokens if token != EOS)
        thoughts = count_thought_tokens(text, [found.span() for found in TOKEN.finditer(text)], total)
        assert (total, thoughts) == (row["n_tokens"], row["n_think_tokens"])
        if row.get("zero_mask"):
            total = thoughts = 0
        said, timed_out, error = reply if isinstance(reply, list) else (reply, False, None)
        rows.append(
            ReleasedRow(
                text, row["prompt"], said, timed_out, error, TokenCounts(total, thoughts, ended), bool(row.get("is_gt"))
            )
        )
    return rows


def unrolled(runs):
    return np.concatenate([np.full(count, value, np.float32) for value, count in runs])


def supported(config, case):
    try:
        return config(case["config_overrides"])
    except pytest.skip.Exception:
        return None  # a setting of the logged composite that the specification describes but does not name


def test_engine_as_released(golden, config):
    seen = 0
    for case in golden["engine"]["cases"]:
        spec, about = supported(config, case), case["desc"]
        if spec is None:
            continue
        seen += 1
        found = released_batch(engine_rows(case), case["T"], spec)
        for i, reward in enumerate(found):
            np.testing.assert_allclose(
                reward.token_rewards, unrolled(case["token_reward_runs"][i]), atol=1e-6, rtol=1e-5, err_msg=about
            )
            assert reward.scalar == pytest.approx(case["scalar_handed_to_trainer"][i], **FLOAT32), about
            assert reward.composite == pytest.approx(case["composite"][i], **FLOAT32), about
            for name in ("self_rep", "length_pen", "blank_pen", "length_reward", "story_quality"):
                assert reward.components[name] == pytest.approx(case[name][i], **FLOAT32), (about, name)
    assert seen


def test_engine_as_intended(golden, config):
    """The scalar is the clipped story scalar; a failed judgement has none; without a story it is the minimum."""
    for case in golden["engine"]["cases"]:
        spec, about = supported(config, case), case["desc"]
        if spec is None:
            continue
        intended = replace(spec.reward, think_penalty=0.0, overlong_penalty=0.0)
        for i, (row, reply) in enumerate(zip(engine_rows(case), case["replies"], strict=True)):
            found = score(
                row.text,
                row.prompt,
                judgement=reply,
                spec=intended,
                tokens=row.tokens,
                is_human_reference=row.is_human_reference,
            )
            story = split_thinking(row.text).story
            if not story.strip():
                assert found.scalar == -intended.clip, about
            elif row.is_human_reference and intended.reference_best:
                assert found.scalar == intended.clip, about
            elif unusable(reply):
                assert found.scalar is None, about
                assert found.failed, about
            elif adds_up(reply) and spec.override and story == released.split_thinking(row.text).story:
                weights = spec.reward
                plain = (
                    weights.quality_weight * case["story_quality"][i]
                    - (
                        weights.repetition_weight * case["self_rep"][i]
                        + weights.length_weight * case["length_pen"][i]
                        + weights.blank_weight * case["blank_pen"][i]
                    )
                    + weights.length_reward_weight * case["length_reward"][i]
                )
                assert found.scalar == pytest.approx(np.clip(plain, -weights.clip, weights.clip), **FLOAT32), about


def test_json_helpers(golden):
    for case in golden["json_helpers"]["cases"]:
        if "in" in case:
            assert strip_fence(case["in"]) == case["strip"]
            assert first_object(strip_fence(case["in"])) == case["first_obj"]
        elif "schema_in" in case:
            assert vertex_schema(case["schema_in"]) == case["schema_out"]
        elif "native_support" in case:
            for name, expected in case["native_support"].items():
                assert native_schema(*name.split("/", 1)) == expected, name
