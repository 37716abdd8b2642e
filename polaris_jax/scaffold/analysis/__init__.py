"""Measures a novel's prose without a model; both annotators use it.

``sentences`` cuts prose and finds speech, ``names`` finds people and places, ``verbs`` finds and changes tenses,
``lexicons`` holds the word lists, and ``rewording`` keeps a note from quoting the novel. ``analyse(text)`` in
``novel_stats`` measures everything that is measured once per novel.
"""
