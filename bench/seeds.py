"""Random generators, each seeded by its purpose and context.

The seed of a generator depends on the replicate seed, a purpose and a context (data set, fold,
organ, step), never on the method or the label fraction. So methods in one condition start from the
same initial weights and see the same batches (common random numbers), and equal stages are shared.
"""

from __future__ import annotations

import zlib

import numpy as np


def seed_sequence(seed: int, purpose: str, *context: str | int) -> np.random.SeedSequence:
    """Return the seed sequence of a purpose and context; text enters as its CRC-32."""
    entropy = [seed, _number(purpose), *map(_number, context)]
    return np.random.SeedSequence(entropy)


def generator(seed: int, purpose: str, *context: str | int) -> np.random.Generator:
    """Return an independent NumPy generator for a purpose and context."""
    return np.random.Generator(np.random.PCG64(seed_sequence(seed, purpose, *context)))


def torch_seed(seed: int, purpose: str, *context: str | int) -> int:
    """Return a 63-bit seed for ``torch.manual_seed``."""
    return int(seed_sequence(seed, purpose, *context).generate_state(1, np.uint64)[0] >> 1)


def _number(part: str | int) -> int:
    return part if isinstance(part, int) else zlib.crc32(part.encode())
