"""Standard output is kept for the program itself, whatever else prints."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.paths import HOSTILE_MODELS

PROGRAM = f"""
import runpy, sys, threading
from flopaudit.core.streams import keep_stdout, stdout
keep_stdout()
keep_stdout()
print("of a library", end="")
found = runpy.run_path({str(HOSTILE_MODELS.with_name("printing.py"))!r})
stdout().write("document\\n")
stdout().flush()
threading.Thread(target=found["print_in_every_way"]).start()
"""


def run(redirections: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "-c", f'"$0" -c "$1" {redirections}', sys.executable, PROGRAM],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_what_else_prints_goes_to_standard_error() -> None:
    done = run("")
    assert (done.returncode, done.stdout) == (0, "document\n")
    assert "of a library" in done.stderr
    # At import, in a thread, and at exit; five ways each.
    assert done.stderr.count("noise") == 15


@pytest.mark.parametrize("redirections", ["2>&-", "2>/dev/null", "0<&- 2>&-"])
def test_without_standard_error_it_goes_nowhere(redirections: str) -> None:
    done = run(redirections)
    assert (done.stdout, done.stderr) == ("document\n", "")


def test_a_standard_output_that_somebody_else_has_taken_stays_as_it_is() -> None:
    code = (
        "import io, sys\n"
        "from flopaudit.core.streams import keep_stdout, stdout\n"
        "sys.stdout = taken = io.StringIO()\n"
        "keep_stdout()\n"
        "print('one')\n"
        "stdout().write('two')\n"
        "assert taken.getvalue() == 'one\\ntwo'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
