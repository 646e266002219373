"""Models of transformers, by model type or class name, with options over the configuration.

A type such as `llama` means the class that AutoModel gives for it; a class name such as
`LlamaForCausalLM` means itself. Imports transformers, and with it torch, so it is itself imported
only for a model of transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import transformers
from transformers.models.auto.modeling_auto import MODEL_MAPPING, MODEL_MAPPING_NAMES

from flopaudit.core.errors import UsageError, unknown
from flopaudit.core.input_values import InputSpec
from flopaudit.core.specs import ModelSpec, Option, parse_options
from flopaudit.models.transformers_inputs import forward_inputs

# Arguments of every configuration that are not attributes of it.
_IMPLEMENTATIONS = ("attn_implementation", "experts_implementation")


def names() -> list[str]:
    """Return all model types that AutoModel knows, sorted."""
    return sorted(MODEL_MAPPING_NAMES)


def family(name: str) -> str:
    """Return the name of the class that AutoModel gives for a type."""
    found = MODEL_MAPPING_NAMES[name]
    return found if isinstance(found, str) else str(found[0])


def inputs(spec: ModelSpec) -> tuple[str, ...]:
    """Return the inputs of one forward pass, by keyword.

    Raises:
        UsageError: there is no such model or option, or an input is needed whose shape is unknown.
    """
    return tuple(map(str, described_inputs(spec)[2]))


def described_inputs(spec: ModelSpec) -> tuple[Any, Any, list[InputSpec]]:
    """Return the class of a model, its configuration and the inputs of one forward pass.

    Raises:
        UsageError: there is no such model or option, or an input is needed whose shape is unknown.
    """
    model, config = _resolve(spec)
    return model, config, forward_inputs(model, config)


def factory(spec: ModelSpec) -> Callable[[], Any]:
    """Return a function that builds a model with random weights.

    Raises:
        UsageError: there is no such model or option.
    """
    model, config = _resolve(spec)
    chosen = "experts_implementation" in parse_options(spec.options)

    def build() -> Any:
        built = model(config)
        # grouped_mm, the default of transformers, refuses float32 on meta, though not on the CPU.
        # batched_mm computes the same products, those of each chosen expert.
        if torch.get_default_device().type == "meta" and not chosen:
            built.set_experts_implementation("batched_mm")
        return built

    return build


def _resolve(spec: ModelSpec) -> tuple[Any, Any]:
    """Return the class of a model and its configuration."""
    options = parse_options(spec.options)
    if spec.location in MODEL_MAPPING_NAMES:
        config = _configure(transformers.CONFIG_MAPPING[spec.location], options)
        return _class_of(spec.location, config), config
    model = _class(spec.location)
    return model, _configure(model.config_class, options)


def _class_of(name: str, config: Any) -> Any:
    try:
        found = MODEL_MAPPING[type(config)]
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"This release of transformers has no class '{family(name)}', which it names for "
            f"'{name}'.",
            "Name a class.",
        ) from error
    return found[0] if isinstance(found, tuple) else found


def _class(name: str) -> Any:
    found = getattr(transformers, name, None) if name[:1].isupper() else None
    if not (isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)):
        known = [*names(), *(each for each in dir(transformers) if each[:1].isupper())]
        raise unknown(
            "transformers model", name, known, "`flopaudit models --source transformers`."
        )
    if getattr(found, "config_class", None) is None:
        raise UsageError(
            f"'{name}' has no configuration of its own.", "Name a model type or another class."
        )
    return found


def _configure(kind: Any, options: Mapping[str, Option]) -> Any:
    default = kind()
    if not options:
        return default
    arguments = _arguments(default, options)
    try:
        return kind(**arguments)
    except Exception as error:  # each configuration has checks of its own
        reason = " ".join(str(error).split())
        raise UsageError(
            f"{kind.__name__} does not take these options: {reason}.", "Give other options."
        ) from error


def _arguments(default: Any, options: Mapping[str, Option]) -> dict[str, Any]:
    """Return arguments of a configuration; `text_config.hidden_size` is nested in `text_config`."""
    arguments: dict[str, Any] = {}
    inner: dict[str, dict[str, Option]] = {}
    for key, value in options.items():
        head, dot, rest = key.partition(".")
        if not hasattr(default, head) and key not in _IMPLEMENTATIONS:
            raise unknown(f"{default.model_type} option", key, default.to_dict(), "See its class.")
        if not dot:
            arguments[key] = value
        else:
            inner.setdefault(head, {})[rest] = value
    for head, nested in inner.items():
        part = getattr(default, head)
        if not isinstance(part, transformers.PreTrainedConfig):
            raise UsageError(f"'{head}' is not a configuration of its own.", "Leave out the dot.")
        arguments[head] = {"model_type": part.model_type, **_arguments(part, nested)}
    return arguments
