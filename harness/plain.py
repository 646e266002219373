"""The script that one would write without flopaudit: every tool over every model in one process.

The peer that `flopaudit bench` measures the isolated run against: `python -m harness.plain MODELS`,
comma-separated. Each tool gets models of its own, since tools leave theirs damaged; torchstat comes
last, since it breaks what comes after it in the same process.
"""

from __future__ import annotations

import sys

from adapters import NAMES, find
from adapters.contract import Subject
from harness.catalogue import subject
from harness.models import build, make_inputs, make_kwargs
from harness.specs import parse_inputs, split_list


def main(models: str) -> None:
    """Print what each tool says of each model, or that it failed."""
    subjects = [subject(name) for name in split_list(models)]
    for name in sorted(NAMES, key="torchstat".__eq__):
        tool = find(name)
        for variant in tool.variants or (None,):
            for where in subjects:
                specs = parse_inputs(where.inputs)
                inputs, kwargs = make_inputs(specs), make_kwargs(specs)
                try:
                    said = tool.measure(Subject(build(where.spec), inputs, kwargs), variant).count
                except Exception as error:  # noqa: BLE001 - as in a script that must go on
                    said = type(error).__name__
                print(tool.name, variant or "", where.spec, said)


if __name__ == "__main__":
    main(sys.argv[1])
