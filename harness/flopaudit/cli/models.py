"""`flopaudit models`: list the models of a source."""

from __future__ import annotations

from typing import Any

from flopaudit.cli.options import Json, Pattern, Source, SourceOption
from flopaudit.cli.output import print_json


def models(
    pattern: Pattern = "*",
    source: SourceOption = Source.TORCHVISION,
    as_json: Json = False,
) -> None:
    """List the models of a library, or the probes.

    Models of torchvision are listed with the input shape and the published counts of their weights.

    Example: flopaudit models vit --source timm
    """
    from flopaudit.pipeline.model_requests import model_lines

    lines = model_lines(pattern, source.value)
    if as_json:
        print_json(lines)
        return
    from flopaudit.reports.terminal import print_table, print_wrapped

    if source is Source.TORCHVISION:
        headers = ["model", "family", "input", "published GMACs", "published params"]
        print_table(headers, [_published(line) for line in lines], left=3)
    else:
        rows = [[line["model"], line["family"]] for line in lines]
        print_table(["model", "family"], rows, left=2)
    print_wrapped("1 model" if len(lines) == 1 else f"{len(lines)} models")


def _published(line: dict[str, Any]) -> list[str]:
    params = line["published_params"]
    return [
        line["model"],
        line["family"],
        "+".join(line["inputs"]),
        line["published_gmacs"] or "-",
        "-" if params is None else f"{params:,}",
    ]
