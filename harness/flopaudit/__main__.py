"""Entry point of `flopaudit`, and of `python -m flopaudit`, which is the same program.

Python has put the current directory first on the module search path for the latter. It is taken off
before anything else is imported.
"""

import sys

from flopaudit.core import search_path

INTERRUPTED = 130  # as in `cli.output`, which is not imported yet


def main() -> None:
    """Run the command line, with a module search path that lacks the current directory.

    An interrupt while the program is still being imported ends it quietly too.
    """
    try:
        search_path.leave_current_directory()
        from flopaudit.cli.app import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped.\n")
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
