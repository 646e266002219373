"""Entry point of `flopaudit`, and of `python -m flopaudit`, which is the same program.

Python has put the current directory first on the module search path for the latter. It is taken off
before anything else is imported.
"""

from flopaudit.core import search_path


def main() -> None:
    """Run the command line, with a module search path that lacks the current directory."""
    search_path.leave_current_directory()
    from flopaudit.cli.app import main as run

    run()


if __name__ == "__main__":
    main()
