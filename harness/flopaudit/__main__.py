"""`python -m flopaudit` is `flopaudit`."""

from flopaudit.cli.app import main

if __name__ == "__main__":
    main()
