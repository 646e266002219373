"""Tools from outside the package, each called as its README says; one more that the package has.

None is installed with the package: `flopaudit install NAME==VERSION` keeps each in a folder apart,
and `outside_tools.py:CALFLOPS==0.3.2` names it. `TORCHSTAT_REPORT` is torchstat with its report,
which the adapter leaves out.
"""

# mypy: disable-error-code="import-not-found"
from __future__ import annotations

from flopaudit_adapters.contract import (
    LoadedModel,
    Tool,
    ToolResult,
    positional,
)


def _calflops(subject: LoadedModel, _variant: str | None) -> ToolResult:
    from calflops import calculate_flops

    flops, macs, params = calculate_flops(
        model=subject.model,
        args=[*subject.inputs],
        kwargs=dict(subject.kwargs),
        print_results=False,
        output_as_string=False,
    )
    return ToolResult({"flops": flops, "macs": macs, "params": params}, flops, params)


def _deepspeed(subject: LoadedModel, _variant: str | None) -> ToolResult:
    from deepspeed.profiling.flops_profiler import get_model_profile

    flops, macs, params = get_model_profile(
        model=subject.model,
        args=[*subject.inputs],
        kwargs=dict(subject.kwargs),
        print_profile=False,
        warm_up=0,  # which is for its times; a model that raises there is not profiled at all
        as_string=False,
    )
    return ToolResult({"flops": flops, "macs": macs, "params": params}, flops, params)


def _flopth(subject: LoadedModel, _variant: str | None) -> ToolResult:
    from flopth import flopth

    flops, params = flopth(subject.model, inputs=positional(subject), bare_number=True)
    return ToolResult({"flops": flops, "params": params}, flops, params)


def _torch_flops(subject: LoadedModel, _variant: str | None) -> ToolResult:
    import torch
    from torch_flops import TorchFLOPsByFX

    inputs = positional(subject)
    with torch.no_grad():
        subject.model(*inputs)
    # The other way to measure memory, and the usual one, needs a GPU.
    counter = TorchFLOPsByFX(subject.model, mem_func_name="memory_allocated")
    counter.propagate(*inputs)
    flops = counter.print_total_flops(show=False)
    return ToolResult({"flops": flops}, flops)


def _ultralytics_thop(subject: LoadedModel, _variant: str | None) -> ToolResult:
    from thop import profile

    macs, params = profile(subject.model, inputs=positional(subject), verbose=False)
    return ToolResult({"macs": macs, "params": params}, macs, params)


def _torchstat_report(subject: LoadedModel, _variant: str | None) -> ToolResult:
    from torchstat import stat

    return ToolResult({}, stat(subject.model, tuple(subject.inputs[0].shape[1:])))


CALFLOPS = Tool(
    name="calflops",
    distribution="calflops",
    package="calflops",
    unit="FLOP",
    measure=_calflops,
    summary="patched functionals",
    url="https://github.com/MrYxJ/calculate-flops.pytorch",
)
DEEPSPEED = Tool(
    name="deepspeed",
    distribution="deepspeed",
    package="deepspeed.profiling.flops_profiler",
    unit="FLOP",
    measure=_deepspeed,
    summary="patched functionals",
    url="https://github.com/deepspeedai/DeepSpeed",
)
FLOPTH = Tool(
    name="flopth",
    distribution="flopth",
    package="flopth",
    unit="MAC",
    measure=_flopth,
    summary="replaced calls of leaf module classes",
    url="https://github.com/vra/flopth",
)
TORCH_FLOPS = Tool(
    name="torch-flops",
    distribution="torch-flops",
    package="torch_flops",
    unit="FLOP",
    measure=_torch_flops,
    summary="an interpreted torch.fx graph",
    url="https://github.com/zugexiaodui/torch_flops",
)
ULTRALYTICS_THOP = Tool(
    name="ultralytics-thop",
    distribution="ultralytics-thop",
    package="thop",
    unit="MAC",
    measure=_ultralytics_thop,
    summary="forward hooks, and a function mode",
    url="https://github.com/ultralytics/thop",
)
TORCHSTAT_REPORT = Tool(
    name="torchstat-report",
    distribution="torchstat",
    package="torchstat",
    unit="MAC",
    measure=_torchstat_report,
    summary="torchstat with the report it prints",
    url="https://github.com/Swall0w/torchstat",
)
