"""The settings of ``polaris demo``: what a person chooses, the training config and the profile of the book."""

from dataclasses import dataclass, replace
from pathlib import Path

from polaris_jax.training import default_config
from polaris_jax.training.config import ConfigDict
from polaris_jax.trajectory import Profile, mini_profile

DEFAULT_PROMPT = (
    "A short novel about a surveyor who comes to a village in the hills to settle an old quarrel over "
    "water, and finds that nobody wants it settled. Quiet tone, exact detail."
)


@dataclass(frozen=True)
class DemoSettings:
    """What a person chose; two runs with equal settings are the same run.

    Attributes:
      books: paths or globs; empty means the novel that ships with the package.
      tiny: a random model of a few million parameters with its own tokenizer instead of SmolLM2-135M.
      window: tokens per row. steps: optimizer steps. trajectories: trained on, evenly spread over the store.
      learning_rate: peak. prompt: what the book is to be about. seed: of everything.
    """

    books: tuple[str, ...] = ()
    tiny: bool = False
    window: int = 2048
    steps: int = 6
    trajectories: int = 2
    learning_rate: float = 1e-3
    precision: str = "fp32_master"
    prompt: str = DEFAULT_PROMPT
    seed: int = 0


def tiny_settings(settings: DemoSettings) -> DemoSettings:
    """The same demo for a model that starts from nothing: more steps, a higher rate."""
    return replace(settings, tiny=True, steps=32, trajectories=4, learning_rate=1e-2)


def demo_config(settings: DemoSettings, model: Path, store: Path) -> ConfigDict:
    """The demo's training run: full-parameter, float32, every host device on the ``context`` axis."""
    config = default_config()
    config.seed = settings.seed
    config.model.update({"path": str(model), "compute_dtype": "float32", "remat": "dots", "attention_block": 128})
    config.data.update(
        {"store": str(store), "window": settings.window, "max_trajectories": settings.trajectories, "threads": 1}
    )
    config.loss.chunk = 128  # four devices hold their chunk of logits at once
    # Three Newton-Schulz steps instead of the usual five, which on two cores would be a third of a training step.
    config.optim.update(
        {
            "learning_rate": settings.learning_rate,
            "warmup": 2,
            "newton_schulz_dtype": "float32",
            "newton_schulz_steps": 3,
            "precision": settings.precision,
        }
    )
    config.train.update(
        {
            "steps": settings.steps,
            "checkpoint_every": max(1, settings.steps // 3),
            "keep_checkpoints": 1,
            "async_checkpoints": False,
        }
    )
    return config


def demo_profile(window: int) -> Profile:
    """A book of two short chapters with the smallest plan the grammar allows."""
    return mini_profile(
        window,
        chapters=(2, 2),
        arcs=(1, 1),
        chapter_words=(100, 150),
        scenes=(1, 1),
        rules=(1, 2),
        short=(1, 1),
        medium=(1, 1),
        long=(1, 2),
        style=(1, 2),
        archetypes=(1, 1),
        archetype_bullets=(1, 1),
        characters=(1, 1),
        character_bullets=(1, 1),
        chapter_summary=(1, 2),
        scene_summary=(1, 1),
        focuses=(1, 1),
        highlight_words=(55, 60),
        archetype_words=(45, 50),
        tag_words=(1, 3),
        bullet_chars=90,
    )
