"""Tools and models that misbehave, each in one way, named as `misbehaving_tools.py:NAME`.

With FLOPAUDIT_TEST_LOG set, whatever runs writes its name and process id to that file.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from flopaudit_adapters.contract import (
    LoadedModel,
    ModuleCount,
    Tool,
    ToolResult,
    Unsupported,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

AGES = 600
REALTIME_SIGNAL = 40
"""A signal that Python's `signal.Signals` has no name for."""


def log(name: str, pid: int | None = None) -> None:
    """Append a line to the log: which tool ran, and in which process."""
    if "FLOPAUDIT_TEST_LOG" in os.environ:
        with Path(os.environ["FLOPAUDIT_TEST_LOG"]).open("a") as file:
            file.write(f"{name} {pid or os.getpid()}\n")


def fake(measure: Callable[[], ToolResult], package: str = "torch") -> Tool:
    """A tool that calls a function instead of counting; its name is the function's."""
    name = measure.__name__.strip("_")

    def logged(_loaded: LoadedModel, _variant: str | None) -> ToolResult:
        log(name)
        return measure()

    summary = measure.__doc__ or ""
    return Tool(name, "torch", package, "MAC", logged, summary, "https://example.org")


def returning(name: str, count: object) -> Tool:
    """A tool that returns this for a count."""

    def measure() -> ToolResult:
        return ToolResult({"count": count}, count)

    measure.__name__ = name
    return fake(measure)


def _hangs() -> ToolResult:
    """Never returns, and ignores all signals that it can."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    time.sleep(AGES)
    return ToolResult({}, 0)


def _segfaults() -> ToolResult:
    """Reads memory that is not there."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.string_at(0)
    return ToolResult({}, 0)


def _exits_at_once() -> ToolResult:
    """Ends the process without a word."""
    os._exit(3)


def _calls_sys_exit() -> ToolResult:
    """Ends the process politely."""
    sys.exit("bye")


def _kills_itself() -> ToolResult:
    """Is killed, as by the kernel when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)
    return ToolResult({}, 0)


def _eats_memory() -> ToolResult:
    """Takes memory until there is no more."""
    eaten = []
    while True:
        eaten.append(b"x" * (32 << 20))


def _eats_memory_in_a_child() -> ToolResult:
    """Has a process of its own take memory until there is no more, and waits for it."""
    eater = "eaten = []\nwhile True: eaten.append(b'x' * (8 << 20)); import time; time.sleep(0.005)"
    child = subprocess.Popen([sys.executable, "-c", eater])
    log("child", child.pid)
    return ToolResult({"code": child.wait()}, 7)


def _forks_many() -> ToolResult:
    """Forks processes that hold what this one holds, and nothing of their own, for a while."""
    held = bytearray(os.urandom(1 << 20) * 300)
    children = []
    for _ in range(6):
        pid = os.fork()
        if not pid:
            time.sleep(AGES)
            os._exit(0)
        children.append(pid)
    time.sleep(1.5)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return ToolResult({"held": len(held)}, 7)


def _writes_rubbish(rubbish: bytes) -> Tool:
    """A tool that writes something else into every pipe it finds, and ends without a word."""

    def measure() -> ToolResult:
        for entry in list(Path("/proc/self/fd").iterdir()):
            fd = int(entry.name)
            with contextlib.suppress(OSError):
                is_pipe = stat.S_ISFIFO(os.fstat(fd).st_mode)
                if is_pipe and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_WRONLY:
                    os.write(fd, rubbish)
        os._exit(0)

    measure.__name__ = f"writes_rubbish_{len(rubbish)}"
    return fake(measure)


def _floods() -> ToolResult:
    """Prints 100 MB; returns by how much that made the watching process grow."""

    def kibibytes(field: str) -> int:
        lines = Path(f"/proc/{os.getppid()}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field))

    before = kibibytes("VmRSS")
    for _ in range(100):
        print("spam" * 250_000)
    sys.stdout.flush()
    return ToolResult({"grew_kibibytes": kibibytes("VmHWM") - before}, 7)


def _raises() -> ToolResult:
    """Raises."""
    raise ZeroDivisionError("no such luck\nand more")


def _leaves_a_child() -> ToolResult:
    """Leaves a process running."""
    return ToolResult({"child": _sleeper(apart=False)}, 7)


def _leaves_a_daemon() -> ToolResult:
    """Leaves a process running that has a session of its own."""
    return ToolResult({"child": _sleeper(apart=True)}, 7)


def _sleeper(*, apart: bool) -> int:
    child = subprocess.Popen(["sleep", str(AGES)], start_new_session=apart)  # noqa: S607
    child.returncode = 0  # it is left behind on purpose, which Popen would warn of
    log("child", child.pid)
    return child.pid


def _hangs_with_a_child() -> ToolResult:
    """Starts a process and waits for it."""
    _sleeper(apart=False)
    time.sleep(AGES)
    return ToolResult({}, 0)


def _patches_torch() -> ToolResult:
    """Breaks every module and several functions, as far as it reaches."""
    import torch

    def broken(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("patched")

    for owner, name in (
        (torch.nn.Module, "__call__"),
        (torch.nn.Linear, "forward"),
        (torch.nn.functional, "linear"),
        (torch.nn.functional, "relu"),
        (torch.Tensor, "__add__"),
    ):
        setattr(owner, name, broken)
    for held in gc.get_objects():
        if isinstance(held, torch.nn.Linear):
            held.weight.data.resize_(0)
    return ToolResult({}, 7)


def _not_importable() -> ToolResult:
    """Is of a package that is not installed."""
    return ToolResult({}, 7)


def _breaks_on_import() -> ToolResult:
    """Is of a package that raises when it is imported."""
    return ToolResult({}, 7)


def _returns_no_result() -> ToolResult:
    """Returns None in place of a result."""
    return cast("ToolResult", None)


def _returns_a_tensor() -> ToolResult:
    """Returns a tensor of several numbers for a count."""
    import torch

    return ToolResult({}, torch.tensor([1, 2, 3]))


def _returns_a_list() -> ToolResult:
    """Returns a list where a result has a dict of totals."""
    return ToolResult(cast("dict[str, Any]", [7]), 7)


def _returns_odd_rows() -> ToolResult:
    """Returns rows whose names are no text."""
    row = ModuleCount(cast("str", None), cast("str", 3), 7, operator=cast("str", b"mm"))
    return ToolResult({}, 7, rows=(row,))


def _returns_a_huge_number() -> ToolResult:
    """Returns a number of more digits than Python will write out."""
    return ToolResult({"count": 10**5000}, 10**5000)


def _returns_itself_within() -> ToolResult:
    """Returns totals that hold themselves."""
    raw: dict[str, Any] = {}
    raw["again"] = raw
    return ToolResult(raw, 7)


def _raises_a_surrogate() -> ToolResult:
    """Raises with a file's name that UTF-8 has no form for."""
    raise FileNotFoundError(os.fsdecode(b"weights-\xff.pt"))


