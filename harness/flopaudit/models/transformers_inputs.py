"""Inputs of transformers models, derived from a model's class and configuration.

A model gets its main input (`main_input_name`), the parameters of forward without a default, the
decoder's tokens if it has a decoder, and one input for each modality if it gives features of each
separately, as CLIP does. Sizes are those of the configuration, else common ones. Imports neither
torch nor transformers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from flopaudit.core.errors import UsageError
from flopaudit.core.input_values import InputSpec, tensor

TOKENS = 128
IMAGE_SIZE = 224
SAMPLES = 16_000  # one second of sound
FRAMES = 1000  # ten seconds of spectra, one every 10 ms
Shape = tuple[int, ...]

_FEATURES = {
    "get_text_features": "input_ids",
    "get_image_features": "pixel_values",
    "get_video_features": "pixel_values",
    "get_audio_features": "input_features",
}
_PARTS = {
    "text": ("text_config", "decoder", "text_encoder"),
    "image": ("vision_config", "backbone_config", "encoder", "image_encoder"),
    "sound": ("audio_config", "encoder_config", "audio_encoder", "encoder"),
}


def forward_inputs(model: Any, config: Any) -> list[InputSpec]:
    """Return the inputs of a model, in the order of forward's parameters.

    Raises:
        UsageError: forward needs an input whose shape is not known here.
    """
    parameters = inspect.signature(model.forward).parameters
    wanted = _wanted(model, config, parameters)
    return [_input(name, model, config) for name in parameters if name in wanted]


def _wanted(model: Any, config: Any, parameters: Any) -> set[str]:
    main = model.main_input_name
    wanted = {main} if isinstance(main, str) else set(main)
    wanted |= {
        name
        for name, parameter in list(parameters.items())[1:]  # after self
        if parameter.default is parameter.empty
        and parameter.kind not in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}
    }
    if getattr(config, "is_encoder_decoder", False):
        wanted.add("decoder_input_ids")
    features = {name: given for name, given in _FEATURES.items() if hasattr(model, name)}
    if "get_text_features" in features and len(features) > 1:
        wanted |= set(features.values())
    return wanted


def _input(name: str, model: Any, config: Any) -> InputSpec:
    dtype, of_config = _SHAPES.get(name, ("", _unknown))
    shape = of_config(config)
    if shape is None:
        raise UsageError(
            f"{model.__name__} needs '{name}', and its shape is not known here.",
            f"Give all inputs, such as --input {name}=1x128.",
        )
    return tensor(shape, dtype, name)


def _unknown(_config: Any) -> None:
    """Return no shape, for an input that is not known here."""


def _configs(config: Any, kind: str) -> Iterator[Any]:
    """Yield a configuration and the nested ones of a kind, outermost first."""
    yield config
    for name in _PARTS[kind]:
        part = getattr(config, name, None)
        if part is not None and not isinstance(part, dict):
            yield from _configs(part, kind)


def _first(config: Any, kind: str, *names: str) -> Any:
    """Return the first attribute that one of the configurations has; None if none has one."""
    values = (getattr(each, name, None) for each in _configs(config, kind) for name in names)
    return next((value for value in values if value is not None), None)


def _tokens(config: Any) -> Shape:
    limit = token_limit(config)
    return (1, min(TOKENS, limit.tokens) if limit else TOKENS)


class TokenLimit(NamedTuple):
    """The most tokens that a model takes, and the option that says so; "" in a nested part."""

    tokens: int
    option: str


def token_limit(config: Any) -> TokenLimit | None:
    """Return the most tokens that a model takes; None if its configuration has no such number."""
    for each in _configs(config, "text"):
        for name in ("max_position_embeddings", "n_positions", "max_target_positions"):
            limit = getattr(each, name, None)
            if limit is not None:
                option = name if each is config else ""
                return TokenLimit(limit, option) if isinstance(limit, int) and limit > 0 else None
    return None


def _boxes(config: Any) -> Shape:
    return (*_tokens(config), 4)


def _image(config: Any) -> Shape:
    size = _first(config, "image", "image_size", "img_size")
    channels = _first(config, "image", "num_channels", "in_channels", "in_chans") or 3
    return (1, channels, *_pair(size or IMAGE_SIZE))


def _pair(size: Any) -> tuple[int, int]:
    """Return height and width; one number stands for both."""
    if isinstance(size, int):
        return (size, size)
    if isinstance(size, dict) or hasattr(size, "height"):
        size = size if isinstance(size, dict) else vars(size)
        return (size["height"], size["width"])
    return (size[0], size[-1])


def _pixels(config: Any) -> Shape:
    """Return an image, or a video's frames if the configuration has a number of frames."""
    frames = _first(config, "image", "num_frames")
    image = _image(config)
    return (1, frames, *image[1:]) if frames else image


def _video(config: Any) -> Shape:
    frames = _first(config, "image", "num_frames", "frames_per_clip") or 16
    return (1, frames, *_image(config)[1:])


def _samples(config: Any) -> Shape:
    """Return a wave, with channels if the configuration has them; spectra if it has mel bins."""
    length, bins = getattr(config, "max_length", None), getattr(config, "num_mel_bins", None)
    if length and bins:
        return (1, length, bins)
    channels = getattr(config, "audio_channels", None)
    codec = hasattr(config, "codebook_size") or hasattr(config, "downsampling_ratios")
    return (1, channels or 1, SAMPLES) if channels or codec else (1, SAMPLES)


def _spectra(config: Any) -> Shape:
    """Return bins by time, as whisper takes them, or time by features."""
    bins = _first(config, "sound", "num_mel_bins", "num_mels")
    positions = _first(config, "sound", "max_source_positions")
    features = _first(config, "sound", "input_feat_per_channel", "feature_projection_input_dim")
    if _first(config, "sound", "spec_size"):
        return (1, 1, FRAMES, bins)
    if bins and positions and not features:
        return (1, bins, 2 * positions)
    return (1, FRAMES, features or bins or 80)


def _series(config: Any) -> Shape | None:
    """Return a series of several channels, all of it context."""
    length, channels = (
        getattr(config, name, None) for name in ("context_length", "num_input_channels")
    )
    return (1, length, channels) if length and channels else None


_SHAPES: dict[str, tuple[str, Callable[[Any], Shape | None]]] = {
    "input_ids": ("int64", _tokens),
    "decoder_input_ids": ("int64", _tokens),
    "bbox": ("int64", _boxes),
    "pixel_values": ("float32", _pixels),
    "pixel_values_videos": ("float32", _video),
    "input_values": ("float32", _samples),
    "input_features": ("float32", _spectra),
    "past_values": ("float32", _series),
}
