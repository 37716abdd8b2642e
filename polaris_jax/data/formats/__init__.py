"""Reads files of chats, instructions, completions, preference pairs, texts and trajectories as records.

``read_file`` recognises a file by its content and yields its rows. Every row says where it stands (``file:line``), what
it is (``records``) and which of its fields are not used. ``table`` has the formats of a JSON object, with one reader
each (``chats``, ``instructions``, ``preferences``). ``files`` opens JSON lines, JSON arrays, Parquet and manuscripts.
"""

from polaris_jax.data.formats.files import Source, find_files, read_file
from polaris_jax.data.formats.records import Chat, Pair, PlainDocument, PromptCompletion, Record, Row, Transcript
from polaris_jax.data.formats.table import FORMATS, format_of

__all__ = [
    "FORMATS",
    "Chat",
    "Pair",
    "PlainDocument",
    "PromptCompletion",
    "Record",
    "Row",
    "Source",
    "Transcript",
    "find_files",
    "format_of",
    "read_file",
]
