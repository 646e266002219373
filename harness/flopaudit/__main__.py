"""Entry point of `python -m flopaudit`, the same program as `flopaudit`."""

from flopaudit.cli.app import main

if __name__ == "__main__":
    main()
