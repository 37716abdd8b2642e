"""The offline annotator: no model, no network, the same plan every time.

``annotator`` puts the parts of a plan in order. It extracts rather than invents: ``notes`` rewrites sentences of the
book, ``ranking`` chooses which, and ``cast``, ``world``, ``vectors`` and ``pitch`` count.
"""

from polaris_jax.scaffold.offline.annotator import OfflineAnnotator

__all__ = ["OfflineAnnotator"]
