"""``polaris convert SRC hf://user/name``: a model or an adapter on the Hugging Face Hub, with a card of its run.

The card says what the run's own files say: base model, data, numbers of the run, losses, and how to prompt.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from typing import Any

from polaris_jax import storage
from polaris_jax.converting import convert
from polaris_jax.errors import InputError
from polaris_jax.hub import repository_of, upload
from polaris_jax.models.adapters import ADAPTER_CONFIG
from polaris_jax.models.model_folder import find_model_folder
from polaris_jax.report import RunState, read_state
from polaris_jax.training.run_adapter import RUN_FILE

CARD = "README.md"
_SHOWN = 20  # books or files that are named
_RECIPE = (
    "train.steps",
    "data.window",
    "data.batch_size",
    "optim.learning_rate",
    "adapter.rank",
    "adapter.base",
    "seed",
)


def publish(src: str, dst: str, *, licence: str | None, public: bool = False, **how: Any) -> str:
    """Converts the model at ``src`` and uploads it, with its card, in one commit.

    Args:
      src, how: as for ``converting.convert``. dst: ``hf://user/name``.
      licence: of what is uploaded, as the Hub writes them (``apache-2.0``, ``other``). public: of a new repository.

    Returns:
      One line that says what was written and where.

    Raises:
      InputError: no licence, an unknown source, or the Hub refuses.
    """
    repository = repository_of(dst)
    if not licence:
        raise InputError("--licence", "", "say under which licence it is published: apache-2.0, cc-by-4.0, other, ...")
    with tempfile.TemporaryDirectory() as place:
        folder = os.path.join(place, repository.partition("/")[2])
        said = convert(src, folder, **how).removeprefix(f"{folder}: ")
        with open(os.path.join(folder, CARD), "w", encoding="utf-8") as file:
            file.write(model_card(src, repository, folder, licence))
        return f"{upload(folder, dst, public=public)}: {said}"


def model_card(src: str, repository: str, folder: str, licence: str) -> str:
    """The card of what lies in ``folder``, converted from ``src``.

    Args:
      src: a training run, of which the card tells; of any other model it says what is known without one.
      repository: ``user/name``.
    """
    model = find_model_folder(src, "SRC") if _is_folder(src) else None
    run = model.run if model else None
    about: dict[str, Any] = (storage.read_json(storage.join(run, RUN_FILE)) or {}) if run else {}
    adapter = os.path.exists(os.path.join(folder, ADAPTER_CONFIG))
    base = _base(about, folder)
    head = [f"license: {json.dumps(licence)}", "pipeline_tag: text-generation", "tags: [polaris-jax]"]
    head += [f"library_name: {'peft' if adapter else 'transformers'}"] if _opens_in_transformers(folder) else []
    head += [f"base_model: {base}"] if base and _is_repository(base) else []
    parts = ["---", *head, "---", "", f"# {repository.partition('/')[2]}", "", _what(adapter, base), ""]
    if run:
        parts += [*_data(about), *_training(about, read_state(run))]
    parts += _prompting(repository, folder, base, adapter)
    return "\n".join(parts)


def _is_folder(src: str) -> bool:
    return storage.is_remote(src) or os.path.isdir(src)


def _is_repository(base: str) -> bool:
    return not os.path.isabs(base) and base.count("/") == 1


def _opens_in_transformers(folder: str) -> bool:
    return any(name.endswith(".safetensors") for name in os.listdir(folder))


def _base(about: Mapping[str, Any], folder: str) -> str:
    """The model that was trained on: a repository, or the name of a folder, whose place is nobody's business."""
    settings = storage.read_json(os.path.join(folder, ADAPTER_CONFIG)) or {}
    found = str(about.get("model_path") or settings.get("base_model_name_or_path") or "").removeprefix("hf://")
    return found if _is_repository(found) else os.path.basename(found.rstrip("/"))


def _what(adapter: bool, base: str) -> str:
    on = f" of `{base}`" if base else ""
    return f"A LoRA adapter{on}." if adapter else f"A language model{f', trained from `{base}`' if base else ''}."


