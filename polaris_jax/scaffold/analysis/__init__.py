"""Measures a novel's prose without a model; both annotators use it.

``sentences`` cuts prose and finds speech, ``names`` finds people and places, ``tagging`` knows parts of speech,
``verbs`` changes tenses, ``articles`` chooses *a* or *an*, ``cutting`` knows where a sentence can end, ``lexicons``
holds the word lists, and ``rewording`` keeps a note from quoting the novel. ``analyse(text)`` in ``novel_stats``
measures everything that is measured once per novel.
"""
