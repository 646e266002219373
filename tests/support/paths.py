"""Paths of the files that tests name to the command."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_SUPPORT = Path(__file__).resolve().parent

FAKES = _SUPPORT / "fakes" / "misbehaving_tools.py"
HOSTILE_MODELS = _SUPPORT / "fakes" / "hostile_models.py"
AUDIT_FAKES = _SUPPORT / "fakes" / "audited_tools.py"
SMALL_MODELS = _SUPPORT / "models" / "small_models.py"
DISPUTED_MODELS = _SUPPORT / "models" / "disputed_models.py"
DISPUTED_TOOLS = _SUPPORT / "other_tools" / "disputed_tools.py"
OUTSIDE_TOOLS = _SUPPORT / "other_tools" / "outside_tools.py"
TORCHINFO_TOOL = _SUPPORT / "other_tools" / "torchinfo_tool.py"
