"""Texts about causes: their category, a label, and the evidence for them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flopaudit.core.causes import Category, cause_named
from flopaudit.reports.escaping import Markdown, markdown_text
from flopaudit.reports.terminal import styled

if TYPE_CHECKING:
    from rich.text import Text

    from flopaudit.reports.terminal import Screen

_PRODUCTS = (Category.MISSED_PRODUCTS, Category.MISCOUNTED_PRODUCTS)


def label(cause_name: str) -> str:
    """Return a cause with what it is about, where its name alone does not say so."""
    about_products = cause_named(cause_name).category in _PRODUCTS
    return f"products ({cause_name})" if about_products else cause_name


_THREAD = re.compile(r"https://github\.com/(?P<repo>[\w.-]+/[\w.-]+)/(issues|pull)/(?P<number>\d+)")


def thread_name(url: str) -> str:
    """Return a short name for a thread: `Lyken17/pytorch-OpCounter#98`."""
    found = _THREAD.fullmatch(url)
    return f"{found['repo']}#{found['number']}" if found else url


def thread(issue: str, to: Screen) -> Text:
    """Return a thread as a link where the screen has them, as a plain address elsewhere."""
    from rich.text import Text

    url, _, note = issue.partition(" ")
    is_thread = _THREAD.fullmatch(url)  # any other text could end the link, or mislead
    link = (thread_name(url), f"link {url}") if to.links and is_thread else url
    return Text.assemble(link, f" {note}" if note else "")


def markdown_thread(issue: str) -> str:
    """Return a thread as a link of Markdown; anything else as text."""
    url, _, note = issue.partition(" ")
    if not _THREAD.fullmatch(url):
        return issue
    return Markdown(f"[{thread_name(url)}]({url}) {markdown_text(note)}".strip())


def evidence(cause: Mapping[str, Any], to: Screen) -> Text:
    """Return the evidence for a cause, with the probe that shows it and a thread about it."""
    from rich.text import Text

    parts: list[Text | str] = [styled(cause["evidence"])]
    if cause["probe"]:
        parts += [" · ", styled(f"probe {cause['probe']}")]
    if cause["issue"]:
        parts += [" · see ", thread(cause["issue"], to)]
    return Text.assemble(*parts)
