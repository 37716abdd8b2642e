"""Types of flags, checked before anything else happens: numbers with bounds, and places to write.

Each function here, or its result, is an argparse ``type=``. A refusal is one line with exit code 2. So a wrong flag is
found before anything is written, and not after hours.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from polaris_jax.options import ANY_NUMBER, Bounds

N = TypeVar("N", int, float)


def whole(bounds: Bounds = ANY_NUMBER) -> Callable[[str], int]:
    """Reads a whole number inside ``bounds``."""
    return _reader(int, "a whole number", bounds)


def real(bounds: Bounds = ANY_NUMBER) -> Callable[[str], float]:
    """Reads a number inside ``bounds``."""
    return _reader(float, "a number", bounds)


def _reader(kind: Callable[[str], N], wanted: str, bounds: Bounds) -> Callable[[str], N]:
    def read(text: str) -> N:
        try:
            number = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r}: give {wanted}") from None
        if not bounds.hold(number):
            raise argparse.ArgumentTypeError(f"{text!r}: {bounds.advice}")
        return number

    return read


def folder_to_write(text: str) -> str:
    """The address of a folder that can be written, or can be made."""
    if "://" in text:
        return text
    path = Path(text)
    if path.exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r}: is a file; give a folder")
    _writable(path, text)
    return text


def file_to_write(text: str) -> str:
    """The address of a file that can be written: not a folder or a device, and in a writable folder."""
    if "://" in text:
        return text
    path = Path(text)
    if path.is_dir() or text.endswith(os.sep):
        raise argparse.ArgumentTypeError(f"{text!r}: is a folder; give the name of a file")
    if path.exists() and not path.is_file():  # a rename would replace a device by a file
        raise argparse.ArgumentTypeError(f"{text!r}: is a device or a pipe; give the name of a file")
    _writable(path.absolute().parent, text)
    return text


def _writable(folder: Path, text: str) -> None:
    """Refuses a folder that can neither be written nor made."""
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r}: {place} is a file; give a path through folders")
    if not os.access(place, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"{text!r}: {place} cannot be written; give another place")
