"""Writes the prompts, human references and advantages of a step, which a report needs beside the journal.

``WORKDIR/steps/000012.groups.json``: ``{"step", "groups": [{"group", "uid", "prompt", "target_words", "reference",
"advantages": {member: number}}]}``; member -1 is the human reference. A report page needs only this and the journal.
"""

from collections.abc import Sequence

import numpy as np

from polaris_jax import storage
from polaris_jax.rl.groups import Member


def write_groups(stem: str, step: int, members: Sequence[Member], advantages: np.ndarray | None) -> None:
    """Writes the record of a step beside its journal.

    Args:
      stem: ``Journal.stem``.
      advantages: ``[members]``, as the update uses them; None for ORPO, which has none.
    """
    groups: dict[str, dict] = {}
    for index, member in enumerate(members):
        task = member.request.task
        group = groups.setdefault(
            member.request.group,
            {
                "group": member.request.group,
                "uid": task.uid,
                "prompt": task.request,
                "target_words": task.target_words,
                "reference": None,
                "advantages": {},
            },
        )
        if member.is_human_reference:
            group["reference"] = task.human_reference_text
        if advantages is not None:
            group["advantages"][str(member.request.member)] = float(advantages[index])
    storage.write_json(f"{stem}.groups.json", {"step": step, "groups": list(groups.values())})