def _refuses_with_a_surrogate() -> ToolResult:
    """Refuses a model in words that UTF-8 has no form for."""
    raise Unsupported(os.fsdecode(b"not weights-\xff.pt"))


def _returns_a_surrogate() -> ToolResult:
    """Returns totals under a name that UTF-8 has no form for."""
    return ToolResult({os.fsdecode(b"\xff"): os.fsdecode(b"\xfe")}, 7)


def _prints_line_separators() -> ToolResult:
    """Prints what Unicode takes for ends of lines, and JSON does not."""
    print("one\u2028two\u2029three\x85four\x0bfive\x1csix")
    return ToolResult({"a\u2028b": "c\x85d"}, 7)


def _closes_stdout() -> ToolResult:
    """Closes standard output behind it."""
    sys.stdout.close()
    return ToolResult({}, 7)


def _raises_keyboard_interrupt() -> ToolResult:
    """Raises what Ctrl-C raises."""
    raise KeyboardInterrupt


def _forks_in_two() -> ToolResult:
    """Returns twice, in two processes."""
    os.fork()
    return ToolResult({}, 7)


def _dies_of_a_realtime_signal() -> ToolResult:
    """Is ended by a signal without a name."""
    os.kill(os.getpid(), REALTIME_SIGNAL)
    time.sleep(AGES)
    return ToolResult({}, 0)


def _kills_its_parent() -> ToolResult:
    """Ends the process that holds the model."""
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(AGES)
    return ToolResult({}, 0)


def _stops_its_parent() -> ToolResult:
    """Stops the process that holds the model, which then watches nothing."""
    log("stops_its_parent")
    log("host", os.getppid())
    os.kill(os.getppid(), signal.SIGSTOP)
    time.sleep(AGES)
    return ToolResult({}, 0)


def _stops_itself() -> ToolResult:
    """Stops its own process."""
    os.kill(os.getpid(), signal.SIGSTOP)
    return ToolResult({}, 0)


def _tells_its_parent() -> ToolResult:
    """Returns the process that holds the model."""
    return ToolResult({"parent": os.getppid()}, 7)


def _waits() -> ToolResult:
    """Counts well, after a while."""
    time.sleep(0.5)
    return ToolResult({}, 7)


def _sleeps(number: int) -> Tool:
    """One of several tools that count well, slowly."""

    def measure() -> ToolResult:
        time.sleep(0.3)
        return ToolResult({}, number)

    measure.__name__ = f"sleeps_{number}"
    return fake(measure)


