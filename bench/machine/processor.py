"""What the processor of this machine computes with."""

from __future__ import annotations


def has_bf16() -> bool:
    """Return whether the processor computes in bf16 itself; imports torch.

    One without such instructions (AVX-512 or AMX on x86) emulates them, eight to ten times slower
    than it computes in fp32.
    """
    import torch

    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
