"""Entry point of `flopaudit`, and of `python -m flopaudit`, which is the same program."""

import sys

INTERRUPTED = 130  # as in `cli.output`, which is not imported yet


def main() -> None:
    """Run the command line; an interrupt while it is still being imported ends it quietly too."""
    try:
        from flopaudit.cli.app import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped.\n")
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
