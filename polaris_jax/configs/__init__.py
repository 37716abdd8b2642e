"""The configs that come with the package; ``polaris configs`` lists them, ``--config=NAME`` takes one.

Every module has ``get_config()``, and a docstring that is a reproducible claim: hardware, time, expected result and the
exact command. ``base`` is what the runs on books share and no run of its own. ``models/`` holds shapes (``config.json``
without weights), so that ``polaris plan`` works before any weights are there; ``model.path`` takes their names too.
"""
