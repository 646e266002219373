"""The printed report of a run: the table, anything unexplained, failures, and why tools differ."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from typing import Any

import pytest
from flopaudit.pipeline.results import Results, measurements_in, references_in
from flopaudit.records import store
from flopaudit.records.schema import Finding, Status
from flopaudit.reports import marks, run_report, tables
from flopaudit.reports.terminal import Screen

from tests.support.paths import ROOT
from tests.support.stored_settlements import amounts_in

QUICK = ROOT / "results" / "quick"
WIDTHS = (80, 100, 120, 160, 200)


@cache
def quick() -> Results:
    findings = [f for f in store.read(QUICK / "findings.jsonl", Finding) if isinstance(f, Finding)]
    return Results(
        tuple(measurements_in(QUICK / "measurements.jsonl")),
        tuple(references_in(QUICK / "references.jsonl")),
        tuple(findings),
    )


def only(results: Results, *models: str) -> Results:
    names = {f"torchvision:{model}" for model in models}
    return Results(
        tuple(m for m in results.measurements if m.model in names),
        tuple(r for r in results.references if r.model in names),
        tuple(f for f in results.findings if f.model in names),
    )


def lines(results: Results, to: Screen | None = None, *, details: bool = False) -> list[str]:
    found = run_report.lines(
        results.measurements, results.references, results.findings, to, details=details
    )
    return [line.plain for line in found]


def with_rest(results: Results, amount: int) -> Results:
    """The same, with a part of every number of thop unexplained."""
    findings = tuple(
        f.model_copy(update={"amount": amount, "evidence": "no cause is known"})
        if (f.tool, f.cause, f.quantity) == ("thop", "unexplained", "macs")
        else f
        for f in results.findings
    )
    return Results(results.measurements, results.references, findings)


# -- layout ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("details", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_is_wider_than_the_screen(width: int, details: bool) -> None:  # noqa: FBT001 - a parameter
    for results in (quick(), only(quick(), "vit_b_16"), with_rest(quick(), -5)):
        for encoding in ("utf-8", "ascii"):
            printed = lines(results, Screen(width, encoding), details=details)
            assert max(map(len, printed)) <= width
            assert encoding == "utf-8" or all(line.isascii() for line in printed)


def renamed(results: Results, names: dict[str, str]) -> Results:
    """The same, of models with other names."""

    def with_name(record: Any) -> Any:
        return record.model_copy(update={"model": names[record.model]})

    measurements, references, findings = (
        tuple(map(with_name, each))
        for each in (results.measurements, results.references, results.findings)
    )
    return Results(measurements, references, findings)


@pytest.mark.parametrize("other", ["/somewhere/else/net.py:large", "/somewhere/else/net.py:small"])
def test_models_in_files_are_shown_without_folders_if_that_is_clear(other: str) -> None:
    names = {"torchvision:resnet18": "/a/folder/net.py:small", "torchvision:vgg11": other}
    two = renamed(only(quick(), "resnet18", "vgg11"), names)
    shown = {line.split()[0] for line in lines(two, Screen(80)) if "net.py:" in line}
    clear = not other.endswith("small")
    assert shown == ({"…/net.py:small", "…/net.py:large"} if clear else set(names.values()))
    assert {line.split()[0] for line in lines(two) if "net.py:" in line} == set(names.values())


@pytest.mark.parametrize("width", [80, None])
def test_each_tool_has_one_line_on_why_it_differs(width: int | None) -> None:
    printed = lines(quick(), Screen(width))
    start = next(i for i, line in enumerate(printed) if line.startswith("Why they differ"))
    section = printed[start + 1 : printed.index("", start)]
    names = sorted(tables.variant_names(quick().measurements).values())
    assert sorted(re.split(r"  +", line.strip())[0] for line in section) == names


def test_the_largest_amount_and_the_cells_of_each_cause_are_those_of_the_findings() -> None:
    printed = lines(quick())
    for key, name in tables.variant_names(quick().measurements).items():
        sums: dict[str, Counter[str]] = {}
        for f in quick().findings:
            if f.tool_key == key and f.amount and f.cause != "unit":
                sums.setdefault(f.cause, Counter())[f.model] += f.amount
        (line,) = (line for line in printed if line.startswith(f"  {name}  "))
        assert sorted(amounts_in(line)) == sorted(max(s.values(), key=abs) for s in sums.values())
        for cause, models in sums.items():
            assert re.search(rf"[+-][\d,]+ {cause} in {len(models)}(,|$)", line)


def test_a_tool_without_differences_matches_the_reference() -> None:
    printed = lines(only(quick(), "resnet18"))
    assert "  flop_counter     nothing: matches the reference exactly" in printed


def test_evidence_is_shown_with_details_only() -> None:
    results = only(quick(), "resnet50")
    evidence = {f.evidence for f in results.findings if f.amount}
    short, long = ("\n".join(lines(results, details=details)) for details in (False, True))
    assert not any(text in short for text in evidence)
    assert all(text in long for text in evidence)
    assert lines(results)[-1] == "--details shows every cause with its evidence."
    assert "--details" not in long


def test_details_of_many_models_are_by_cause() -> None:
    text = "\n".join(lines(quick(), details=True))
    names = tables.variant_names(quick().measurements)
    for tool, cause, _, cells, amount, model, evidence in tables.summaries(quick().findings, names):
        if cause != "unexplained":
            assert tool in text
            assert re.search(
                rf"  {re.escape(cause)}( \(params\))? in {cells} cells?, "
                rf"at most {re.escape(f'{amount} on {model}: {evidence}')}",
                text,
            )


# -- sentences -------------------------------------------------------------------------------------


def test_nothing_is_unexplained() -> None:
    counted = sum(m.status is Status.COUNTED for m in quick().measurements)
    assert f"Unexplained: nothing, in {counted} cells compared." in lines(quick())
    assert not any("Not compared" in line for line in lines(quick()))


@pytest.mark.parametrize("width", [80, None])
def test_anything_unexplained_is_the_first_sentence_and_the_first_reason(width: int | None) -> None:
    printed = lines(with_rest(quick(), 77), Screen(width))
    sentences = printed[next(i for i, line in enumerate(printed) if line.startswith("In GMACs")) :]
    first = sentences[sentences.index("") + 1]
    assert re.fullmatch(r"Unexplained, in 11 places of \d+ compared cells:", first)
    assert any(line.startswith("  vit_b_16: thop +77 macs: no cause") for line in sentences)
    (reason,) = (line for line in printed if re.match(r"  thop +\+77 unexplained in 11", line))
    assert reason
    assert sum(line.count(" ?") for line in printed if "torchvision" not in line) >= 11


def test_without_a_reference_nothing_reads_as_success() -> None:
    results = only(quick(), "resnet50")
    failed = tuple(
        r.model_copy(update={"macs": None, "error": "it failed"}) for r in results.references
    )
    printed = lines(Results(results.measurements, failed, ()))
    text = "\n".join(printed)
    assert "Not compared: 6 cells, because the reference count failed." in printed
    assert "Unexplained: nothing" not in text
    assert "matches the reference" not in text
    assert "Why they differ" not in text
    assert "  resnet50: no reference: it failed" in printed


def test_without_a_reference_for_one_of_two_models_both_are_said() -> None:
    results = only(quick(), "resnet50", "resnet18")
    failed = tuple(
        r.model_copy(update={"macs": None, "error": "it failed"})
        if r.model.endswith("resnet50")
        else r
        for r in results.references
    )
    findings = only(results, "resnet18").findings
    printed = lines(Results(results.measurements, failed, findings))
    assert "Unexplained: nothing, in 6 cells compared." in printed
    assert "Not compared: 6 cells, because the reference count failed." in printed


def test_what_tools_did_not_take_and_what_failed_is_listed() -> None:
    results = only(quick(), "vit_b_16")
    measurements = tuple(
        m.model_copy(update={"status": Status.CRASHED, "error": "signal 9"})
        if m.tool == "fvcore"
        else m
        for m in results.measurements
    )
    changed = Results(measurements, results.references, results.findings)
    printed = lines(changed)
    assert "  vit_b_16: fvcore crashed: signal 9" in printed
    assert any(line.startswith("  torchstat errored on 1 model: Assert") for line in printed)
    assert run_report.failures(measurements, results.references) == [
        "vit_b_16: fvcore crashed: signal 9"
    ]
    assert printed.index("Failed:") < printed.index("Not counted:")


# -- tables and marks ------------------------------------------------------------------------------


def test_the_committed_tables_are_what_is_written_of_the_records(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    out = tmp_path_factory.mktemp("tables")
    tables.write(out, quick().measurements, quick().references, quick().findings)
    for name in ("table.csv", "table.md"):
        assert (out / name).read_bytes() == (QUICK / name).read_bytes()


@pytest.mark.parametrize(
    ("reported", "explained", "mark"),
    [
        (100, True, "="), (101, True, "*"), (99, True, "*"), (102, True, "!"), (98, True, "!"),
        (100, False, "?"), (500, False, "?"),
    ],
)  # fmt: skip
def test_marks(reported: int, explained: bool, mark: str) -> None:  # noqa: FBT001 - a parameter
    assert marks.mark(reported, 100, explained=explained) == mark
    assert f"{mark} " in marks.LEGEND
