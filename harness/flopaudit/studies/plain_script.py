"""The script that one would write without flopaudit: every tool on every model in one process.

`flopaudit bench` compares the isolated run with it, and runs it as
`python -m flopaudit.studies.plain_script MODELS`, comma-separated. Each tool gets models of its own
because tools damage them. torchstat comes last because it breaks later tools in the same process.
"""

from __future__ import annotations

import sys

from flopaudit_adapters import NAMES, find
from flopaudit_adapters.contract import LoadedModel

from flopaudit.core.specs import parse_inputs, split_list
from flopaudit.models.build import build, make_inputs, make_kwargs
from flopaudit.pipeline.model_requests import model_request


def main(models: str) -> None:
    """Print the count of each tool for each model, or its exception."""
    requests = [model_request(name) for name in split_list(models)]
    for name in sorted(NAMES, key="torchstat".__eq__):
        tool = find(name)
        for variant in tool.variants or (None,):
            for request in requests:
                specs = parse_inputs(request.inputs)
                inputs, kwargs = make_inputs(specs), make_kwargs(specs)
                try:
                    loaded = LoadedModel(build(request.spec), inputs, kwargs)
                    result: object = tool.measure(loaded, variant).count
                except Exception as error:  # noqa: BLE001 - the script has to continue
                    result = type(error).__name__
                print(tool.name, variant or "", request.spec, result)


if __name__ == "__main__":
    main(sys.argv[1])
