"""Files by address on a disk are written whole or not at all, whatever their folder's name; JSON has no NaN."""

import ast
import json
import math
from pathlib import Path

import pytest

import polaris_jax
from polaris_jax import storage
from polaris_jax.errors import InputError


@pytest.mark.parametrize("name", ["plain", "a b", "100%", "a%20b", "part #1", "why?", "a|b", "ü", "[x]"])
def test_any_folder_name_will_do(tmp_path, name):
    folder = tmp_path / name
    storage.write(str(folder / "x.txt"), b"one")
    assert (folder / "x.txt").read_bytes() == b"one"
    assert storage.read(str(folder / "x.txt")) == b"one"
    assert storage.names(str(folder)) == {"x.txt"}
    assert [path.name for path in tmp_path.iterdir()] == [name]
    storage.delete(str(folder), ["x.txt", "absent"])
    assert list(folder.iterdir()) == []


def test_writing_replaces_the_file_and_leaves_nothing_beside_it(tmp_path):
    for content in (b"first", b"second"):
        storage.write(str(tmp_path / "x"), content)
        storage.write_parts(tmp_path / "parts", [content[:2], memoryview(content)[2:]])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"x": b"second", "parts": b"second"}


def test_a_write_that_breaks_off_leaves_the_old_file(tmp_path):
    def parts():
        yield b"half of it"
        raise OSError("disk")

    storage.write_parts(tmp_path / "x", [b"old"])
    with pytest.raises(OSError, match="disk"):
        storage.write_parts(tmp_path / "x", parts())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"x": b"old"}


def test_an_unknown_scheme_is_refused():
    with pytest.raises(InputError, match="unsupported URL scheme; use a local path or gs://"):
        storage.read("s3://bucket/x")


def test_where_a_file_stands_in_the_way_of_a_folder_the_error_names_the_address(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"file/x.*cannot be written"):
        storage.write(str(tmp_path / "file" / "x"), b"")


def test_numbers_that_json_does_not_have_become_null():
    value = {"loss": math.nan, "list": [1.5, -math.inf, 2], "nested": {"t": (math.inf,)}, "text": "NaN", "yes": True}
    kept = storage.finite(value)
    assert kept == {"loss": None, "list": [1.5, None, 2], "nested": {"t": [None]}, "text": "NaN", "yes": True}
    assert json.loads(json.dumps(kept, allow_nan=False)) == kept
    assert storage.finite({"a": math.nan, "b": math.inf, "c": 1.0}, instead=str) == {"a": "nan", "b": "inf", "c": 1.0}


def test_only_storage_renames_files():
    """Except for whole folders that appear at once: models/saving.py, the demo's model, launching's checkout."""
    root, renaming = Path(polaris_jax.__file__).parent, set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                of_os = isinstance(node.func.value, ast.Name) and node.func.value.id == "os"
                on_path = node.func.attr == "replace" and len(node.args) == 1 and not node.keywords
                if node.func.attr in ("rename", "renames") or (node.func.attr == "replace" and of_os) or on_path:
                    renaming.add(path.relative_to(root).as_posix())
    assert renaming <= {"storage.py", "models/saving.py", "demo.py", "launching.py"}
