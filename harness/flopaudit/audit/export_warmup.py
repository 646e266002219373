"""Exports a small model when it is imported, so that later exports in forked processes are fast.

The first export in a process fills caches of torch, and takes several times as long as the next.
"""

from __future__ import annotations

import torch
from torch.utils.hooks import RemovableHandle

from flopaudit.audit import audit_models

_next_id = RemovableHandle.next_id
torch.export.export(audit_models.plain().eval(), (torch.rand(1, 3, 32, 32),))
RemovableHandle.next_id = _next_id  # records name hooks by number: those of an export are not seen
