"""Data movement, which computes nothing: joining, splitting, indexing, copying."""

from __future__ import annotations

from flopaudit.probes.definition import (
    IMAGES,
    Make,
    Probe,
    cut,
    function,
    sized,
)

_ONE = sized(IMAGES)
_PAIRS = [cut(shape, shape) for shape in IMAGES]
_UNEVEN = [cut((1, c, h, w), (1, c + 2, h, w)) for _, c, h, w in IMAGES]

_MOVES: dict[str, tuple[str, Make]] = {
    "chunk": ("x.chunk(2, -1)", lambda torch, x: x.chunk(2, -1)[0]),
    "permute": ("x.permute(0, 2, 3, 1)", lambda torch, x: x.permute(0, 2, 3, 1)),
    "contiguous": ("a permuted copy", lambda torch, x: x.permute(0, 2, 3, 1).contiguous()),
    "roll": ("torch.roll", lambda torch, x: torch.roll(x, 1, 2)),
    "repeat": ("x.repeat", lambda torch, x: x.repeat(1, 1, 2, 1)),
    "expand": ("x[:, :1].expand_as(x)", lambda torch, x: x[:, :1].expand_as(x)),
    "index": ("x[:, [1, 0]]", lambda torch, x: x[:, [1, 0]]),
    "gather": (
        "torch.gather",
        lambda torch, x: torch.gather(x, 1, torch.zeros_like(x, dtype=torch.int64)),
    ),
    "itself": ("its own input", lambda torch, x: x),
}

PROBES: tuple[Probe, ...] = (
    function(
        "movement/cat", "torch.cat over channels", lambda torch, x, y: torch.cat((x, y), 1), _UNEVEN
    ),
    function("movement/stack", "torch.stack", lambda torch, x, y: torch.stack((x, y)), _PAIRS),
    *(function(f"movement/{key}", about, call, _ONE) for key, (about, call) in _MOVES.items()),
)
