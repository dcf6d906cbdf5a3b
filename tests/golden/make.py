"""Makes the golden files of this directory from float64 PyTorch: `python tests/golden/make.py [FAMILY ...]`."""

import sys
from pathlib import Path

import torch

import fused_ops
import plain_ops

MAKERS = [
    plain_ops.elementwise,
    plain_ops.reduce,
    plain_ops.matmul,
    plain_ops.layout,
    fused_ops.layer_norm,
    fused_ops.embedding,
    fused_ops.linear,
    fused_ops.attention,
    fused_ops.cross_entropy,
    fused_ops.adamw,
]
FAMILIES = {maker.__name__: maker for maker in MAKERS}


def main() -> None:
    here = Path(__file__).parent
    # One thread: the order of summation, and with it the bytes, depends on nothing but the code.
    torch.set_num_threads(1)
    wanted = sys.argv[1:] or list(FAMILIES)
    for name in wanted:
        if name not in FAMILIES:
            raise SystemExit(f"family: expected one of {', '.join(FAMILIES)}, found {name}")
        for family in FAMILIES[name]():
            family.save(here)


if __name__ == "__main__":
    main()
