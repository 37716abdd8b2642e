"""One module per verb of ``polaris``: its flags, and the calls that they lead to.

A verb's module has a docstring whose first line is the verb's help, ``add_flags(parser)`` and ``run(arguments) -> exit
code``. It imports other rooms only inside its functions, so that ``polaris inspect`` does not start JAX. ``arguments``
also has ``overrides`` (the texts after ``--config.``, if the verb sets ``takes_config=True``) and ``unknown`` (other
flags, for a verb that passes them on and sets ``takes_unknown=True``).
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
