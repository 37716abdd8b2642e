"""Config files, the package's own by name, and what the command line changes in them."""

import difflib
import importlib.util
import os
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from polaris_jax.errors import InputError
from polaris_jax.options import read_override
from polaris_jax.training.config.door import current_path, flatten, place

# The configs that come with the package, a module each; ``base`` is what others start from.
PACKAGED = Path(__file__).parents[2] / "configs"
_TEXTS = ("heading", "train.wandb")  # values that are no paths


def packaged_configs() -> list[str]:
    """Names of the runs that come with the package, sorted."""
    return sorted(file.stem for file in PACKAGED.glob("*.py") if file.stem not in ("__init__", "base"))


def load_config(path: str | os.PathLike, overrides: Iterable[str] = ()) -> ConfigDict:
    """Runs ``get_config()`` of a Python config file and applies overrides.

    Args:
      path: a file, or the name of a config that comes with the package (``packaged_configs``).
      overrides: ``a.b=value`` each. ``~`` at the start of a value is the home folder, in the file and here.

    Raises:
      InputError: no such file, a file that fails or has no ``get_config``, or an override that is refused.
    """
    file = _find(path)
    spec = importlib.util.spec_from_file_location("polaris_run_config", file)
    if spec is None or spec.loader is None:
        raise InputError("--config", str(path), "is no Python file; its name ends with .py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.get_config() if hasattr(module, "get_config") else None
    except InputError:
        raise
    except Exception as error:
        places = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        line = error.lineno if isinstance(error, SyntaxError) else places[-1] if places else 1
        raise InputError("--config", str(path), f"line {line}: {type(error).__name__}: {error}") from error
    if config is None:
        raise InputError("--config", str(path), "the file defines no get_config(), or it returns nothing")
    return _at_home(apply_overrides(config, overrides))


def _at_home(config: ConfigDict) -> ConfigDict:
    """``~`` and ``~user`` at the start of a value become the home folder, in place, as on the command line."""
    for name, value in flatten(config).items():
        expanded = value if name in _TEXTS else _expanded(value)
        if expanded != value:
            section, leaf = place(config, name)
            section[leaf] = expanded
    return config


def _expanded(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(map(_expanded, value))
    return os.path.expanduser(value) if isinstance(value, str) else value


def _find(path: str | os.PathLike) -> Path:
    """The file at ``path``, or the package's config of that name; a file in the current folder comes first."""
    file = Path(path).expanduser()
    if file.is_file():
        return file
    packaged = PACKAGED / f"{os.fspath(path)}.py"
    if file.parent == Path(".") and packaged.is_file():
        return packaged
    near = difflib.get_close_matches(file.stem, packaged_configs(), n=1, cutoff=0.5)
    hint = f"did you mean --config={near[0]}?" if near else "polaris configs lists those that come with the package"
    raise InputError("--config", str(path), f"no such file; {hint}")


def refuse_other_verb(config: object, verb: str, file: str | None = None) -> None:
    """Refuses a config that was written for another verb than ``rl`` or ``train``, which its sections tell.

    Args:
      config: typed ones pass. file: where it comes from, if a person named a file.

    Raises:
      InputError: names the verb that it is for.
    """
    if not isinstance(config, ConfigDict):
        return
    theirs = "rl" if "rl" in config else "build" if "books" in config else "train" if "data" in config else verb
    if theirs != verb:
        again = f" --config={file}" if file else " with it"
        field, value = ("--config", file) if file else ("config", ", ".join(config))
        raise InputError(field, value, f"is a config of polaris {theirs}; run polaris {theirs}{again}")


def apply_overrides(config: ConfigDict, overrides: Iterable[str]) -> ConfigDict:
    """Sets ``a.b=value`` fields in place; values are Python literals, anything else is a string.

    Raises:
      InputError: an unknown field (with the nearest known one) or a value of another type.
    """
    for text in overrides:
        name, value = read_override(text, flatten(config), current=lambda name: current_path(config, name))
        section, leaf = place(config, name)
        section[leaf] = value
    return config
