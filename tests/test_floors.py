"""A room imports only from the floors below it, and its docstring says what it is for."""

import ast
from pathlib import Path

import polaris_jax

ROOT = Path(polaris_jax.__file__).parent
FLOORS = {
    "errors": -2,
    "hub": -1.5,
    "extras": -2,
    "prices": -1,
    "storage": -1,
    "json_lines": -1,
    "options": -1,
    "library": 0,
    "trajectory": 0,
    "ops": 0,
    "sharding": 0,
    "llm": 0,
    "optim": 1,
    "rewards": 1,
    "models": 2,
    "data": 2,
    "scaffold": 2,
    "training": 3,
    "sampling": 3,
    "corpus": 3,
    "report": 4,
    "rl": 4,
    "planner": 4,
    "evals": 4,
    "serving": 4,
    "studies": 4.5,  # imports evals of floor 4, and nothing else of that floor
    "checkpoint_sampler": 5,
    "converting": 5,
    "publishing": 5,
    "demo": 5,
    "post_training_plan": 5,
    "demo_settings": 5,
    "configs": 5,
    "doctor": 5,
    "launching": 5,
    "commands": 5,
    "cli": 5,
}
PURE = ("library", "trajectory")  # rooms that must import without JAX


def room(path):
    parts = path.relative_to(ROOT).parts
    return parts[0].removesuffix(".py")


def imported(path):
    """Module names that a file imports, at any depth, with their line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def sources():
    return [path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py"]


def test_every_file_belongs_to_a_floor():
    assert {room(path) for path in sources()} <= set(FLOORS)


def test_imports_only_go_down():
    wrong = []
    for path in sources():
        here = room(path)
        for name, line in imported(path):
            there = name.split(".")[1] if name.startswith("polaris_jax.") else None
            # ``import polaris_jax.x.y`` also yields attribute names; only rooms count.
            if there in FLOORS and there != here and FLOORS[there] >= FLOORS[here] and FLOORS[here] < 5:
                wrong.append(f"{path.relative_to(ROOT)}:{line} ({here}, floor {FLOORS[here]}) imports {there}")
    assert not wrong, "\n".join(wrong)


def test_only_commands_import_the_studies_which_import_only_evals_of_their_floor():
    users, used = set(), set()
    for path in sources():
        rooms = {name.split(".")[1] for name, _ in imported(path) if name.startswith("polaris_jax.")}
        if room(path) == "studies":
            used |= {there for there in rooms if FLOORS.get(there) == 4}
        elif "studies" in rooms:
            users.add(room(path))
    assert users == {"commands"}
    assert used == {"evals"}


def test_the_two_annotators_meet_only_in_their_interface():
    """``offline`` and ``llm`` share ``analysis`` and the interface; ``llm`` falls back on ``OfflineAnnotator``."""
    others = {"offline": ("llm",), "llm": ("offline",), "analysis": ("offline", "llm", "review")}
    fallback = "polaris_jax.scaffold.offline.annotator"
    for path in sources():
        parts = path.relative_to(ROOT).parts
        if parts[0] == "scaffold" and parts[1] in others:
            apart = tuple(f"polaris_jax.scaffold.{other}" for other in others[parts[1]])
            found = {name for name, _ in imported(path) if name.startswith(apart)}
            assert found <= ({fallback, f"{fallback}.OfflineAnnotator"} if parts[1] == "llm" else set()), path


def test_pure_rooms_do_not_import_jax():
    for path in sources():
        if room(path) in PURE:
            assert not [name for name, _ in imported(path) if name.split(".")[0] in ("jax", "flax")], path


def test_no_drawer_for_odds_and_ends_and_no_long_files():
    for path in sources():
        assert path.stem not in ("utils", "common", "helpers", "misc"), path
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 450, f"{path} has more than 450 lines: split it"


def test_every_room_says_what_it_is_for():
    for package in ROOT.rglob("__init__.py"):
        docstring = ast.get_docstring(ast.parse(package.read_text(encoding="utf-8")))
        assert docstring, package
        assert "filled by" not in docstring, package
