"""``polaris configs``: the configs and shapes that come with the package, or the text of one."""

import argparse
import ast
import json


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The verb's flags."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="print this config: a file to copy and change")
    parser.add_argument("--values", action="store_true", help="with NAME: every field with its value instead")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb; returns the exit code.

    Raises:
      InputError: no config of that name.
    """
    from polaris_jax.errors import InputError
    from polaris_jax.models.model_folder import packaged_shapes
    from polaris_jax.training.config.files import PACKAGED, packaged_configs

    name = arguments.name
    if name is None:
        about = {name: _first_line((PACKAGED / f"{name}.py").read_text("utf-8")) for name in packaged_configs()}
        if arguments.json:
            print(json.dumps({"configs": about, "shapes": packaged_shapes()}))
            return 0
        width = max(map(len, about))
        print(*(f"{name:{width}}  {line}" for name, line in about.items()), sep="\n")
        print(f"\nshapes, for --config.model.path=NAME: {', '.join(packaged_shapes())}")
        return 0
    if name not in [*packaged_configs(), "base"]:
        raise InputError("NAME", name, f"no such config; there are {', '.join(packaged_configs())}")
    if not (arguments.values or arguments.json):
        print((PACKAGED / f"{name}.py").read_text("utf-8"), end="")
        return 0
    from polaris_jax.training.config import load_config
    from polaris_jax.training.config.door import flatten

    rows = flatten(load_config(name))
    if arguments.json:
        print(json.dumps(rows))
    else:
        print(*(f"{field} = {value!r}" for field, value in rows.items()), sep="\n")
    return 0


def _first_line(source: str) -> str:
    return (ast.get_docstring(ast.parse(source)) or "").splitlines()[0]
