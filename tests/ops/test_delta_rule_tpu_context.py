"""The TPU kernels of the gated delta rule over shards of ``context``, interpreted: the recurrence of the whole row."""

import functools
import itertools

import delta_rule_cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from delta_rule_cases import Case
from jax.sharding import PartitionSpec as P

from polaris_jax.data import zigzag_order
from polaris_jax.ops import delta_rule_tpu
from polaris_jax.ops.context_recurrence import ContextRecurrence
from polaris_jax.ops.recurrent_backend import XLA
from polaris_jax.sharding import make_mesh

pytestmark = pytest.mark.slow
# As for the kernels on one device (test_delta_rule_tpu.py), and once more for the maps, whose error the memories carry.
BOUND = 0.02


@pytest.mark.parametrize(
    ("shards", "order", "case"),
    [
        (2, "zigzag", Case(256, 0.5, 0.05)),
        (2, "contiguous", Case(256, 0.3, 0.5, starts=(100,))),
        (4, "zigzag", Case(512, 0.5, 0.01, starts=(70,))),
        (4, "zigzag", Case(512, 0.3, 0.05, beta=0.9)),
    ],
    ids=str,
)
def test_rows_over_shards_equal_the_recurrence_in_float64(shards, order, case):
    (*tokens, initial), segments, (dout, _) = delta_rule_cases.draw(case)
    zero = jnp.zeros_like(initial)
    wanted = delta_rule_cases.exact_results((*tokens, zero), segments, (dout, zero))
    stored = zigzag_order(case.tokens, shards if order == "zigzag" else 1)
    positions, ends = np.zeros(case.tokens, np.int32), [0, *case.starts, case.tokens]
    for start, end in itertools.pairwise(ends):
        positions[start:end] = np.arange(end - start)

    mesh = make_mesh({"context": shards}, devices=jax.devices()[:shards])
    rule = functools.partial(delta_rule_tpu.gated_delta_rule, interpret=True)
    plan, row = ContextRecurrence(shards, 4, XLA._replace(delta_rule=rule)), P(None, "context")
    local = jax.shard_map(
        lambda positions, segments, *tokens: plan.forward(plan.order(positions, segments), *tokens)[0],
        mesh=mesh,
        in_specs=(row,) * 7,
        out_specs=row,
        check_vma=False,
    )
    ours = functools.partial(local, jnp.asarray(positions[stored])[None], segments[:, stored])
    out, pull = jax.jit(lambda *tokens: jax.vjp(ours, *tokens))(*(x[:, stored] for x in tokens))
    found = out, *pull(dout[:, stored].astype(out.dtype))
    names = ("out", "dq", "dk", "dv", "dbeta", "dlog_decay")
    errors = {}
    for name, got, want in zip(names, found, (wanted[0], *wanted[2:7]), strict=True):
        difference = np.asarray(got, np.float64) - want[:, stored]
        errors[name] = float(np.sqrt(np.mean(difference**2) / np.mean(want**2)))
    assert max(errors.values()) <= BOUND, errors
