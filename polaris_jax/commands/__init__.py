"""One module per verb of ``polaris``: its flags, and the calls they turn into.

A verb's module has a docstring whose first line is the verb's help, ``add_flags(parser)`` and ``run(arguments) -> exit
code``. It imports rooms inside its functions only, so that ``polaris inspect`` starts no JAX. ``arguments`` also
carries ``overrides`` (the texts after ``--config.``; the verb sets ``takes_config=True``) and ``unknown`` (other flags,
for a verb that passes them on: ``takes_unknown=True``).
"""

VERBS = (
    "demo",
    "segment",
    "build",
    "inspect",
    "train",
    "rl",
    "watch",
    "plan",
    "write",
    "serve",
    "evaluate",
    "convert",
    "pairs",
    "score",
    "doctor",
    "configs",
    "launch",
)