HANGS = fake(_hangs)
SEGFAULTS = fake(_segfaults)
EXITS_AT_ONCE = fake(_exits_at_once)
CALLS_SYS_EXIT = fake(_calls_sys_exit)
KILLS_ITSELF = fake(_kills_itself)
EATS_MEMORY = fake(_eats_memory)
EATS_MEMORY_IN_A_CHILD = fake(_eats_memory_in_a_child)
FORKS_MANY = fake(_forks_many)
WRITES_RUBBISH = _writes_rubbish(b"\xff rubbish\n")
WRITES_A_WRONG_RESULT = _writes_rubbish(
    b'{"result": {"kind": "counted", "raw": {}, "reported": "many"}}\n'
)
FLOODS = fake(_floods)
RAISES = fake(_raises)
LEAVES_A_CHILD = fake(_leaves_a_child)
LEAVES_A_DAEMON = fake(_leaves_a_daemon)
HANGS_WITH_A_CHILD = fake(_hangs_with_a_child)
PATCHES_TORCH = fake(_patches_torch)
NOT_IMPORTABLE = fake(_not_importable, package="no_such_package")
BREAKS_ON_IMPORT = fake(_breaks_on_import, package="breaks_on_import")
RETURNS_NAN = returning("returns_nan", float("nan"))
RETURNS_INF = returning("returns_inf", float("inf"))
RETURNS_NEGATIVE = returning("returns_negative", -1)
RETURNS_TEXT = returning("returns_text", "many")
RETURNS_NONE = returning("returns_none", None)
RETURNS_A_FRACTION = returning("returns_a_fraction", 3.5)
RETURNS_TRUE = returning("returns_true", True)  # noqa: FBT003 - the value is the point
RETURNS_NO_RESULT = fake(_returns_no_result)
RETURNS_A_TENSOR = fake(_returns_a_tensor)
RETURNS_A_LIST = fake(_returns_a_list)
RETURNS_ODD_ROWS = fake(_returns_odd_rows)
RETURNS_A_HUGE_NUMBER = fake(_returns_a_huge_number)
RETURNS_ITSELF_WITHIN = fake(_returns_itself_within)
RAISES_A_SURROGATE = fake(_raises_a_surrogate)
REFUSES_WITH_A_SURROGATE = fake(_refuses_with_a_surrogate)
RETURNS_A_SURROGATE = fake(_returns_a_surrogate)
PRINTS_LINE_SEPARATORS = fake(_prints_line_separators)
CLOSES_STDOUT = fake(_closes_stdout)
RAISES_KEYBOARD_INTERRUPT = fake(_raises_keyboard_interrupt)
FORKS_IN_TWO = fake(_forks_in_two)
DIES_OF_A_REALTIME_SIGNAL = fake(_dies_of_a_realtime_signal)
KILLS_ITS_PARENT = fake(_kills_its_parent)
STOPS_ITS_PARENT = fake(_stops_its_parent)
STOPS_ITSELF = fake(_stops_itself)
TELLS_ITS_PARENT = fake(_tells_its_parent)
WAITS = fake(_waits)
SLEEPS_1, SLEEPS_2, SLEEPS_3, SLEEPS_4 = map(_sleeps, range(1, 5))
SLEEPS_5, SLEEPS_6, SLEEPS_7, SLEEPS_8 = map(_sleeps, range(5, 9))


def small() -> torch.nn.Module:
    """A model that is in order: 8 * 4 multiply-accumulates on a 1x8 input."""
    import torch

    log("small")
    return torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU())


def raises() -> torch.nn.Module:
    """A factory that raises."""
    raise ValueError("no such weights")


def exits() -> torch.nn.Module:
    """A factory that ends the process."""
    os._exit(5)


def hangs() -> torch.nn.Module:
    """A factory that never returns."""
    log("building")
    time.sleep(AGES)
    return small()


def returns_none() -> None:
    """A factory that forgets to return its model."""


def eats_memory() -> torch.nn.Module:
    """A factory that takes memory until there is no more."""
    eaten = []
    while True:
        eaten.append(b"x" * (32 << 20))


def stops() -> torch.nn.Module:
    """A factory that stops the process that builds."""
    os.kill(os.getpid(), signal.SIGSTOP)
    return small()


def leaves_no_files() -> torch.nn.Module:
    """A factory after which its process can read a file, but not open what a worker needs."""
    model = small()
    next_one = os.open(os.devnull, os.O_RDONLY)
    os.close(next_one)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_one + 2, next_one + 2))
    return model


def leaves_a_child() -> torch.nn.Module:
    """A factory that leaves a process running."""
    _sleeper(apart=False)
    return small()


def needs_a_child() -> torch.nn.Module:
    """A factory whose model talks to a process of its own whenever it is called."""
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S607
    assert child.stdin
    assert child.stdout
    log("child", child.pid)
    child.returncode = 0
    ask, answer = os.dup(child.stdin.fileno()), os.dup(child.stdout.fileno())

    def talk(_module: torch.nn.Module, _inputs: object) -> None:
        os.write(ask, b"?")
        if not os.read(answer, 1):
            raise RuntimeError("nobody answers")

    model = small()
    model.register_forward_pre_hook(talk)
    return model
