"""The memorisation audit: does a model continue a training text word for word when it is given the start?

``overlap`` compares a continuation with the gold tokens, ``attack`` makes the continuations (only the prompt; or the
gold reasoning and the first tokens of the story), ``summarise`` is the table. Nothing here calls a judge.
"""

from polaris_jax.evals.audit.attack import Attack, AuditRow, attack_text, read_audit_rows, run_audit
from polaris_jax.evals.audit.overlap import Overlap, overlap, strip_thinking, summarise
from polaris_jax.evals.audit.substring import longest_common_substring

__all__ = [
    "Attack", "AuditRow", "Overlap", "attack_text", "longest_common_substring", "overlap", "read_audit_rows",
    "run_audit", "strip_thinking", "summarise",
]  # fmt: skip
