"""Text from models and tools, made safe for records, for a terminal and for any encoding."""

from __future__ import annotations

import codecs
import json
import re
import sys
import traceback
from pathlib import Path

import flopaudit_adapters

from flopaudit.core.first_line import named

_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")
_PACKAGES = re.compile(r"[^\s\"']+/site-packages/")
_SOURCES = (
    Path(flopaudit_adapters.__file__).resolve().parent,
    Path(__file__).resolve().parents[1],
)
_PLACES = (*(str(source.parent) for source in _SOURCES), sys.prefix, sys.base_prefix)

_SURROGATES = "\ud800-\udfff"
_INVISIBLE = (
    "\x00-\x1f\x7f-\x9f"  # control characters, with which escape sequences begin
    "\xad\u061c\u180e\u115f\u1160\u3164\uffa0"  # soft hyphen, marks and fillers without a shape
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f"  # zero width, line ends, directions of writing
    "\ufe00-\ufe0f\ufeff\ufff9-\ufffb"  # variation selectors, byte order mark, annotations
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"  # formats, tags
)
UNSAFE = re.compile(f"[{_INVISIBLE}{_SURROGATES}]")
"""The characters that act on a terminal, are not seen, or that UTF-8 cannot hold."""

_UNSAFE_IN_LINES = re.compile(f"(?!\n)[{_INVISIBLE}{_SURROGATES}]")
_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}

_ASCII = dict(
    zip("×·−±†├└─│█▌▐–—‘’“”•", "x--+~|`-|###--''\"\"*", strict=True)  # one for one
) | {"…": "...", "⁹": "^9", "⁶": "^6", "±": "+-", "→": "->", "≤": "<=", "≥": ">="}
"""What is written in place of characters that an output cannot encode."""


def one_line(error: BaseException) -> str:
    """Return an exception's type and first line; without a message, the line that raised it."""
    if str(error).strip():
        return plain(named(error))
    name, raised = type(error).__name__, traceback.extract_tb(error.__traceback__)[-1:]
    return plain(f"{name} at `{raised[0].line}`") if raised and raised[0].line else name


def plain(text: str) -> str:
    r"""Return text that UTF-8 can hold: bytes of file names that are not UTF-8 are escaped.

    The byte E9 in a name, which Python reads as one half of a surrogate pair, becomes `\xe9`.
    """
    return re.sub(f"[{_SURROGATES}]", _escape, text)


def visible(text: str, *, lines: bool = False) -> str:
    r"""Return text in which nothing acts on a terminal or is hidden: escape is written as `\x1b`.

    Control characters, marks for the direction of writing, characters without width and bytes that
    are not UTF-8 are written as Python escapes.

    Args:
        text: of any origin.
        lines: whether the text may have several lines, so that line feeds are kept.
    """
    return (_UNSAFE_IN_LINES if lines else UNSAFE).sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    """Return the Python escape of one character; of a byte that is not UTF-8, that of the byte."""
    character, code = found[0], ord(found[0])
    if character in _SHORT:
        return _SHORT[character]
    if 0xDC80 <= code <= 0xDCFF:  # noqa: PLR2004 - where Python puts such bytes, by PEP 383
        code -= 0xDC00
    return next(form.format(code) for most, form in _FORMS if code <= most)


_FORMS = ((0xFF, "\\x{:02x}"), (0xFFFF, "\\u{:04x}"), (0x10FFFF, "\\U{:08x}"))


def visible_json(text: str) -> str:
    """Return a JSON document that says the same, with the escapes of JSON for unsafe characters."""
    return _UNSAFE_IN_LINES.sub(lambda found: json.dumps(found[0])[1:-1], text)


# -- encodings -------------------------------------------------------------------------------------

DEGRADE = "flopaudit.degrade"
"""The error handler of output in an encoding that lacks a character: similar ones, or an escape."""


def encodable(text: str, encoding: str) -> str:
    """Return text in characters of an encoding, such as x for × in ASCII."""
    return text.encode(encoding, DEGRADE).decode(encoding)


def _degrade(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_ASCII.get(each) or _escaped(each) for each in lacking), error.end


def _escaped(character: str) -> str:
    return re.sub(".", _escape, character, flags=re.DOTALL)


codecs.register_error(DEGRADE, _degrade)


def portable(text: str, site: str | None = None) -> str:
    """Return text with memory addresses and folders of this machine blanked, because they differ.

    Args:
        text: the output or message of a tool.
        site: the folder that the tool was imported from.
    """
    for place in filter(None, (site, *_PLACES)):
        text = text.replace(place, "…")
    return _PACKAGES.sub("…/site-packages/", _ADDRESS.sub("0x…", text))
