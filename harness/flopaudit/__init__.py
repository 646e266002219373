"""flopaudit: FLOP counters of PyTorch models, compared with an exact reference and explained.

In: a model and its inputs. Out: `count(model, *inputs)` returns the reference count as a `Ledger`.
"""

# Nothing is imported here: `python -m flopaudit` comes by while a file in the current directory
# could still take the place of a module, of `typing` for example (see `core/search_path.py`).
TYPE_CHECKING = False
if TYPE_CHECKING:
    from flopaudit.reference.counter import count
    from flopaudit.reference.ledger import Ledger

__all__ = ["Ledger", "count"]


def __getattr__(name: str) -> object:
    # torch takes seconds to import, and the command line should not wait for it.
    if name == "count":
        from flopaudit.reference.counter import count

        return count
    if name == "Ledger":
        from flopaudit.reference.ledger import Ledger

        return Ledger
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
