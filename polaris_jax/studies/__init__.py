"""Studies of a trained model, made of ``evals``: style, memorisation, prompting baselines, ablations.

``style`` compares generations with human novels, ``memorisation`` looks for verbatim training text in continuations,
``baselines`` writes stories by prompting methods, ``ablation`` trains and measures a sweep of runs. Only the commands
import this room.
"""
