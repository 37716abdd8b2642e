"""Writing books: prefill and decode over a key-value cache, grammar-constrained, staged and resumable.

``Sampler`` reads and draws; ``write_book`` drives ``trajectory.next_step`` with it until a book is complete and leaves
transcript, run record, plain text and EPUB in a folder that can be killed and continued at any point.
"""

from polaris_jax.sampling.constraint import Constraint, grammar_tokenizer
from polaris_jax.sampling.export import export_epub, export_text, readable
from polaris_jax.sampling.guard import LoopGuard
from polaris_jax.sampling.options import Drawn, SamplingOptions
from polaris_jax.sampling.progress import LiveProgress, Progress
from polaris_jax.sampling.sampler import Sampler, Session
from polaris_jax.sampling.step_writer import WriterSettings, WritingError
from polaris_jax.sampling.writer import WrittenBook, write_book

__all__ = [
    "Constraint", "Drawn", "LiveProgress", "LoopGuard", "Progress", "Sampler", "SamplingOptions", "Session",
    "WriterSettings", "WritingError", "WrittenBook", "export_epub", "export_text", "grammar_tokenizer", "readable",
    "write_book",
]  # fmt: skip
