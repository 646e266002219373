"""Loading of a user's model: the module that a model spec names, by its file or by its name.

Used in the host process that holds the model. The current directory and the folder of the file are
searched last, so that nothing there takes the place of torch or of a tool.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from flopaudit_adapters import user_modules

from flopaudit.core.errors import UsageError
from flopaudit.core.specs import ModelSpec


def load_factory_module(spec: ModelSpec) -> ModuleType:
    """Import the module that has the factory of a model of source `file` or `module`.

    A module is imported by its name, as installed or in the current directory. A file is executed
    anew each time, and may import its siblings and, in a package, relative to it.

    Raises:
        UsageError: there is no such file or module, or it cannot be imported as it is named.
        Exception: whatever the module raises.
    """
    try:
        if spec.source == "file":
            return user_modules.import_file(Path(spec.location), "model")
        return user_modules.import_module(spec.location, "model")
    except user_modules.NotFound as error:
        raise UsageError(error.message, error.remedy) from error
