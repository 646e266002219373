"""Embeddings and bags of embeddings, which look up rows."""

from __future__ import annotations

from typing import Any

from flopaudit.probes.definition import (
    Case,
    Make,
    Probe,
    cut,
    function,
    given,
    layer,
)

# Ids in the input, rows of the table, features of a row.
_SIZES = (("1x5", 3, 4), ("2x3", 5, 7), ("3x7", 2, 5), ("4x2", 7, 3), ("1x11", 6, 2))
_IDS = [given(f"int64:{shape}", rows, features) for shape, rows, features in _SIZES]


def _embedding(**options: Any) -> Make:
    return lambda torch, rows, features: torch.nn.Embedding(rows, features, **options)


def _bag(mode: str) -> Make:
    return lambda torch, rows, features: torch.nn.EmbeddingBag(rows, features, mode=mode)


def _image_ids() -> list[Case]:
    """Define cases of an image and the sizes of an embedding."""
    return [
        cut((n, 3), sizes=(rows, features))
        for (_, rows, features), n in zip(_SIZES, (5, 6, 21, 8, 11), strict=True)
    ]


def _tied(torch: Any, rows: int, features: int) -> Any:
    embedding = torch.nn.Embedding(rows, features)
    linear = torch.nn.Linear(features, rows, bias=False)
    linear.weight = embedding.weight
    return torch.nn.ModuleList((embedding, linear))


PROBES: tuple[Probe, ...] = (
    layer("embedding/embedding", "Embedding", _embedding(), _IDS),
    layer(
        "embedding/embedding_padding",
        "Embedding with a padding row",
        _embedding(padding_idx=0),
        _IDS,
    ),
    layer(
        "embedding/embedding_of_image",
        "Embedding of the signs of an image's values",
        _embedding(),
        _image_ids(),
        call=lambda torch, embedding, x: embedding((x > 1).long()),
    ),
    function(
        "embedding/function_embedding",
        "functional.embedding of the signs of an image's values",
        lambda torch, x, table: torch.nn.functional.embedding((x > 1).long(), table),
        [
            cut((n,), (rows, features))
            for n, (_, rows, features) in zip((5, 6, 21, 8, 11), _SIZES, strict=True)
        ],
    ),
    function(
        "embedding/one_hot_matmul",
        "an embedding written as a product with one-hot rows",
        lambda torch, x, table: (
            torch.nn.functional.one_hot((x > 1).long(), table.shape[0]).to(table.dtype) @ table
        ),
        [
            cut((n,), (rows, features))
            for n, (_, rows, features) in zip((5, 6, 21, 8, 11), _SIZES, strict=True)
        ],
    ),
    *(
        layer(f"embedding/embedding_bag_{mode}", f"EmbeddingBag, {mode}", _bag(mode), _IDS)
        for mode in ("sum", "mean", "max")
    ),
    layer(
        "embedding/linear_tied",
        "Embedding whose table is a Linear's weight too",
        _tied,
        _IDS,
        call=lambda torch, layers, ids: layers[1](layers[0](ids)),
    ),
)
