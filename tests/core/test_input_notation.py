"""The notation of inputs: what is written reads back, and what cannot be read has a remedy."""

from __future__ import annotations

import math

import pytest
from flopaudit.core.errors import UsageError
from flopaudit.core.input_notation import DEEPEST
from flopaudit.core.input_values import (
    DTYPES,
    CacheSpec,
    CallSpec,
    Constant,
    DictSpec,
    EncodedSpec,
    FileSpec,
    InputSpec,
    ListSpec,
    TensorSpec,
    TupleSpec,
    Value,
    first_tensor,
    with_tensors,
)
from flopaudit.core.specs import ModelSpec, parse_input, parse_inputs, parse_model
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
PATHS = st.text(min_size=1, max_size=12)
TENSORS = st.builds(
    TensorSpec,
    st.lists(st.integers(0, 10**6), max_size=5).map(tuple),
    st.sampled_from(DTYPES),
)
CONSTANTS = st.builds(
    Constant,
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
)
CALLS = st.builds(CallSpec, PATHS, NAMES)
ALONE = TENSORS | CONSTANTS | st.builds(FileSpec, PATHS) | CALLS


def dicts(values: st.SearchStrategy[Value]) -> st.SearchStrategy[DictSpec]:
    return st.dictionaries(NAMES | st.text(max_size=6), values, max_size=3).map(
        lambda found: DictSpec(tuple(found.items()))
    )


def containers(values: st.SearchStrategy[Value]) -> st.SearchStrategy[Value]:
    series = st.lists(values, max_size=3).map(tuple)
    tokens = st.tuples(st.integers(1, 9), st.integers(1, 4096))
    return (
        st.builds(ListSpec, series)
        | st.builds(TupleSpec, series)
        | dicts(values)
        | st.builds(CacheSpec, tokens.map(lambda shape: TensorSpec(shape, "int64")))
        | st.builds(CacheSpec, dicts(values))
        | st.builds(EncodedSpec, dicts(values))
    )


VALUES = st.recursive(ALONE, containers, max_leaves=8)


@given(value=VALUES, name=st.just("") | NAMES)
def test_every_input_reads_back(value: Value, name: str) -> None:
    spec = InputSpec(value, name)
    read = parse_input(str(spec))
    assert read == spec
    assert str(read) == str(spec)
    assert str(spec).isprintable(), "nothing in it acts on a terminal"


@given(text=st.text(alphabet="[](){}:,=x1.7\"'\\ aintfoe64×-", max_size=24))
def test_any_text_is_an_input_or_has_a_remedy(text: str) -> None:
    found: InputSpec | UsageError
    try:
        found = parse_input(text)
    except UsageError as error:
        found = error
    if isinstance(found, UsageError):
        assert found.message.endswith(".")
        assert found.remedy
    else:
        assert parse_input(str(found)) == found


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("1×3×224×224", "1x3x224x224"),
        ("1X3 x 224*224", "1x3x224x224"),
        ("ids=int64:1×128", "ids=int64:1x128"),
        ("bf16:1x8", "bfloat16:1x8"),
        ("half:1x8", "float16:1x8"),
        ("7", "7"),
        ("n=7", "n=7"),
        ("float32:()", "float32:()"),
        ("n=int:3", "n=int:3"),
        ("-3", "int:-3"),
        ("1e-3", "0.001"),
        ("float:inf", "float:inf"),
        ("flag=True", "flag=true"),
        ("mask=None", "mask=none"),
        ("prompt='a, photo'", 'prompt="a, photo"'),
        ("[ int:1,\n0.5, ]", "[int:1, 0.5]"),
        (
            "batch={image:1×3×64×64, 'a b': [int64:1x2,(true,)]}",
            'batch={image: 1x3x64x64, "a b": [int64:1x2, (true)]}',
        ),
        ("[float32:7]", "[float32:7]"),
        ("file:my data.pt", "file:my data.pt"),
        ("[file:'a,b.pt', call:x.py:f]", '[file:"a,b.pt", call:x.py:f]'),
        ("call:pkg/inputs.py:Made.inputs", "call:pkg/inputs.py:Made.inputs"),
        ("cache=cache:1×512", "cache=cache:1x512"),
    ],
)
def test_what_a_user_writes_has_one_form(written: str, canonical: str) -> None:
    assert str(parse_input(written)) == canonical


