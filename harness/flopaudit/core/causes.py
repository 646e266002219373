"""The causes by which a tool's number can differ from the reference, and their categories.

Each cause has the name under which it is stored in findings and settlements, a category, and its
meaning in one line. Work other than products goes by the name of its kind: what a tool counts for
a pooling layer has the cause `pooling`. To add a cause, add a member here.
"""

from __future__ import annotations

from enum import Enum, unique
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self


@unique
class Category(str, Enum):
    """The topic of a cause."""

    UNIT = "unit"
    MISSED_PRODUCTS = "missed products"
    MISCOUNTED_PRODUCTS = "miscounted products"
    OTHER_OPERATIONS = "other operations"
    PARAMETERS = "parameters"
    WAY_OF_COUNTING = "way of counting"
    UNEXPLAINED = "unexplained"

    def __str__(self) -> str:
        """The name as it is shown to users."""
        return self.value


@unique
class Cause(str, Enum):
    """Why a tool's number differs from the reference.

    Attributes:
        category: what the cause is about.
        meaning: what the tool does, in one line.
    """

    category: Category
    meaning: str

    def __new__(cls, value: str, category: Category, meaning: str) -> Self:
        """Make a member of its stored name, its category and its meaning."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.category = category
        member.meaning = meaning
        return member

    def __str__(self) -> str:
        """The name under which the cause is stored."""
        return str(self.value)

    UNEXPLAINED = "unexplained", Category.UNEXPLAINED, "no known cause accounts for it"
    UNIT = "unit", Category.UNIT, "the tool counts FLOPs, two for each multiply-accumulate"

    UNSEEN_MODULE = (
        "unseen module type",
        Category.MISSED_PRODUCTS,
        "the tool has no rule for this class of layer",
    )
    UNSEEN_FUNCTION = (
        "unseen function",
        Category.MISSED_PRODUCTS,
        "the tool does not see this function where it is called",
    )
    UNSEEN_OPERATOR = (
        "unseen operator",
        Category.MISSED_PRODUCTS,
        "the tool has no formula for the operator that was executed",
    )
    PARTLY_SEEN = (
        "partly seen",
        Category.MISSED_PRODUCTS,
        "the tool counts some of the products of a layer or function",
    )
    DEAD_CODE = (
        "dead code not traced",
        Category.MISSED_PRODUCTS,
        "the tool's graph is without work whose result is not used",
    )

    PRODUCTS_COUNTED_AGAIN = (
        "products counted again",
        Category.MISCOUNTED_PRODUCTS,
        "the tool counts the same products more than once",
    )
    BY_OUTPUT = (
        "transposed convolution counted by output",
        Category.MISCOUNTED_PRODUCTS,
        "the tool multiplies the weights by the positions of the output, not of the input",
    )
    BY_WEIGHTS = (
        "weights counted for products",
        Category.MISCOUNTED_PRODUCTS,
        "the tool counts each weight once, not once for each position",
    )
    ROUNDED = (
        "rounded",
        Category.MISCOUNTED_PRODUCTS,
        "the tool rounds the count of each call to four digits",
    )
    CONVOLUTION = (
        "conv",
        Category.MISCOUNTED_PRODUCTS,
        "the tool counts something other than products for a convolution",
    )
    LINEAR = (
        "linear",
        Category.MISCOUNTED_PRODUCTS,
        "the tool counts something other than products for a linear layer",
    )
    MATMUL = (
        "matmul",
        Category.MISCOUNTED_PRODUCTS,
        "the tool counts something other than products for a matrix product",
    )
    ATTENTION = (
        "attention",
        Category.MISCOUNTED_PRODUCTS,
        "the tool counts something other than products for attention",
    )

    BIAS = "bias", Category.OTHER_OPERATIONS, "the tool counts the additions of a bias"
    NORMALISATION = (
        "normalisation",
        Category.OTHER_OPERATIONS,
        "the tool counts operations of normalisation layers",
    )
    ACTIVATION = (
        "activation",
        Category.OTHER_OPERATIONS,
        "the tool counts operations of activations, softmax included",
    )
    POOLING = "pooling", Category.OTHER_OPERATIONS, "the tool counts operations of pooling"
    ELEMENTWISE = (
        "elementwise",
        Category.OTHER_OPERATIONS,
        "the tool counts elementwise arithmetic",
    )
    REDUCTION = "reduction", Category.OTHER_OPERATIONS, "the tool counts sums, means and the like"
    INTERPOLATION = (
        "interpolation",
        Category.OTHER_OPERATIONS,
        "the tool counts operations of resizing",
    )
    SAMPLING = (
        "sampling",
        Category.OTHER_OPERATIONS,
        "the tool counts reading values at fractional positions",
    )
    DATA_MOVEMENT = (
        "data movement",
        Category.OTHER_OPERATIONS,
        "the tool counts work that only moves data, such as a copy",
    )
    LOSS = "loss", Category.OTHER_OPERATIONS, "the tool counts operations of a loss"
    FOURIER = (
        "fourier transform",
        Category.OTHER_OPERATIONS,
        "the tool counts operations of a Fourier transform",
    )
    SOLVER = (
        "linear algebra",
        Category.OTHER_OPERATIONS,
        "the tool counts operations of a decomposition or a solver",
    )

    UNKNOWN = (
        "unknown",
        Category.OTHER_OPERATIONS,
        "the tool counts work of an operator that the reference has no formula for",
    )

    PER_SAMPLE = "per sample", Category.WAY_OF_COUNTING, "the tool divides by the batch"
    SHARED_COUNTED_AGAIN = (
        "shared module counted again",
        Category.WAY_OF_COUNTING,
        "the tool counts a shared module once for each of its parents",
    )
    REUSED_COUNTED_ONCE = (
        "reused module counted once",
        Category.WAY_OF_COUNTING,
        "the tool counts only the last of several calls of a module",
    )
    FRACTION_DROPPED = (
        "fraction dropped",
        Category.WAY_OF_COUNTING,
        "the tool cuts its total down to a whole number",
    )

    PARAMS_UNCALLED = (
        "parameters of modules that did not run",
        Category.PARAMETERS,
        "the tool leaves out the parameters of modules that are never called",
    )
    PARAMS_UNSEEN = (
        "parameters unseen",
        Category.PARAMETERS,
        "the tool does not see the parameters of this module",
    )
    PARAMS_FROZEN = (
        "frozen parameters unseen",
        Category.PARAMETERS,
        "the tool counts only parameters that require a gradient",
    )
    PARAMS_COUNTED_AGAIN = (
        "parameters counted again",
        Category.PARAMETERS,
        "the tool counts the same parameters more than once",
    )


_BY_NAME = {cause.value: cause for cause in Cause}


def cause_named(name: str) -> Cause:
    """Return the cause of a stored name, or of the work of one kind, such as `pooling`.

    Raises:
        ValueError: there is no such cause.
    """
    if name not in _BY_NAME:
        raise ValueError(f"'{name}' is not a cause.")
    return _BY_NAME[name]
