"""timm's registered models: their names, the input of their configuration, and their factories.

Imports timm, and with it torch, so it is itself imported only for a model of timm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import timm
from timm.models import get_pretrained_cfg_value

from flopaudit.core.errors import UsageError, unknown
from flopaudit.core.input_values import TensorSpec
from flopaudit.core.specs import ModelSpec, parse_options


def names() -> list[str]:
    """Return the names of all registered architectures, sorted."""
    found: list[str] = sorted(timm.list_models())
    return found


def family(name: str) -> str:
    """Return the module of timm that defines a model."""
    module: str = timm.model_entrypoint(name).__module__
    return module.rpartition(".")[2]


def inputs(spec: ModelSpec) -> tuple[str, ...]:
    """Return one image of the size in the configuration, or of `img_size` and `in_chans`.

    Raises:
        UsageError: there is no such model, or its configuration has no size.
    """
    _check(spec)
    configured = get_pretrained_cfg_value(spec.location, "input_size")
    if not configured:
        raise UsageError(
            f"timm has no input size for '{spec.location}'.", "Add --input 1x3x224x224."
        )
    channels, height, width = configured
    options = parse_options(spec.options)
    channels = options.get("in_chans", channels)
    height, width = (options.get("img_size", size) for size in (height, width))
    return (str(TensorSpec((1, channels, height, width))),)


def factory(spec: ModelSpec) -> Callable[[], Any]:
    """Return a function that builds a model with random weights from the options of its spec.

    Raises:
        UsageError: there is no such model.
    """
    _check(spec)
    options: dict[str, Any] = {**parse_options(spec.options)}

    def build() -> Any:
        try:
            return timm.create_model(spec.location, pretrained=False, **options)
        except TypeError as error:
            if not options:
                raise
            raise UsageError(
                f"timm does not build '{spec.location}' with these options: {error}.",
                "Give other options.",
            ) from error

    return build


def _check(spec: ModelSpec) -> None:
    if not timm.is_model(spec.location):
        raise unknown("timm model", spec.location, names(), "`flopaudit models --source timm`.")
