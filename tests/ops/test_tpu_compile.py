"""The TPU compiler, which needs no TPU, accepts the kernels, runs transfers beside them, and leaves caches in place."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from topology_programs import needs_libtpu

pytestmark = [
    pytest.mark.slow,
    needs_libtpu,
]
SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "tpu_compile_attention.py"


@pytest.mark.parametrize(
    "case",
    [
        ("v5:2x2x1", "4", "--head-dim=64"),
        ("v6e:2x4", "8", "--head-dim=256"),
        ("tpu7x:2x2x1", "8", "--window=700"),
        ("v5:2x2x2", "8", "--method=two_level", "--kv-heads=2", "--heads=8"),
        ("v5:2x2x1", "4", "--method=all_gather"),
    ],
)
def test_kernels_are_accepted_and_transfers_overlap(case, tmp_path):
    topology, context, *options = case
    hlo = tmp_path / "program.txt"
    done = subprocess.run(
        [
            sys.executable,
            str(SCRIPT),
            topology,
            context,
            "16384",
            "--heads=4",
            "--kv-heads=2",
            "--block=512",
            f"--hlo={hlo}",
            *options,
        ],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["kernels"] >= 2
    hops = {"--method=two_level": int(context) // 2, "--method=all_gather": 1}.get(options[0], int(context))
    # Keys in both passes, gradients in the backward and once more home; only that last one has no kernel beside it.
    assert seen["permutes"] == (2 * (hops - 1) + hops if hops > 1 else 0)
    assert seen["permutes_beside_a_kernel"] >= seen["permutes"] - 2


@pytest.mark.parametrize("case", [("v5:2x2x1", "4"), ("v6e:2x4", "8"), ("tpu7x:2x2x1", "8")])
def test_a_million_tokens_on_a_device_have_a_schedule_that_fits(case):
    """All at once it would be four times as large as scalar memory."""
    topology, context = case
    done = subprocess.run(
        [sys.executable, str(SCRIPT), topology, context, str(int(context) << 20), "--heads=4", "--kv-heads=2"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["permutes_beside_a_kernel"] >= seen["permutes"] - 2


def decode_programs(model, cases, *flags):
    """What ``benchmarks/decode_hlo.py`` says of the compiled programs, case by case."""
    shape = SCRIPT.parents[1] / "polaris_jax" / "configs" / "models" / model
    command = [sys.executable, str(SCRIPT.with_name("decode_hlo.py")), "--model", str(shape), *flags, "--cases", *cases]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(rows) == len(cases)
    for row in rows:
        assert row["extra_gb"] < 0.02 * row["held_gb"], row
    return rows


@pytest.mark.parametrize("model", ["ministral3_14b", "qwen3_5_9b"])
def test_a_token_reads_int8_weights_as_they_are(model):
    """No matrix of a layer is made whole in another dtype, for one text or several, on one chip or over four."""
    cases = [f"v5:2x2x1/tensor={chips}/1/{texts}/bfloat16/int8" for chips, texts in ((1, 1), (1, 8), (4, 1))]
    for row in decode_programs(model, cases, "--length=8192"):
        assert row["whole_matrices"] == 0, row


@pytest.mark.parametrize("model", ["ministral3_14b", "qwen3_5_9b"])
def test_a_token_turns_no_cache_over(model):
    """A cache of 262,144 tokens is updated in place, for one text or several, by one token or a chunk."""
    cases = [f"v5:2x2x1/tensor=4/{tokens}" for tokens in ("1", "512", "1/4")] + ["v6e:2x4/tensor=4,context=2/1"]
    # The same in pages of one pool.
    cases += [f"v5:2x2x1/tensor=4/{tokens}/bfloat16/auto/524288" for tokens in ("1/4", "512/1")]
    for row in decode_programs(model, cases):
        assert row["cache_copies"] == 0, row


@pytest.mark.parametrize("model", ["ministral3_14b", "qwen3_5_9b"])
def test_texts_of_several_adapters_read_their_own_factors_alone(model):
    """Nothing gives the factors of all adapters, of a layer or of all, nor the cache, for a token or for a prompt."""
    each = (("1/4", "int8"), ("512/1", "auto"))
    cases = [f"v5:2x2x1/tensor=4/{tokens}/bfloat16/{held}/0/4x16" for tokens, held in each]
    for row in decode_programs(model, cases, "--length=8192"):
        assert (row["bank_copies"], row["cache_copies"], row["whole_matrices"]) == (0, 0, 0), row
