"""The command line in this process: what it prints and its exit code, without the start of an interpreter."""

import contextlib
import io

from edge_agent.cli import main


def call(*words: str) -> tuple[int, str, str]:
    """`(exit code, stdout, stderr)` of `edge-agent WORDS`."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(words)
        except SystemExit as done:
            code = int(done.code or 0)
    return code, out.getvalue(), err.getvalue()
