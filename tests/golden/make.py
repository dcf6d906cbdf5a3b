"""Makes the golden files of this directory from float64 PyTorch: `python tests/golden/make.py [FAMILY ...]`."""

import sys
from pathlib import Path

import torch

import plain_ops

FAMILIES = {make.__name__: make for make in (plain_ops.elementwise, plain_ops.reduce, plain_ops.matmul, plain_ops.layout)}


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
