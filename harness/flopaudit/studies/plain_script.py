"""The script that one would write without flopaudit: every tool over every model in one process.

The peer that `flopaudit bench` measures the isolated run against: `python -m
flopaudit.studies.plain_script MODELS`, comma-separated. Each tool gets models of its own, since
tools leave theirs damaged; torchstat comes last, since it breaks what comes after it in the same
process.
"""

from __future__ import annotations

import sys

from flopaudit_adapters import NAMES, find
from flopaudit_adapters.contract import LoadedModel

from flopaudit.core.specs import parse_inputs, split_list
from flopaudit.models.build import build, make_inputs, make_kwargs
from flopaudit.pipeline.model_requests import model_request


def main(models: str) -> None:
    """Print what each tool says of each model, or that it failed."""
    subjects = [model_request(name) for name in split_list(models)]
    for name in sorted(NAMES, key="torchstat".__eq__):
        tool = find(name)
        for variant in tool.variants or (None,):
            for where in subjects:
                specs = parse_inputs(where.inputs)
                inputs, kwargs = make_inputs(specs), make_kwargs(specs)
                try:
                    said = tool.measure(
                        LoadedModel(build(where.spec), inputs, kwargs), variant
                    ).count
                except Exception as error:  # noqa: BLE001 - as in a script that must go on
                    said = type(error).__name__
                print(tool.name, variant or "", where.spec, said)


if __name__ == "__main__":
    main(sys.argv[1])
