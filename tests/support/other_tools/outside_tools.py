"""Tools from outside the package, each called as described in its README.

None is installed with the package: `flopaudit install NAME==VERSION` keeps each in a folder of its
own, and `outside_tools.py:CALFLOPS==0.3.2` names it. `TORCHSTAT_REPORT` is torchstat with its
report, which the package's own adapter leaves out.
"""

# mypy: disable-error-code="import-not-found"
from __future__ import annotations

from flopaudit_adapters.contract import (
    LoadedModel,
    Tool,
    ToolResult,
    positional,
)


def _calflops(loaded: LoadedModel, _variant: str | None) -> ToolResult:
    from calflops import calculate_flops

    flops, macs, params = calculate_flops(
        model=loaded.model,
        args=[*loaded.inputs],
        kwargs=dict(loaded.kwargs),
        print_results=False,
        output_as_string=False,
    )
    return ToolResult({"flops": flops, "macs": macs, "params": params}, flops, params)


def _deepspeed(loaded: LoadedModel, _variant: str | None) -> ToolResult:
    from deepspeed.profiling.flops_profiler import get_model_profile

    flops, macs, params = get_model_profile(
        model=loaded.model,
        args=[*loaded.inputs],
        kwargs=dict(loaded.kwargs),
        print_profile=False,
        warm_up=0,  # It matters to times only, and a model that raises in it is not profiled.
        as_string=False,
    )
    return ToolResult({"flops": flops, "macs": macs, "params": params}, flops, params)


def _flopth(loaded: LoadedModel, _variant: str | None) -> ToolResult:
    from flopth import flopth

    flops, params = flopth(loaded.model, inputs=positional(loaded), bare_number=True)
    return ToolResult({"flops": flops, "params": params}, flops, params)


def _torch_flops(loaded: LoadedModel, _variant: str | None) -> ToolResult:
    import torch
    from torch_flops import TorchFLOPsByFX

    inputs = positional(loaded)
    with torch.no_grad():
        loaded.model(*inputs)
    # The usual way to measure memory needs a GPU.
    counter = TorchFLOPsByFX(loaded.model, mem_func_name="memory_allocated")
    counter.propagate(*inputs)
    flops = counter.print_total_flops(show=False)
    return ToolResult({"flops": flops}, flops)


def _ultralytics_thop(loaded: LoadedModel, _variant: str | None) -> ToolResult:
    from thop import profile

    macs, params = profile(loaded.model, inputs=positional(loaded), verbose=False)
    return ToolResult({"macs": macs, "params": params}, macs, params)


def _torchstat_report(loaded: LoadedModel, _variant: str | None) -> ToolResult:
    from torchstat import stat

    return ToolResult({}, stat(loaded.model, tuple(loaded.inputs[0].shape[1:])))


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
