"""Turns transcripts, and rows of any format (``formats``), into training batches.

It holds tokenizers that spell text exactly, the TensorStore token store (on a disk or in a bucket), the offline bin
plan, zigzag order for context parallelism, and batches that are a pure function of the step.
"""

from polaris_jax.data.chat import ChatTemplate, load_chat_template
from polaris_jax.data.encode import encode_transcript, truncate
from polaris_jax.data.loader import Batches, BatchSource
from polaris_jax.data.mixture import Curriculum, Mixture
from polaris_jax.data.packing import BinPlan, plan_bins
from polaris_jax.data.placement import iterate_placed, place
from polaris_jax.data.record import Trajectory
from polaris_jax.data.stage_tokens import add_stage_tokens
from polaris_jax.data.store import TokenStore
from polaris_jax.data.tokenizer import STAGE_TOKENS, Tokenizer, load_tokenizer, train_sentencepiece
from polaris_jax.data.zigzag import zigzag_inverse, zigzag_order

__all__ = [
    "STAGE_TOKENS",
    "BatchSource",
    "Batches",
    "BinPlan",
    "ChatTemplate",
    "Curriculum",
    "Mixture",
    "TokenStore",
    "Tokenizer",
    "Trajectory",
    "add_stage_tokens",
    "encode_transcript",
    "iterate_placed",
    "load_chat_template",
    "load_tokenizer",
    "place",
    "plan_bins",
    "train_sentencepiece",
    "truncate",
    "zigzag_inverse",
    "zigzag_order",
]
