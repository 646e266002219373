"""The module search path without the current directory, in this process and in those it starts.

A file in the current directory must never take the place of a package: a `thop.py` there would be
measured as thop. Python puts that directory first for `python -m` and `python -c`, and so do empty
and relative entries of PYTHONPATH. A directory that PYTHONPATH has as an absolute path stays.

This module is used before anything else is imported, so it imports only what Python has loaded.
"""

import os
import sys

_VARIABLE = "PYTHONPATH"

_START = """\
import sys
sys.path[:] = [entry for entry in sys.path if entry]
import json, runpy
sys.path[:], package = json.loads(sys.argv.pop(1))
import flopaudit
if flopaudit.__path__[0] != package:
    sys.exit(f"flopaudit is imported from {flopaudit.__path__[0]}, and was started from {package}")
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""
"""What a child runs first. Python 3.10 has no -P, and puts the current directory first, as ""."""


def leave_current_directory() -> None:
    """Take the current directory off the search path of this process."""
    sys.path[:] = safe_path()


def safe_path() -> list[str]:
    """Return the search path of this process without the directories that Python adds by itself.

    These are the current directory and the folder of the script that runs, which come before the
    standard library. They stay where PYTHONPATH has them as absolute paths. What PYTHONPATH names
    and this process does not search, because it was set later, comes first.
    """
    wanted = _wanted()
    unsafe = {_real(""), _script_folder()} - {_real(entry) for entry in wanted}
    library = os.path.dirname(os.__file__)
    start = sys.path.index(library) if library in sys.path else len(sys.path)
    leading = [entry for entry in sys.path[:start] if _real(entry) not in unsafe]
    here = [_full(entry) for entry in (*leading, *sys.path[start:]) if entry]
    return list(dict.fromkeys((*(entry for entry in wanted if entry not in here), *here)))


def child_environment() -> dict[str, str]:
    """Return the environment for a child, whose PYTHONPATH does not name the current directory.

    Other relative entries are made absolute.
    """
    others = {name: text for name, text in os.environ.items() if name != _VARIABLE}
    wanted = _wanted()
    return {**others, **({_VARIABLE: os.pathsep.join(wanted)} if wanted else {})}


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module as a program, to be given `child_environment`.

    It is `python -m MODULE ARGUMENT…`, except that the child searches `safe_path` for modules.
    """
    import json

    flags = {
        "-P": sys.version_info >= (3, 11),
        "-E": bool(sys.flags.ignore_environment),
        "-s": bool(sys.flags.no_user_site),
    }
    options = [flag for flag, wanted in flags.items() if wanted]
    package = os.path.dirname(os.path.dirname(__file__))
    path = [*safe_path(), os.path.dirname(package)]  # it may be in the current directory
    setup = json.dumps((path, package))
    return [sys.executable, *options, "-c", _START, setup, module, *arguments]


def _wanted() -> list[str]:
    """Return the entries of PYTHONPATH, absolute, without those that mean the current directory.

    An absolute entry is meant as it is, whatever the current directory is.
    """
    text = "" if sys.flags.ignore_environment else os.environ.get(_VARIABLE, "")
    here, entries = _real(""), text.split(os.pathsep) if text else []
    return [_full(each) for each in entries if os.path.isabs(each) or _real(each) != here]


def _script_folder() -> str:
    """Return the folder of the script that runs; that of the current directory if none does."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    return _real(os.path.dirname(file) if file else "")


def _full(entry: str) -> str:
    """Make a relative entry absolute; placeholders of import hooks, which are no paths, stay."""
    return os.path.abspath(entry) if os.path.exists(entry) else entry


def _real(entry: str) -> str:
    """Return the directory that an entry means, without symbolic links; "" if it is gone."""
    try:
        return os.path.realpath(entry or os.getcwd())
    except FileNotFoundError:
        return ""
