"""``polaris doctor``: what is there and what is missing: libraries, devices, credentials, bucket, disk, memory.

The exit code is 1 if there is a problem; a missing extra is not a problem.
"""

import argparse
import json


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The verb's flags."""
    parser.add_argument("--bucket", metavar="GS_ADDRESS", help="also check a bucket: region and permissions")
    parser.add_argument("--json", action="store_true", help="the findings as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb; returns the exit code."""
    from polaris_jax.doctor import examine

    findings = examine(arguments.bucket)
    failed = any(finding.state == "problem" for finding in findings)
    if arguments.json:
        print(json.dumps({"ok": not failed, "findings": [finding.to_json() for finding in findings]}))
        return 1 if failed else 0
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    marks = {"ok": ("ok", "green"), "absent": ("absent", "yellow"), "problem": ("problem", "bold red")}
    table = Table("", "what", "found", "what to do")
    for finding in findings:
        table.add_row(Text(*marks[finding.state]), finding.what, Text(finding.found), Text(finding.advice))
    Console().print(table)
    return 1 if failed else 0
