"""The adapter of a training run. Its checkpoints hold only the adapter; ``run.json`` names the base model."""

from collections.abc import Mapping
from dataclasses import dataclass

from polaris_jax import storage
from polaris_jax.models.adapter_folder import PREFIX, peft_settings
from polaris_jax.models.adapters import Adapter, open_adapter
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.folder import open_folder
from polaris_jax.models.lora import Lora
from polaris_jax.models.model_folder import find_model_folder
from polaris_jax.models.orbax_folder import open_model
from polaris_jax.models.tensors import HFTensor
from polaris_jax.options import build
from polaris_jax.training.config import AdapterOptions, adapter_of

RUN_FILE = "run.json"
_SECTION = "adapter."


@dataclass(frozen=True)
class RunAdapter:
    """``lora`` as the run's config has it; ``base`` is the address of the model that it was trained on."""

    lora: Lora
    base: str

    def open_base(self) -> tuple[ModelConfig, dict[str, HFTensor]]:
        """Config and tensors of the base model, no values read yet.

        Raises:
          InputError: it is not where it was.
        """
        found = find_model_folder(self.base, "the run's config.model.path")
        return open_model(open_folder(found.weights), found.hf_config)

    def settings(self, config: ModelConfig) -> dict:
        """What PEFT's ``adapter_config.json`` says of it; ``config`` is the base model's."""
        return peft_settings(config, self.lora, self.base)

    def open(self, run: str, config: ModelConfig, trained: Mapping[str, HFTensor]) -> Adapter:
        """The adapter of the tensors that learned, by the base model's names."""
        return open_adapter(run, self.settings(config), {PREFIX + name: tensor for name, tensor in trained.items()})


def run_adapter(run: str) -> RunAdapter | None:
    """What the run in this folder trains instead of a whole model; None if that is what it trains."""
    about = storage.read_json(storage.join(run, RUN_FILE)) or {}
    written = about.get("config", {})
    rows = {name.removeprefix(_SECTION): value for name, value in written.items() if name.startswith(_SECTION)}
    lora = adapter_of(build(AdapterOptions, rows, where="config.adapter"))
    return None if lora is None else RunAdapter(lora, about["model_path"])
