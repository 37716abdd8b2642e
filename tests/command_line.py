"""The command line run in this process: its exit code, and its one line where it refuses."""

from polaris_jax.cli import main


def exit_code(arguments):
    """The exit code of a command line; the parser of flags calls ``sys.exit`` itself."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as stopped:
        return stopped.code


def refused(capsys, *arguments):
    """Runs a command line that must fail with exit code 2; returns its one line. Standard output stays empty."""
    code = exit_code(arguments)
    captured = capsys.readouterr()
    assert code == 2, captured.err
    assert captured.out == ""
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]
