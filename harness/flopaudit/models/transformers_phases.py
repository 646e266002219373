"""The two phases of generating text with a transformers model: prefill and decode.

Prefill runs all tokens of the context at once. Decode runs one new token, with what the model has
kept of the context. Imports transformers, and with it torch.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import torch

from flopaudit.core.errors import UsageError
from flopaudit.core.input_values import (
    CacheSpec,
    DictSpec,
    EncodedSpec,
    InputSpec,
    TensorSpec,
    tensor,
)
from flopaudit.core.specs import ModelSpec
from flopaudit.models import generation, inputs, transformers_zoo
from flopaudit.models.transformers_inputs import token_limit

PREFILL, DECODE = "prefill", "decode"

_TOKENS = ("decoder_input_ids", "input_ids")
"""Inputs that are the tokens to go on from, the decoder's before the encoder's."""

_CACHES = ("cache", "past_key_values", "cache_params", "state", "mems", "past_buckets_states")
"""Parameters of forward that take a cache, for models that do not run on meta tensors."""


def phase_inputs(spec: ModelSpec, phase: str, context: int) -> tuple[str, ...]:
    """Return the inputs of one forward pass in a phase, in the notation of the command line.

    Args:
        spec: a model of transformers.
        phase: `prefill` or `decode`.
        context: the number of tokens to run, or that have been run before the new one.

    Raises:
        UsageError: there is no such model or option, it keeps no cache, or it does not take so many
            tokens.
    """
    model, config, usual = transformers_zoo.described_inputs(spec)
    names = [each.name for each in usual]
    tokens = next((name for name in _TOKENS if name in names), None)
    if tokens is None:
        raise UsageError(f"{model.__name__} takes no tokens.", "Leave out --phase.")
    _check_length(model, config, context + (phase == DECODE))
    cache = _cache_name(spec, model, _with_length(usual, tokens, 2))
    before = _with_length(usual, tokens, context)
    if phase == PREFILL:
        return tuple(map(str, before))
    return tuple(map(str, _decode(before, tokens, cache)))


def _with_length(usual: list[InputSpec], tokens: str, length: int) -> list[InputSpec]:
    """Return inputs with another number of tokens."""
    return [tensor((1, length), "int64", tokens) if s.name == tokens else s for s in usual]


def _decode(before: list[InputSpec], tokens: str, cache: str) -> list[InputSpec]:
    """Return the inputs of one new token after those of the context."""
    (context,) = (each.value for each in before if each.name == tokens)
    others = [each for each in before if each.name != tokens]
    new = tensor((1, 1), "int64", tokens)
    if tokens == "input_ids" and isinstance(context, TensorSpec) and not others:
        return [new, InputSpec(CacheSpec(context), cache)]
    kept = InputSpec(CacheSpec(_by_name(before)), cache)
    if tokens == "input_ids":
        return [new, kept]
    # The encoder has run, too; its output takes the place of its inputs.
    return [new, InputSpec(EncodedSpec(_by_name(others)), "encoder_outputs"), kept]


def _by_name(specs: list[InputSpec]) -> DictSpec:
    return DictSpec(tuple((spec.name, spec.value) for spec in specs))


def _check_length(model: Any, config: Any, tokens: int) -> None:
    limit = token_limit(config)
    if limit and tokens > limit.tokens:
        larger = f", or the option ?{limit.option}={tokens}" if limit.option else ""
        raise UsageError(
            f"{model.__name__} takes {limit.tokens:,} tokens, not {tokens:,}.",
            f"Give a smaller --context{larger}.",
        )


def _cache_name(spec: ModelSpec, model: Any, few: list[InputSpec]) -> str:
    """Return the name of the parameter that takes the cache, found by a run on meta tensors.

    Raises:
        UsageError: the model keeps no cache.
    """
    try:
        with torch.device("meta"):
            built = transformers_zoo.factory(replace(spec, dtype=""))().eval()
            _, before = inputs.make(few)
        found = generation.kept(built, before)
    except UsageError:
        raise
    except Exception:  # noqa: BLE001 - a model that needs values is known by its signature
        parameters = inspect.signature(model.forward).parameters
        name = next((name for name in _CACHES if name in parameters), None)
    else:
        name = found.name if found else None
    if name is None:
        raise generation.no_cache(model.__name__)
    return name
