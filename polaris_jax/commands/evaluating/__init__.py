"""The benchmarks and studies of ``polaris evaluate``: modules with ``HELP`` (name → one line), ``add_flags``, ``run``.

``judge_flags`` (judges) and ``story_flags`` (sources of stories) are shared by several of them.
"""
