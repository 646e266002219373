"""fvcore: a torch.jit trace with a handle for each operator; counts MACs, called flops."""

from __future__ import annotations

from adapters.contract import Reading, Row, Subject, Tool


def _measure(subject: Subject, variant: str | None) -> Reading:
    from fvcore.nn import FlopCountAnalysis, parameter_count

    del variant
    analysis = FlopCountAnalysis(subject.model, subject.inputs)
    total = analysis.total()
    params = parameter_count(subject.model)
    raw = {
        "total": total,
        "by_operator": dict(analysis.by_operator()),
        "unsupported_ops": dict(analysis.unsupported_ops()),
        "parameter_count": params[""],
    }
    types = {path: type(module).__name__ for path, module in subject.model.named_modules()}
    return Reading(raw=raw, count=total, params=params[""], rows=_rows(analysis.by_module(), types))


def _rows(by_module: dict[str, int], types: dict[str, str]) -> tuple[Row, ...]:
    """fvcore's counts hold a module's descendants; a row holds what is left to the module itself.

    `types` has each module once, under the name that fvcore calls canonical.
    """
    own = {path: by_module[path] for path in types}
    for path in types:
        if path:
            parent = _parent(path, types)
            own[parent] -= by_module[path]
    return tuple(Row(path, types[path], count) for path, count in own.items())


def _parent(path: str, types: dict[str, str]) -> str:
    parent = path.rpartition(".")[0]
    while parent not in types:
        parent = parent.rpartition(".")[0]
    return parent


TOOL = Tool(
    name="fvcore",
    distribution="fvcore",
    package="fvcore",
    unit="MAC",
    measure=_measure,
    summary="operators of a torch.jit trace",
    url="https://github.com/facebookresearch/fvcore",
)
