"""Studies of a trained model, built on ``evals``: style, memorisation, prompting baselines, ablations, plans.

``style`` compares generations with human novels, ``memorisation`` looks for verbatim training text in continuations,
``baselines`` writes stories by prompting methods, ``ablation`` trains and measures a sweep of runs, ``plans`` measures
whether plans help. Only the commands import this room.
"""
