"""``polaris score`` of random files: is every record scored or named in one line, and is no file ever lost?

    python benchmarks/score_fuzz.py [--files=10000] [--seed=0] [--records=4]

Rows of every wrong type and size, judges' replies of every form (truncated, nested 4,000 deep, numbers as text, lone
surrogates, numbers too large for a float), lines that are not JSON and bytes that are not UTF-8, in files of up to
``--records`` records. A file is right if its scored rows and its error lines are as many as its records, the output is
strict JSON, and the exit code is 0 (all scored), 1 (some not) or 2 (none can be). Prints one JSON object; exit code 1
if a file was not right.
"""

import argparse
import contextlib
import io
import json
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "rewards")]

from test_score_random_files import WHOLE_LINES, row  # noqa: E402

from polaris_jax.cli import main as polaris  # noqa: E402

BYTES = (b"\xff\xfe{}", b'{"story": "caf\xe9"}', b"\x00", b"[" * 5000, b'{"a": ' * 300 + b"1" + b"}" * 300)


def lines_of(draw: random.Random, most: int) -> list[bytes]:
    """The lines of a file."""
    found = []
    for _ in range(draw.randrange(1, most + 1)):
        kind = draw.random()
        if kind < 0.92:
            found.append(json.dumps(row(draw)).encode())
        elif kind < 0.96:
            found.append(draw.choice(WHOLE_LINES).encode())
        else:
            found.append(draw.choice(BYTES))
    return found


def refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def wrong(file: Path, lines: list[bytes], flags: list[str], codes: Counter) -> str | None:
    """What was wrong with a file, or None."""
    file.write_bytes(b"\n".join(lines) + b"\n")
    out, error = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            code = polaris(["score", str(file), *flags])
        scored = [json.loads(line, parse_constant=refuse_constant) for line in out.getvalue().splitlines()]
    except BaseException:  # the search is for tracebacks
        return traceback.format_exc(limit=-3)
    codes[code] += 1
    records, bad = sum(bool(line.strip()) for line in lines), error.getvalue().count("\n")
    if len(scored) + bad != max(1, records):
        return f"{records} records, {len(scored)} scored, {bad} lines of errors"
    failed = any(one["failed"] for one in scored)
    expected = 2 if not scored else 1 if bad or failed else 0
    return None if code == expected else f"exit code {code}, not {expected}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--records", type=int, default=4)
    arguments = parser.parse_args()
    draw, codes, found, begun = random.Random(arguments.seed), Counter(), {}, time.monotonic()
    records = 0
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.files):
            lines = lines_of(draw, arguments.records)
            records += sum(bool(line.strip()) for line in lines)
            flags = [flag for flag in ("--as-released", "--judge=offline") if draw.random() < 0.35]
            what = wrong(Path(folder) / "stories.jsonl", lines, flags, codes)
            if what is not None:
                found.setdefault(what, [flags, [line[:200].decode(errors="replace") for line in lines]])
    for what, (flags, lines) in found.items():
        print(what, flags, lines, file=sys.stderr)
    seconds = round(time.monotonic() - begun, 1)
    codes_found = {str(code): count for code, count in sorted(codes.items())}
    about = {"files": arguments.files, "records": records, "exit_codes": codes_found, "kinds_wrong": len(found)}
    print(json.dumps(about | {"seconds": seconds}))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
