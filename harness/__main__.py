"""`python -m harness` is `flopaudit`."""

from harness.cli import main

if __name__ == "__main__":
    main()
