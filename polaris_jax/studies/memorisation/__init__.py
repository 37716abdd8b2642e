"""The memorisation audit: does a model continue a training text verbatim when it is given the beginning?

``run_audit`` makes the attacks of ``attack`` (only the prompt; or the gold reasoning and the first tokens of the story)
and compares every greedy continuation with the gold tokens (``overlap``); ``summarise`` gives the published summary,
``audit_document`` the report. No judge is called.
"""

from polaris_jax.studies.memorisation.attack import (
    Attack,
    AuditRow,
    attack_text,
    read_audit_rows,
    run_audit,
    sample_rows,
)
from polaris_jax.studies.memorisation.overlap import Overlap, overlap, strip_thinking, summarise
from polaris_jax.studies.memorisation.report import audit_document
from polaris_jax.studies.memorisation.substring import longest_common_substring

__all__ = [
    "Attack",
    "AuditRow",
    "Overlap",
    "attack_text",
    "audit_document",
    "longest_common_substring",
    "overlap",
    "read_audit_rows",
    "run_audit",
    "sample_rows",
    "strip_thinking",
    "summarise",
]
