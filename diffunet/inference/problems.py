"""What is wrong with single cases of many: told at the end, so that the others are done."""

from collections.abc import Iterator
from contextlib import contextmanager

from diffunet.errors import DatasetError

_NO_MEMORY = "can't allocate memory"  # in the words of torch, which has no class for it on a CPU


@contextmanager
def kept_problems(problems: list[str], *, case: str) -> Iterator[None]:
    """Add the fault of a case that cannot be predicted to `problems`, and go on with the others."""
    try:
        yield
    except DatasetError as error:
        problems.extend(error.problems)
    except (MemoryError, RuntimeError) as cause:
        if not isinstance(cause, MemoryError) and _NO_MEMORY not in str(cause):
            raise
        problems.append(
            f"case '{case}': there is not enough memory to predict it; check its shape and "
            "spacing, close other programs, or use a machine with more"
        )
