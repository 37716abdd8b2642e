"""No two public classes share a name, and public functions have annotated arguments and results."""

import ast
from collections import Counter
from pathlib import Path

import polaris_jax

ROOT = Path(polaris_jax.__file__).parent
ANNOTATED = ("ops", "optim", "training", "models", "data", "rl")


def definitions(kind):
    """Yields ``(path, qualified name, node, public)`` of the package; ``public``: no part of the name is private."""

    def inside(path, parents, body):
        for node in body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                names = (*parents, node.name)
                public = all(not name.startswith("_") or name == "__init__" for name in names)
                if isinstance(node, kind):
                    yield path.relative_to(ROOT), ".".join(names), node, public
                if isinstance(node, ast.ClassDef):
                    yield from inside(path, names, node.body)

    for path in sorted(ROOT.rglob("*.py")):
        yield from inside(path, (), ast.parse(path.read_text(encoding="utf-8")).body)


def test_no_public_class_name_stands_for_two_things():
    counts = Counter(name for _, name, _, public in definitions(ast.ClassDef) if public)
    assert [name for name, count in counts.items() if count > 1] == []


def test_public_functions_are_annotated():
    bare = []
    for path, name, node, public in definitions(ast.FunctionDef):
        if not public or path.parts[0] not in ANNOTATED:
            continue
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        arguments += [one for one in (node.args.vararg, node.args.kwarg) if one is not None]
        missing = [one.arg for one in arguments if one.annotation is None and one.arg not in ("self", "cls")]
        if node.returns is None and node.name != "__init__":
            missing.append("return")
        if missing:
            bare.append(f"{path}:{node.lineno} {name}: {', '.join(missing)}")
    assert bare == []
