"""The checks of an audit, by name, the most serious first; imports no torch.

A check compares a state before and after the call, or the result of a trial before and after it,
or it is made on the call itself, in `worker_task`. The code that reads a state or makes a trial is
under the same name in `model_state`, `torch_state`, `process_state` and `trials`; this module has
the texts for tables and sentences.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Effect:
    """One kind of side effect.

    Attributes:
        sentence: the effect as a predicate of the tool; of a state with {} for the amount.
        noun: the singular of the things counted; "" for a trial, for which calls are counted.
        at_once: whether it shows in the call itself, not in a comparison of before and after.
    """

    sentence: str
    noun: str = ""
    at_once: bool = False

    def amount(self, number: int) -> str:
        """Return the number with its noun, such as `1 key` or `18 keys`."""
        return f"{number:,} {self.noun if number == 1 else self.plural}"

    @property
    def plural(self) -> str:
        """The plural of the noun."""
        if self.noun.endswith(("s", "ch")):
            return self.noun + "es"
        if self.noun.endswith("y") and self.noun[-2] not in "aeiou":
            return self.noun[:-1] + "ies"
        return self.noun + "s"


EFFECTS: dict[str, Effect] = {
    # -- the import, and the call itself
    "import": Effect("cannot be imported", at_once=True),
    "installed": Effect("has {} that another distribution overwrote", "file", at_once=True),
    "raises": Effect("raises on a model that runs", at_once=True),
    "call": Effect("does not pass on the model's exception, or ends the process", at_once=True),
    # -- trials, made before and after the call
    "neighbour_forward": Effect("another model no longer gives the same output"),
    "fresh_forward": Effect("a fresh copy of the model no longer gives the same output"),
    "forward": Effect("the model no longer gives the same output"),
    "numpy": Effect("tensors no longer convert to numpy and back"),
    "flop_counter": Effect("torch's FlopCounterMode no longer returns the same count"),
    "reference": Effect("the reference no longer returns the same count"),
    "other_tools": Effect("the other tools no longer return the same counts for another model"),
    "again_neighbour": Effect("the tool no longer returns the same count for another model"),
    "again_fresh": Effect("the tool returns another result for a fresh copy of the model"),
    "again": Effect("the tool returns another result when it is called again"),
    "again_meta": Effect("the tool returns another result for a copy on the meta device"),
    "train": Effect("the model can no longer be trained as before"),
    "pickle": Effect("the model can no longer be pickled"),
    "deepcopy": Effect("the model can no longer be deep-copied"),
    "save": Effect("the model can no longer be saved and loaded whole"),
    "checkpoint": Effect("the state_dict can no longer be saved and loaded"),
    "export": Effect("the model can no longer be exported"),
    "trace": Effect("the model can no longer be traced"),
    "script": Effect("the model can no longer be scripted"),
    # -- states of the model
    "values": Effect("changes the values of {}", "parameter"),
    "statistics": Effect("changes the values of {}, such as running statistics", "buffer"),
    "state_dict": Effect("changes {} of the state_dict", "key"),
    "hooks": Effect("changes {} of the model", "hook"),
    "buffers": Effect("changes {} of the model", "buffer"),
    "parameters": Effect("replaces {} by other objects", "parameter"),
    "modules": Effect("changes {} of the model: object, class or name", "module"),
    "modes": Effect("changes the training mode of {}", "module"),
    "requires_grad": Effect("changes requires_grad of {}", "parameter"),
    "grads": Effect("changes the gradients of {}", "parameter"),
    "attributes": Effect("changes {} of the model's modules", "attribute"),
    # -- states of torch
    "classes_meanwhile": Effect(
        "while it runs, patches {} of torch's classes and of those of modules, for all threads",
        "attribute",
        at_once=True,
    ),
    "functions_meanwhile": Effect(
        "while it runs, replaces {} of torch, numpy or Python, for all threads",
        "function",
        at_once=True,
    ),
    "classes": Effect("patches {} of torch's classes and of those of modules", "attribute"),
    "functions": Effect("replaces {} of torch, numpy or Python", "function"),
    "global_hooks": Effect("changes {} for all modules of the process", "hook"),
    "mode_stacks": Effect("leaves modes active: changes {} of torch", "mode stack"),
    "grad_mode": Effect("changes {} of autograd", "switch"),
    "dtype": Effect("changes {} of the default dtype", "setting"),
    "device": Effect("changes {} of the default device", "setting"),
    "autocast": Effect("changes {} of autocast", "switch"),
    "backends": Effect("changes {} of determinism and of torch's backends", "flag"),
    "torch_threads": Effect("changes {} of torch's threads", "setting"),
    "random": Effect(
        "draws from {} of random numbers, so that their next numbers differ", "generator"
    ),
    # -- states of the process
    "streams": Effect("replaces {} of sys", "stream"),
    "signals": Effect("replaces {}", "signal handler"),
    "logging": Effect("changes {} of logging", "setting"),
    "warnings": Effect("changes {} of warnings", "filter"),
    "environ": Effect("changes {} of the environment", "variable"),
    "path": Effect("changes {} of the module search path", "entry"),
    "directory": Effect("changes {}", "current directory"),
    "interpreter": Effect("changes {} of the interpreter", "setting"),
    "children": Effect("leaves {} running", "process"),
    "threads": Effect("leaves {} running", "thread"),
    "descriptors": Effect("leaves open or closes {}", "file descriptor"),
    "files": Effect("leaves or removes {} in the current directory", "file"),
    "printed": Effect("prints {}", "line"),
}

DURING_CALL = {"classes": "classes_meanwhile", "functions": "functions_meanwhile"}
"""States that are also read while an `audit_models.Watched` model runs, with their checks."""

_COMPARED = {name: effect for name, effect in EFFECTS.items() if not effect.at_once}
TRIALS = tuple(name for name, effect in _COMPARED.items() if not effect.noun)
STATES = tuple(name for name, effect in _COMPARED.items() if effect.noun)
