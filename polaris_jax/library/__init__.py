"""Reads a novel: a file becomes clean chapters and scenes, or one sentence that says why it is not a novel.

``read_novel(path)`` decodes the file (``encoding``, ``epub``), finds the book inside its licence frame (``gutenberg``),
cuts it into blocks without captions and notes (``blocks``), reads its headings (``headings``, ``candidates``,
``outline``, ``titles``), builds chapters (``chapters``, ``names``, ``prose``), cuts scenes (``scenes``) and checks the
whole (``accept``, ``language``). ``segment_record`` is the JSON line of ``polaris segment``. A collection is read as
stories (``collection``, ``story_heads``). Pure Python and NumPy.
"""

from polaris_jax.library.account import Account, Dropped
from polaris_jax.library.collection import CollectedStory, is_collection, read_collection
from polaris_jax.library.novel import Novel, NovelChapter
from polaris_jax.library.read import read_novel
from polaris_jax.library.record import account_record, segment_record

__all__ = [
    "Account",
    "CollectedStory",
    "Dropped",
    "Novel",
    "NovelChapter",
    "account_record",
    "is_collection",
    "read_collection",
    "read_novel",
    "segment_record",
]
