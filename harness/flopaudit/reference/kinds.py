"""The kinds of work that an operator can do: one enumeration, used by everything that names one."""

from __future__ import annotations

from enum import Enum, unique


@unique
class Kind(str, Enum):
    """The sort of work an operator does; a convention picks among them.

    A kind is its string: it is stored, sorted, formatted and looked up in a dict as that string.
    """

    CONVOLUTION = "conv"
    LINEAR = "linear"
    MATMUL = "matmul"
    ATTENTION = "attention"
    NORMALISATION = "normalisation"
    ACTIVATION = "activation"
    POOLING = "pooling"
    ELEMENTWISE = "elementwise"
    REDUCTION = "reduction"
    INTERPOLATION = "interpolation"
    SAMPLING = "sampling"
    DATA_MOVEMENT = "data movement"
    LOSS = "loss"
    FOURIER = "fourier transform"
    SOLVER = "linear algebra"
    UNKNOWN = "unknown"
    """An operator without a formula, which the ledger names in `uncounted_ops`."""

    __str__ = str.__str__
    __format__ = str.__format__  # type: ignore[assignment] # the C function, as StrEnum has it

    @property
    def is_layer(self) -> bool:
        """Whether it is the work of a convolution or of a fully connected layer."""
        return self in {Kind.CONVOLUTION, Kind.LINEAR}

    @property
    def is_product(self) -> bool:
        """Whether its main work is multiply-accumulates."""
        return self.is_layer or self in {Kind.MATMUL, Kind.ATTENTION}


PRODUCT_KINDS = tuple(kind for kind in Kind if kind.is_product)
LAYER_KINDS = tuple(kind for kind in Kind if kind.is_layer)
