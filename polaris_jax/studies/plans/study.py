"""``run_plan_study``: does a plan help? One fine-tune per kind of plan, all of them measured on held-out books.

OUT/plans/KIND/BOOK.json     the cards of a book's openings
OUT/arms/NAME/KEY/           store and run: an arm's training data, and its training (which resumes by itself)
OUT/arms/NAME/losses.json    losses per word; result.json, written last, has the generated passages too

Every arm sees the same passages in the same order. Only the text before them differs, and only the passages are
learnt. Finished parts are kept: the same call continues where a killed one stopped.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jax
import numpy as np

from polaris_jax import storage
from polaris_jax.data import Tokenizer, TokenStore, Trajectory, load_tokenizer
from polaris_jax.errors import InputError
from polaris_jax.models.config import ModelConfig
from polaris_jax.sampling import Engine, GenerationRequest, Sampler, SamplingOptions
from polaris_jax.studies.plans.cards import OpeningPlan, heading
from polaris_jax.studies.plans.likelihood import ConditionedText, passage_nats, word_nats
from polaris_jax.studies.plans.openings import SHUFFLES, ChapterOpening, shuffled
from polaris_jax.training import default_config, load_weights, train
from polaris_jax.training.config import ConfigDict
from polaris_jax.trajectory import KINDS, ROLES

SCORED, RESULT = "losses.json", "result.json"
BASE, NO_PLAN = "base", "no plan"  # the model before training; the arm that is trained on prose alone
NONE, RIGHT = "none", "right"  # conditions: which plan stands before a passage, besides SHUFFLES
_BLOCK = 128  # tokens of an attention tile; rows are a multiple
Plans = Mapping[str, OpeningPlan]  # by id of the opening


@dataclass(frozen=True)
class PlanStudySpec:
    """Settings of all arms.

    Attributes:
      steps, batch, learning_rate: settings of the fine-tunes, with AdamW; a step learns ``batch`` passages.
      generated: tokens per generated passage; 0 generates none.
      temperature, seed: sampling settings of these passages.
    """

    steps: int = 8
    batch: int = 2
    learning_rate: float = 1e-4
    generated: int = 80
    temperature: float = 0.8
    seed: int = 0


def run_plan_study(
    model: str | os.PathLike[str],
    train_on: Sequence[ChapterOpening],
    held_out: Sequence[ChapterOpening],
    plans: Mapping[str, Plans],
    out: str | os.PathLike[str],
    spec: PlanStudySpec = PlanStudySpec(),
    say: Callable[[str], None] = lambda line: None,
    arms: Sequence[str] | None = None,
) -> list[dict]:
    """Trains and measures every arm: the base model, one without plans, one per kind of plan.

    Args:
      model: Hugging Face folder with stage tokens.
      plans: kind -> cards of all openings.
      out: local folder.
      say: called with lines of progress.
      arms: only these; the others can follow in a later call.

    Returns:
      One JSON-ready result per arm: ``losses[kind][condition][id]`` are nats per word of the passage, conditions are
      ``none`` (under kind ``""``), ``right`` and ``SHUFFLES``; ``texts[kind][id]`` are generated passages.

    Raises:
      InputError: an opening without a plan, an author on both sides, or an unknown arm.
    """
    every = (BASE, NO_PLAN, *plans)
    if unknown := [name for name in arms or () if name not in every]:
        raise InputError("arms", unknown[0], f"use some of {', '.join(every)}")
    shared = {one.author for one in train_on} & {one.author for one in held_out}
    if shared:
        raise InputError("books", ", ".join(sorted(shared)), "is trained on and held out; move one of the books")
    for kind, cards in plans.items():
        if missing := [one.id for one in (*train_on, *held_out) if one.id not in cards]:
            raise InputError("plans", missing[0], f"has no plan of kind {kind!r}; make one for every opening")
    tokenizer = load_tokenizer(model)
    results = []
    for name in every if arms is None else arms:
        place = os.path.join(os.fspath(out), "arms", name.replace(" ", "_"))
        shown = {kind: plans[kind] for kind in plans if name in (BASE, kind)}
        taught = None if name == BASE else plans.get(name, {})
        identity = _identity(os.fspath(model), tokenizer, name, train_on, held_out, taught, shown, spec)
        result = storage.read_json(os.path.join(place, RESULT))
        if result is None or result["identity"] != identity:
            checkpoint = os.fspath(model)
            if taught is not None:
                checkpoint = _trained(
                    checkpoint, tokenizer, train_on, taught, f"{place}/{identity[:12]}", spec, name, say
                )
            arm = _Arm(name, *load_weights(checkpoint, dtype="float32")[:2], tokenizer, spec, say)
            scored = storage.read_json(os.path.join(place, SCORED))
            if scored is None or scored["identity"] != identity:
                scored = {"identity": identity, "arm": name, "losses": arm.losses(held_out, shown)}
                storage.write_json(os.path.join(place, SCORED), scored)
            result = {**scored, "texts": arm.texts(held_out, shown)}
            storage.write_json(os.path.join(place, RESULT), result)
        say(f"{name}: done")
        results.append(result)
    return results


def trajectory_of(opening: ChapterOpening, plan: OpeningPlan | None, tokenizer: Tokenizer) -> Trajectory:
    """An opening after its heading; only the opening is learnt."""
    text = ConditionedText.of(heading(plan), opening.text, tokenizer)
    learnt = np.arange(len(text.tokens)) >= text.start
    roles = np.where(learnt, ROLES.index("chapter_text"), ROLES.index("prompt")).astype(np.int8)
    kinds = np.full(len(learnt), KINDS.index("prose"), np.int8)
    return Trajectory(text.tokens, roles, kinds, learnt.astype(np.float32))


def padded(one: Trajectory, window: int) -> Trajectory:
    """A trajectory padded to the length of the window with tokens that are not learnt.

    Otherwise short trajectories would share a row, and steps of different arms would learn different numbers of
    passages.
    """
    more = window - len(one)
    tokens, roles, kinds = (
        np.concatenate([array, np.repeat(array[-1:], more)]) for array in (one.tokens, one.roles, one.kinds)
    )
    return Trajectory(tokens, roles, kinds, np.concatenate([one.weights, np.zeros(more, np.float32)]))


def _trained(
    model: str,
    tokenizer: Tokenizer,
    openings: Sequence[ChapterOpening],
    plans: Plans,
    place: str,
    spec: PlanStudySpec,
    name: str,
    say: Callable[[str], None],
) -> str:
    """The folder of the finished fine-tune."""
    store = os.path.join(place, "store")
    documents = [trajectory_of(opening, plans.get(opening.id), tokenizer) for opening in openings]
    window = -(-max(map(len, documents)) // _BLOCK) * _BLOCK
    with TokenStore.create(store, tokenizer) as writer:
        for opening, one in zip(openings, documents, strict=True):
            writer.append(padded(one, window), {"title": opening.id, "author": opening.author, "split": "train"})
    run = os.path.join(place, "run")
    done = train(
        _config(model, store, window, spec),
        run,
        on_step=lambda record: say(
            f"{name}: step {record['step']} of {spec.steps}, loss {record['loss']:.3f}, {record['step_time_s']:.1f} s"
        ),
    )
    if not done.finished:
        raise KeyboardInterrupt
    return run


def _config(model: str, store: str, window: int, spec: PlanStudySpec) -> ConfigDict:
    config = default_config()
    config.seed = spec.seed
    config.model.update({"path": model, "compute_dtype": "float32", "remat": "dots", "attention_block": _BLOCK})
    config.data.update({"store": store, "window": window, "batch_size": spec.batch, "threads": 1})
    config.loss.chunk = 256
    # AdamW for all: orthogonalising updates would take as long as training on the passages.
    config.optim.update({"learning_rate": spec.learning_rate, "warmup": spec.steps // 5, "groups": (("", "adamw"),)})
    config.train.update(
        {
            "steps": spec.steps,
            "checkpoint_every": max(1, spec.steps // 2),
            "keep_checkpoints": 1,
            "async_checkpoints": False,
        }
    )
    return config


@dataclass
class _Arm:
    """A model under measurement."""

    name: str
    config: ModelConfig
    params: Any
    tokenizer: Tokenizer
    spec: PlanStudySpec
    say: Callable[[str], None]

    def losses(self, openings: Sequence[ChapterOpening], shown: Mapping[str, Plans]) -> dict[str, dict]:
        """Kind -> condition -> id -> nats per word."""
        swaps = shuffled(openings)
        cases: list[tuple[str, str, ChapterOpening, OpeningPlan | None]] = [("", NONE, one, None) for one in openings]
        for kind, cards in shown.items():
            cases += [(kind, RIGHT, one, cards[one.id]) for one in openings]
            cases += [(kind, how, one, cards[swaps[how][one.id]]) for how in SHUFFLES for one in openings]
        texts = [ConditionedText.of(heading(plan), one.text, self.tokenizer) for _, _, one, plan in cases]

        def progress(done: int) -> None:
            if done % 20 == 0 or done == len(texts):
                self.say(f"{self.name}: {done} of {len(texts)} passages scored")

        found = passage_nats(self.params, self.config, texts, progress=progress)
        pieces = self.tokenizer.token_bytes()
        losses: dict[str, dict] = {}
        for (kind, condition, one, _), text, nats in zip(cases, texts, found, strict=True):
            words = word_nats(nats, text.tokens[text.start :], one.text, pieces)
            losses.setdefault(kind, {}).setdefault(condition, {})[one.id] = [round(float(n), 4) for n in words]
        return losses

    def texts(self, openings: Sequence[ChapterOpening], shown: Mapping[str, Plans]) -> dict[str, dict[str, str]]:
        """Kind -> id -> a passage that the model writes from the right plan; kind ``""`` without plans."""
        if not self.spec.generated:
            return {}
        kinds: dict[str, Plans] = dict(shown) or {"": {}}
        heads = [(kind, one, heading(kinds[kind].get(one.id))) for kind in kinds for one in openings]
        prompts = [self.tokenizer.encode(head).tolist() for _, _, head in heads]
        longest = max(map(len, prompts)) + self.spec.generated
        # Stacked layers: with so few tokens, compiling every layer by itself would take most of the time.
        params = jax.device_put(self.params, jax.devices()[0])
        sampler = Sampler(params, self.config, self.tokenizer, max_length=longest, prefill_chunk=64)
        requests = [
            GenerationRequest(
                prompt,
                SamplingOptions(temperature=self.spec.temperature),
                seed=self.spec.seed + number % len(openings),
                max_tokens=self.spec.generated,
                ignore_eos=True,
            )
            for number, prompt in enumerate(prompts)
        ]
        self.say(f"{self.name}: {len(requests)} passages are written")
        done = Engine(sampler, min(8, len(requests))).generate(requests)
        found: dict[str, dict[str, str]] = {}
        for (kind, one, _), completion in zip(heads, done, strict=True):
            found.setdefault(kind, {})[one.id] = self.tokenizer.decode(list(completion.tokens)).strip()
        return found


def _identity(
    model: str,
    tokenizer: Tokenizer,
    name: str,
    train_on: Sequence[ChapterOpening],
    held_out: Sequence[ChapterOpening],
    taught: Plans | None,
    shown: Mapping[str, Plans],
    spec: PlanStudySpec,
) -> str:
    """Hash of everything that an arm's result depends on."""
    content = [
        os.path.abspath(model),
        tokenizer.fingerprint,
        name,
        [asdict(one) for one in held_out],
        None if taught is None else [[asdict(one) for one in train_on], {k: heading(p) for k, p in taught.items()}],
        {kind: {k: heading(plan) for k, plan in cards.items()} for kind, cards in shown.items()},
        asdict(spec),
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
