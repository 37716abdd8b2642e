"""What can be measured in a novel's prose without a model; both annotators build on it.

``sentences`` cuts prose and finds what is spoken, ``names`` finds people and places, ``verbs`` knows tenses,
``lexicons`` holds the word lists, and ``rewording`` keeps a note from quoting the novel. ``novel_stats`` gathers
everything measured once per novel: ``analyse(text)``.
"""
