"""What is wrong with single cases of many: told at the end, so that the others are done."""

from collections.abc import Iterator
from contextlib import contextmanager

from diffunet.errors import DatasetError, lacks_memory


@contextmanager
def kept_problems(problems: list[str], *, case: str) -> Iterator[None]:
    """Add the fault of a case that cannot be predicted to `problems`, and go on with the others."""
    try:
        yield
    except DatasetError as error:
        problems.extend(error.problems)
    except (MemoryError, RuntimeError) as cause:
        if not lacks_memory(cause):
            raise
        problems.append(
            f"case '{case}': there is not enough memory to predict it; check its shape and "
            "spacing, close other programs, or use a machine with more"
        )
