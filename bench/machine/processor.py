"""The processor of this machine: what it computes with, and how much of it there is."""

from __future__ import annotations

import os


def has_bf16() -> bool:
    """Return whether the processor computes in bf16 itself; imports torch.

    One without such instructions (AVX-512 or AMX on x86) emulates them, eight to ten times slower
    than it computes in fp32.
    """
    import torch

    return torch.backends.mkldnn.is_available() and bool(
        torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def cores() -> int:
    """Return how many cores this process may use: of its affinity, its control group and its job.

    In a Slurm job without limits on its cores, the number that the job has asked for.
    """
    from joblib import cpu_count

    asked = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("SLURM_CPUS_ON_NODE") or ""
    found = int(cpu_count())
    return min(found, int(asked)) if asked.isdigit() and int(asked) > 0 else found
