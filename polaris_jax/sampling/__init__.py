"""Writing books: prefill and decode over a key-value cache, grammar-constrained, staged and resumable.

``Sampler`` is a model ready to generate; ``Engine`` serves many requests with it, ``DecodeCache`` is the cache of both;
``write_book`` drives ``trajectory.next_step`` until a book is complete and leaves transcript, run record, plain text
and EPUB in a folder that can be killed and continued at any point.
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
