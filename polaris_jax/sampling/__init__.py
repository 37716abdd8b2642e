"""Writes books: prefill and decode with a key-value cache, constrained by grammars, step by step and resumable.

``Sampler`` is a model ready to generate. ``DecodeCache`` holds texts and their key-value cache. ``Engine`` serves many
requests at once. ``write_book`` writes step after step until a book is complete. It puts transcript, run record, plain
text and EPUB into a folder, and can be killed and continued at any point.
"""

from polaris_jax.sampling.constraint import Constraint, grammar_tokenizer
from polaris_jax.sampling.decode_cache import DecodeCache
from polaris_jax.sampling.dry import DryOptions
from polaris_jax.sampling.editing import edit_stage, replace_stage
from polaris_jax.sampling.engine import Engine
from polaris_jax.sampling.export import export_epub, export_text, readable
from polaris_jax.sampling.guard import LoopGuard
from polaris_jax.sampling.options import SampledTokens, SamplingOptions
from polaris_jax.sampling.progress import LiveProgress, Progress, StreamProgress
from polaris_jax.sampling.request import Completion, GenerationRequest, TokenEvent
from polaris_jax.sampling.sampler import Sampler
from polaris_jax.sampling.scene_redo import redo_scene
from polaris_jax.sampling.settings import WriterSettings
from polaris_jax.sampling.step_writer import WritingError
from polaris_jax.sampling.writer import WrittenBook, write_book

__all__ = [
    "Completion",
    "Constraint",
    "DecodeCache",
    "DryOptions",
    "Engine",
    "GenerationRequest",
    "LiveProgress",
    "LoopGuard",
    "Progress",
    "SampledTokens",
    "Sampler",
    "SamplingOptions",
    "StreamProgress",
    "TokenEvent",
    "WriterSettings",
    "WritingError",
    "WrittenBook",
    "edit_stage",
    "export_epub",
    "export_text",
    "grammar_tokenizer",
    "readable",
    "redo_scene",
    "replace_stage",
    "write_book",
]
