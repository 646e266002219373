"""The options and arguments that several commands share, each defined once.

A command names one of the types below and gives its default. Nothing slow is imported here: what
reads a value that the user gave imports it when it is called.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flopaudit.cli import completion
from flopaudit.core.errors import UsageError
from flopaudit.core.specs import parse_bytes, split_list
from flopaudit.isolation.jobs import processors

if TYPE_CHECKING:
    from flopaudit.isolation.jobs import Limits
    from flopaudit.tools.registry import ToolVariant

PROCESSORS = processors()

MODEL_HELP = (
    "A torchvision name such as resnet50, timm:NAME, transformers:TYPE, probe:NAME, "
    "package.module:factory or path/to/file.py:factory."
)


class Source(str, Enum):
    """Sources of models: a library, or the probes."""

    TORCHVISION = "torchvision"
    TIMM = "timm"
    TRANSFORMERS = "transformers"
    PROBE = "probe"


class Preset(str, Enum):
    """Named lists of models."""

    QUICK = "quick"
    TORCHVISION = "torchvision"


class Grouping(str, Enum):
    """The ways in which `count --by` groups the operators of a model."""

    MODULE = "module"
    OP = "op"
    KIND = "kind"


def _names(parameter: typer.CallbackParam, value: str) -> str:
    """Return a comma-separated list as it was given; refuse one that names nothing, such as `,`."""
    if value and not split_list(value):
        raise UsageError(f"{parameter.opts[0]} names nothing.", "Separate names by commas.")
    return value


Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]
Model = Annotated[
    str, typer.Argument(metavar="MODEL", help=MODEL_HELP, autocompletion=completion.model)
]
Pattern = Annotated[
    str,
    typer.Argument(
        metavar="PATTERN",
        help="A model name, a part of one, or a pattern such as 'res*50'; all models by default.",
        show_default=False,
        autocompletion=completion.model,
    ),
]
Models = Annotated[
    str,
    typer.Option(
        "--models",
        metavar="A,B",
        help="Models, separated by commas, named as for `flopaudit count`.",
        callback=_names,
        autocompletion=completion.model_list,
    ),
]
Tools = Annotated[
    str,
    typer.Option(
        "--tools",
        metavar="A,B",
        help="Tools, separated by commas, such as thop,ptflops:aten; all tools by default.",
        callback=_names,
        autocompletion=completion.tool_list,
    ),
]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="SHAPE",
        help="Shape of an input, such as 1x3x224x224, int64:1x128 with a dtype, or "
        "input_ids=int64:1x128 by keyword; repeat for several inputs.",
    ),
]
Jobs = Annotated[
    int,
    typer.Option(
        "--jobs",
        metavar="N",
        min=1,
        show_default="number of processors",
        help="How many tools and models run at the same time.",
    ),
]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        min=0.1,
        help="Time limit per tool and model, in seconds.",
    ),
]


def memory_limit(shown_default: str | None = None) -> Any:
    """Return the option `--memory SIZE`.

    Args:
        shown_default: the default as the help shows it, where it is not a plain value.
    """
    return typer.Option(
        "--memory",
        metavar="SIZE",
        help="Memory limit per tool and model, such as 8G or 512M.",
        show_default=shown_default or True,
        callback=_amount,
    )


def _amount(value: str) -> str:
    """Return an amount of memory as it was given; refuse one that cannot be read."""
    if value:
        parse_bytes(value)
    return value


Memory = Annotated[str, memory_limit("a share of this machine's memory")]
Again = Annotated[
    bool, typer.Option("--again", help="Measure again, and replace what is already stored.")
]
Details = Annotated[
    bool, typer.Option("--details", help="Show modules, probes and threads for every cause.")
]
SourceOption = Annotated[
    Source,
    typer.Option(
        "--source",
        metavar="SOURCE",
        help="Where the models come from: torchvision, timm, transformers or probe.",
    ),
]
PRESET = typer.Option("--preset", help="Run a named list of models.")


def out(help_text: str, shown_default: str | None = None) -> Any:
    """Return the option `--out DIRECTORY`.

    Args:
        help_text: what the command writes there.
        shown_default: the default as the help shows it, where it is not a plain value.
    """
    return typer.Option(
        "--out", metavar="DIRECTORY", help=help_text, show_default=shown_default or True
    )


def variants(tools: str) -> list[ToolVariant]:
    """Return the variants of the tools in a comma-separated list; of all tools if it is empty.

    Raises:
        UsageError: there is no such tool, variant or version, or two have the same name.
    """
    from flopaudit_adapters import NAMES

    from flopaudit.tools import registry

    return registry.tool_variants(tools or ",".join(NAMES))


def limits(timeout: float, memory: str, jobs: int) -> Limits:
    """Return the limits of each tool and model.

    Args:
        timeout: in seconds.
        memory: an amount such as 8G; "" for a share of this machine's memory.
        jobs: how many run at the same time, and so share the memory.
    """
    from flopaudit.isolation.jobs import Limits
    from flopaudit.isolation.scheduler import default_memory_bytes

    return Limits(timeout, parse_bytes(memory) if memory else default_memory_bytes(jobs))


def refuse_positional_tools(context: typer.Context) -> None:
    """Refuse tools that are given as arguments, as earlier versions took them.

    Args:
        context: of a command with `EXTRA_ARGUMENTS`.

    Raises:
        UsageError: there is an argument.
    """
    if context.args:
        names = ",".join(split_list(",".join(context.args)))
        raise UsageError(
            f"`{context.command_path}` takes tools as an option.", f"Write --tools {names}."
        )


EXTRA_ARGUMENTS = {"allow_extra_args": True}
"""Context settings of commands that call `refuse_positional_tools`."""
