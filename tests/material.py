"""What a small run needs: a random model with a tokenizer of its own, and a real store of the bundled novel."""

from importlib.resources import files
from pathlib import Path

from small_models import save_small_llama

from polaris_jax.corpus import BuildOptions, build_library, find_books, plan_novel
from polaris_jax.data import train_sentencepiece
from polaris_jax.library import read_novel
from polaris_jax.scaffold import OfflineAnnotator
from polaris_jax.trajectory import render


def make_material(root: Path, window: int) -> Path:
    """Fills a folder with ``model/`` (32 wide, 2 layers) and ``store/`` (mini volumes of the novel); returns it."""
    options = BuildOptions(window=window, chapters=(2, 2), shares=(1.0, 0.0, 0.0))
    paths = find_books([files("polaris_jax") / "library" / "books" / "*.txt"])
    rough = BuildOptions(window=4 * window, chapters=(2, 2))
    sample = list(map(render, plan_novel(read_novel(paths[0]), OfflineAnnotator(), rough, len)))
    tokenizer = train_sentencepiece(sample, 1000)
    save_small_llama(root / "model", tokenizer.vocab_size, window)
    tokenizer.save(str(root / "model"))
    build_library(paths, root / "store", tokenizer, options, workers=1)
    return root