def test_a_number_that_is_none_reads_back() -> None:
    value = parse_input("float:nan").value
    assert isinstance(value, Constant)
    assert isinstance(value.value, float)
    assert math.isnan(value.value)
    assert str(value) == "float:nan"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1,3,224,224", "a shape is written 1x3x224x224"),
        ("x=(1, 3, 8)", "a shape is written 1x3x8"),
        ("1x3 + 1x4", "'+ 1x4' follows its end"),
        ("[7]", "7 could be a shape or a number, so write float32:7 or int:7"),
        ("mode=mean", 'text is written in quotes, as "mean"'),
        ("int:1x3", "a tensor is written int32:1x3"),
        ("float:one", "'one' is not a number"),
        ("complex:1x3", "'complex' in 'complex:1x3' is not a dtype"),
        ("[1x3", "a comma or ']' is missing"),
        ("{a 1x3}", "a colon is missing after the key 'a'"),
        ("{1: 1x3}", "a key is missing"),
        ("{a: 1x3, a: 1x4}", "the key 'a' is given twice"),
        ('"open', "the quote is not closed"),
        (r'"\q"', "an escape that is not one of JSON"),
        ("file:", "a path is missing after file:"),
        ("call:make", "call:path/to/file.py:function"),
        ("cache:512", "batch by tokens"),
        ("encoded:1x3", "inputs by keyword"),
        ("[1x3, ]]", "']' follows its end"),
        (f"1x{'9' * 5000}", "is not an input"),
        ("[" * (DEEPEST + 1), f"more than {DEEPEST} levels"),
        ("[" * 100_000, f"more than {DEEPEST} levels"),
        ("cache:{a:" * 100_000, f"more than {DEEPEST} levels"),
    ],
)
def test_what_cannot_be_read_says_why(text: str, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_input(text)
    assert reason in caught.value.message
    assert caught.value.remedy
    assert len(caught.value.message) < 400, "long text is cut"


def test_a_shape_without_a_dtype_follows_the_model() -> None:
    (spec,) = parse_inputs(["{a: 1x3, b: [int64:1x2, float32:1x4]}"], "bfloat16")
    assert str(spec) == "{a: bfloat16:1x3, b: [int64:1x2, 1x4]}"


def test_tensors_are_found_and_changed_within_values() -> None:
    specs = parse_inputs(["mask=none", "[{image: 2x3x8x8}, (2x5)]"])
    assert first_tensor(specs) == TensorSpec((2, 3, 8, 8))
    assert first_tensor(parse_inputs(["file:x.pt"])) is None
    halved = with_tensors(specs[1].value, lambda one: TensorSpec((1, *one.shape[1:])))
    assert str(halved) == "[{image: 1x3x8x8}, (1x5)]"


@pytest.mark.parametrize(
    ("written", "canonical", "spec"),
    [
        ("resnet50@bf16", "torchvision:resnet50@bfloat16", ("torchvision", "resnet50", "", "")),
        (
            "resnet50?num_classes=10",
            "torchvision:resnet50?num_classes=10",
            ("torchvision", "resnet50", "", "num_classes=10"),
        ),
        (
            "a b/net.py:Outer.make?depth=3&name=x:y@fp16",
            "a b/net.py:Outer.make?depth=3&name=x:y@float16",
            ("file", "a b/net.py", "Outer.make", "depth=3&name=x:y"),
        ),
        ("dir@float16/net.py:f", "dir@float16/net.py:f", ("file", "dir@float16/net.py", "f", "")),
        (r"C:\x\net.py:f", r"C:\x\net.py:f", ("file", r"C:\x\net.py", "f", "")),
        ("timm:resnet18?in_chans=1@half", "timm:resnet18?in_chans=1@float16", None),
    ],
)
def test_a_model_reads_back(
    written: str, canonical: str, spec: tuple[str, str, str, str] | None
) -> None:
    read = parse_model(written)
    assert str(read) == canonical
    assert parse_model(canonical) == read
    assert spec is None or read == ModelSpec(*spec, dtype=read.dtype)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("resnet50?", "no options after"),
        ("net.py:make?depth", "'depth' in '?depth' is not an option"),
        ("resnet50@int8", "not a dtype that a model can have"),
        ("net.py:make@fp15", "not a dtype that a model can have"),
        ("net.py:", "not a model"),
    ],
)
def test_a_model_that_cannot_be_read(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason.replace("?", r"\?")):
        parse_model(text)
