"""The benchmarks of ``polaris evaluate``, one module each: ``HELP`` (name → one line), ``add_flags``, ``run``.

``judge_flags`` and ``story_flags`` are what several of them share: who judges, and where stories come from.
"""
