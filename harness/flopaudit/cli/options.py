"""The options and arguments that several commands share, each defined once.

A command names one of the types below and gives its default. Nothing slow is imported here: what
reads a value that the user gave imports it when it is called.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flopaudit.cli import completion
from flopaudit.core.errors import UsageError
from flopaudit.core.specs import parse_bytes, split_list
from flopaudit.isolation.jobs import processors

if TYPE_CHECKING:
    from flopaudit.isolation.jobs import Limits
    from flopaudit.pipeline.model_requests import Phase
    from flopaudit.tools.registry import ToolVariant

PROCESSORS = processors()

MODEL_HELP = (
    "A torchvision name such as resnet50, timm:NAME, transformers:TYPE, probe:NAME, "
    "package.module:factory or path/to/file.py:factory, with arguments as in "
    "file.py:make?depth=3."
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


class PhaseName(str, Enum):
    """The phases of generating text."""

    PREFILL = "prefill"
    DECODE = "decode"


def _names(parameter: typer.CallbackParam, value: str) -> str:
    """Return a comma-separated list as it was given; refuse one that names nothing, such as `,`."""
    if value and not split_list(value):
        raise UsageError(f"{parameter.opts[0]} names nothing.", "Separate names by commas.")
    return value


Formulas = Annotated[
    list[str] | None,
    typer.Option(
        "--formulas",
        metavar="FILE",
        help="Python file with flopaudit.register_formula(...) for operators that have no formula; "
        "repeat the option for several files. [tool.flopaudit] in pyproject.toml names files too.",
    ),
]


def _seconds(value: float) -> float:
    """Return a time limit as it was given; refuse one that never ends, such as `inf` and `nan`."""
    if not math.isfinite(value):
        raise UsageError(f"{value} seconds are no time limit.", "Give --timeout 600, for example.")
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
        metavar="INPUT",
        help="An input: 1x3x224x224, int64:1x128 with a dtype, input_ids=int64:1x128 by keyword, "
        'int:3, 0.5, true, none, "text", or nested as in {image: 1x3x64x64, sizes: [int64:1x2]}; '
        "repeat for several inputs.",
    ),
]
InputFile = Annotated[
    list[str] | None,
    typer.Option(
        "--input-file",
        metavar="FILE",
        help="Inputs from a file of torch.save (.pt) or numpy (.npz): a tensor is one input, a "
        "list or tuple is inputs by position, a dict is inputs by keyword.",
    ),
]
InputFrom = Annotated[
    list[str] | None,
    typer.Option(
        "--input-from",
        metavar="FILE.py:FUNCTION",
        help="Inputs from your function, called without arguments: it returns a tensor, a tuple of "
        "inputs by position, a dict of inputs by keyword, or a tuple of such a tuple and dict.",
    ),
]
Dtype = Annotated[
    str,
    typer.Option(
        "--dtype",
        metavar="DTYPE",
        help="Convert the model to bf16, fp16, fp32 or fp64; inputs without a dtype follow it.",
    ),
]
PhaseOption = Annotated[
    PhaseName | None,
    typer.Option(
        "--phase",
        help="Of a transformers model: prefill runs N tokens at once, decode runs one token after "
        "N that are in the cache. N is that of --context.",
    ),
]
Context = Annotated[
    int,
    typer.Option(
        "--context",
        metavar="N",
        min=0,
        help="With --phase: the number of tokens.",
        show_default=False,
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
        callback=_seconds,
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
    bool, typer.Option("--again", help="Measure again, and replace what is stored of these cells.")
]
Retry = Annotated[bool, typer.Option("--retry", help="Measure again what failed.")]
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


def load_formulas(files: Iterable[str] | None) -> None:
    """Execute files of users' formulas: those that the project names, then those that are given.

    Args:
        files: the paths that were given, if any.

    Raises:
        UsageError: a file cannot be read or executed, or one of its formulas not be registered.
    """
    from flopaudit.reference import user_formulas

    for path in (*user_formulas.formula_files(Path.cwd()), *map(Path, files or ())):
        user_formulas.load(path)


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
    from flopaudit.isolation.memory_share import default_memory_bytes

    if memory:
        return Limits(timeout, parse_bytes(memory))
    return Limits(timeout, default_memory_bytes(jobs), default_memory_bytes(1))


def given_inputs(
    inputs: list[str] | None, files: list[str] | None, functions: list[str] | None
) -> tuple[str, ...]:
    """Return inputs in the notation of `--input`: those of files and functions come last."""
    from flopaudit.core.input_values import CallSpec, FileSpec

    places = [str(FileSpec(path)) for path in files or ()]
    for text in functions or ():
        location, _, function = text.rpartition(":")
        if not location or not function.replace(".", "").isidentifier():
            raise UsageError(
                f"'{text}' is not a function.", "Write --input-from path/to/file.py:function."
            )
        places.append(str(CallSpec(location, function)))
    return (*(inputs or ()), *places)


def phase_of(name: PhaseName | None, context: int) -> Phase | None:
    """Return the phase that is asked for; None without one.

    Raises:
        UsageError: only one of --phase and --context is given.
    """
    from flopaudit.pipeline.model_requests import Phase

    if name is None and not context:
        return None
    if name is None:
        raise UsageError("--context is the context of a phase.", "Add --phase prefill or decode.")
    if not context:
        raise UsageError("--phase needs the number of tokens.", "Add --context 512.")
    return Phase(name.value, context)


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
