"""Makes the golden files of this directory from float64 PyTorch: `python tests/golden/make.py [FAMILY ...]`."""

import sys
from pathlib import Path

import torch

import fused_ops
import plain_ops
import tiny_models
import tokenizer_files
import torch_files

OPERATIONS = {
    maker.__name__: maker
    for maker in (
        plain_ops.elementwise,
        plain_ops.reduce,
        plain_ops.matmul,
        plain_ops.layout,
        fused_ops.layer_norm,
        fused_ops.embedding,
        fused_ops.linear,
        fused_ops.lstm,
        fused_ops.attention,
        fused_ops.cross_entropy,
        fused_ops.adamw,
    )
}
# `torch_files` takes its weights from a model's.
FILES = "torch"
TOKENIZERS = "tokenizers"


def main() -> None:
    here = Path(__file__).parent
    # One thread: the order of summation, and with it the bytes, depends on nothing but the code.
    torch.set_num_threads(1)
    known = [*OPERATIONS, *tiny_models.CONFIGS, FILES, TOKENIZERS]
    for name in sys.argv[1:] or known:
        if name in tiny_models.CONFIGS:
            tiny_models.make(name, here / name)
        elif name == FILES:
            torch_files.make(here / FILES)
        elif name == TOKENIZERS:
            tokenizer_files.make(here / TOKENIZERS)
        elif name in OPERATIONS:
            for family in OPERATIONS[name]():
                family.save(here)
        else:
            raise SystemExit(f"family: expected one of {', '.join(known)}, found {name}")


if __name__ == "__main__":
    main()