def _data(about: Mapping[str, Any]) -> list[str]:
    store = str(about.get("store") or "")
    report = (storage.read_json(storage.join(store, "build_report.json")) or {}) if store else {}
    lines = ["## Data", ""]
    if not report:
        return [*lines, "The run's folder does not say what its data were.", ""]
    trajectories = report.get("trajectories", 0)
    count = len(trajectories) if isinstance(trajectories, list) else trajectories
    lines += [f"{count:,} texts, {report.get('tokens', 0):,} tokens:", ""]
    sources = [
        f"{book.get('title')}, {book.get('author')}"
        for book in report.get("books", [])
        if book.get("status") == "built"
    ] or [f"`{file['file']}` ({file['format']}, {file['rows']} rows)" for file in report.get("files", [])]
    lines += [f"* {source}" for source in sources[:_SHOWN]]
    lines += [f"* and {len(sources) - _SHOWN} more"] if len(sources) > _SHOWN else []
    return [*lines, ""]


def _training(about: Mapping[str, Any], state: RunState) -> list[str]:
    config = about.get("config", {})
    rows = [(name, config[name]) for name in _RECIPE if config.get(name) not in (None, 0, "auto") or name == "seed"]
    lines = [
        "## Training",
        "",
        f"{state.step} steps, {state.tokens:,.0f} tokens.",
        "",
        "| field | value |",
        "|---|---|",
    ]
    lines += [f"| `{name}` | {value} |" for name, value in rows]
    lines += ["", "Loss in nats per token, the mean of the first and of the last quarter of the run:", ""]
    lines += ["| loss | first | last |", "|---|---|---|"]
    lines += [f"| `{one.name}` | {one.first:.3f} | {one.last:.3f} |" for one in state.losses]
    held = [record["eval/loss"] for record in state.records if record.get("eval/loss") is not None]
    lines += ["", f"On held-out text: {held[0]:.3f} first, {held[-1]:.3f} last."] if held else []
    return [*lines, ""]


def _prompting(repository: str, folder: str, base: str, adapter: bool) -> list[str]:
    chat = os.path.exists(os.path.join(folder, "chat_template.jinja")) or "chat_template" in (
        storage.read_json(os.path.join(folder, "tokenizer_config.json")) or {}
    )
    asked = "its chat template" if chat else "plain text, which it continues"
    lines = ["## How to prompt", "", f"With {asked}.", ""]
    files = [name for name in sorted(os.listdir(folder)) if name.endswith(".gguf")]
    if files and files[0].endswith("-lora.gguf"):
        run = f"llama-cli --model BASE.gguf --lora {files[0]} --prompt 'Once'"
        return [*lines, "```bash", run, "```", "", f"`BASE.gguf` is {base or 'the base model'} as a GGUF file.", ""]
    if files:
        return [*lines, "```bash", f"llama-cli --model {files[0]} --prompt 'Once'", "```", ""]
    if not _opens_in_transformers(folder):
        return [*lines, "```bash", f"polaris write --checkpoint=hf://{repository} --prompt='Once'", "```", ""]
    lines += ["```python", "from transformers import AutoModelForCausalLM, AutoTokenizer"]
    if adapter:
        lines += ["from peft import PeftModel", "", f"base = AutoModelForCausalLM.from_pretrained({base!r})"]
        lines += [f"model = PeftModel.from_pretrained(base, {repository!r})"]
    else:
        lines += ["", f"model = AutoModelForCausalLM.from_pretrained({repository!r})"]
    lines += [f"tokenizer = AutoTokenizer.from_pretrained({repository!r})"]
    if chat:
        lines += ["turns = [{'role': 'user', 'content': 'Write a scene at a ferry.'}]"]
        lines += ["asked = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors='pt')"]
    else:
        lines += ["asked = tokenizer('Once', return_tensors='pt')"]
    return [*lines, "print(tokenizer.decode(model.generate(**asked, max_new_tokens=200)[0]))", "```", ""]
