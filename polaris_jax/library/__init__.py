"""Reading a novel: a file becomes clean chapters and scenes, or one sentence on why it is no novel.

``read_novel(path)`` decodes (``encoding``, ``epub``), finds the book inside its licence frame (``gutenberg``), cuts it
into blocks without captions and notes (``blocks``), reads its headings (``headings``, ``candidates``, ``outline``,
``titles``), builds chapters (``chapters``, ``names``, ``prose``), cuts scenes (``scenes``) and judges the whole
(``accept``, ``language``). ``segment_record`` is the JSON line of ``polaris segment``. Pure Python and NumPy.
"""

from polaris_jax.library.novel import Novel, NovelChapter
from polaris_jax.library.read import read_novel, segment_record

__all__ = ["Novel", "NovelChapter", "read_novel", "segment_record"]
