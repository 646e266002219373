"""Reductions and scans: sums, means, norms, maxima, cumulative sums, Fourier transforms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flopaudit.probes.definition import (
    IMAGES,
    Make,
    Probe,
    cut,
    function,
    layer,
    sized,
)

_IMAGES = sized(IMAGES)
_PAIRS = [cut((n, k), (n, k)) for n, k in ((2, 3), (5, 4), (3, 11), (7, 6), (13, 2))]

_OVER_CHANNELS = ("sum", "mean", "amax", "prod", "var", "logsumexp", "argmax", "norm")


def _torchs(name: str, **options: Any) -> Make:
    # Looked up at each call, because tools replace torch's functions.
    return lambda torch, x: getattr(torch, name)(x, **options)


def _method(name: str, **options: Any) -> Make:
    return lambda torch, x: getattr(x, name)(**options)


def _reductions() -> Iterator[Probe]:
    for name in _OVER_CHANNELS:
        about = f"over channels, torch.{name}"
        yield function(f"reduction/{name}_torch", about, _torchs(name, dim=1), _IMAGES)
    for name in ("sum", "mean", "amax", "norm", "var"):
        about = f"over channels, Tensor.{name}"
        yield function(f"reduction/{name}_method", about, _method(name, dim=1), _IMAGES)
    for name in ("sum", "mean", "max", "norm"):
        about = f"over everything, torch.{name}"
        yield function(f"reduction/{name}_of_all", about, _torchs(name), _IMAGES)
    yield function(
        "reduction/cumsum_torch", "along channels, torch.cumsum", _torchs("cumsum", dim=1), _IMAGES
    )


_FFT: dict[str, Make] = {
    "fft": lambda torch, x: torch.fft.fft(x).real,
    "rfft2": lambda torch, x: torch.fft.rfft2(x).real,
    "rfft2_irfft2": lambda torch, x: torch.fft.irfft2(torch.fft.rfft2(x), s=x.shape[-2:]),
}

PROBES: tuple[Probe, ...] = (
    *_reductions(),
    function(
        "reduction/max_with_places",
        "x.max(dim=1), which gives values and places",
        lambda torch, x: x.max(dim=1)[0],
        _IMAGES,
    ),
    function(
        "reduction/linalg_vector_norm",
        "torch.linalg.vector_norm over channels",
        lambda torch, x: torch.linalg.vector_norm(x, dim=1),
        _IMAGES,
    ),
    function(
        "reduction/topk",
        "torch.topk over channels",
        lambda torch, x: torch.topk(x, 2, 1)[0],
        _IMAGES,
    ),
    layer(
        "reduction/cosine_similarity_module",
        "CosineSimilarity of rows",
        lambda torch: torch.nn.CosineSimilarity(),
        _PAIRS,
    ),
    function(
        "reduction/cosine_similarity_function",
        "functional.cosine_similarity of rows",
        lambda torch, x, y: torch.nn.functional.cosine_similarity(x, y),
        _PAIRS,
    ),
    layer(
        "reduction/pairwise_distance_module",
        "PairwiseDistance of rows",
        lambda torch: torch.nn.PairwiseDistance(),
        _PAIRS,
    ),
    layer(
        "reduction/mse_loss_module",
        "MSELoss",
        lambda torch: torch.nn.MSELoss(),
        _PAIRS,
    ),
    *(
        function(f"reduction/{key}", f"torch.fft: {key.replace('_', ' and ')}", call, _IMAGES)
        for key, call in _FFT.items()
    ),
)
