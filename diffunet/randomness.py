"""Every random draw is a pure function of named numbers, never of what ran before it."""

import hashlib

import numpy as np


def derive_seed(*parts: int | str) -> int:
    """Return a seed in [0, 2^63) that depends on every part and on their order.

    `derive_seed(seed, "times", iteration, sample)` is the same in every process and on every
    machine, so neither workers nor ranks nor restarts change what is drawn.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def numpy_generator(*parts: int | str) -> np.random.Generator:
    """Return a numpy generator seeded with `derive_seed(*parts)`."""
    return np.random.Generator(np.random.Philox(derive_seed(*parts)))
