"""The operations of a transformer at the shapes of GPT-2, forward and forward with backward."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F

from common import Work, main

ROWS, CHANNELS, VOCABULARY = 1024, 768, 50257
HEADS, HEAD_DIM = 12, 64
GPT2_PARAMETERS = 124_439_808


def weights(*shape: int) -> torch.Tensor:
    return torch.randn(shape).mul_(0.02).requires_grad_()


def layer_norm():
    inputs = [weights(ROWS, CHANNELS), weights(CHANNELS), weights(CHANNELS)]
    return inputs, lambda x, weight, bias: F.layer_norm(x, (CHANNELS,), weight, bias)


def linear_gelu():
    inputs = [weights(ROWS, CHANNELS), weights(4 * CHANNELS, CHANNELS), weights(4 * CHANNELS)]
    return inputs, lambda x, weight, bias: F.gelu(F.linear(x, weight, bias), approximate="tanh")


def attention():
    inputs = [weights(1, HEADS, ROWS, HEAD_DIM) for _ in range(3)]
    return inputs, lambda query, key, value: F.scaled_dot_product_attention(query, key, value, is_causal=True)


def linear_cross_entropy():
    targets = torch.randint(VOCABULARY, (ROWS,))
    inputs = [weights(ROWS, CHANNELS), weights(VOCABULARY, CHANNELS)]
    return inputs, lambda hidden, weight: F.cross_entropy(F.linear(hidden, weight), targets)


def embedding():
    ids, positions_ids = torch.randint(VOCABULARY, (1, ROWS)), torch.arange(ROWS)[None]
    inputs = [weights(VOCABULARY, CHANNELS), weights(ROWS, CHANNELS)]
    return inputs, lambda tokens, positions: F.embedding(ids, tokens) + F.embedding(positions_ids, positions)


def forward(operation: Callable) -> Work:
    inputs, function = operation()

    @torch.no_grad()
    def run():
        function(*inputs)

    return Work(run)


def forward_and_backward(operation: Callable) -> Work:
    inputs, function = operation()
    output_gradient = torch.randn_like(function(*inputs))
    return Work(lambda: torch.autograd.grad(function(*inputs), inputs, output_gradient))


def adamw(fused: bool) -> Work:
    values = weights(GPT2_PARAMETERS)
    values.grad = torch.randn_like(values)
    return Work(torch.optim.AdamW([values], lr=1e-4, fused=fused).step)


OPERATIONS = {
    layer_norm: f"{ROWS}x{CHANNELS}",
    linear_gelu: f"{ROWS}x{CHANNELS}->{4 * CHANNELS}",
    attention: f"1x{HEADS}x{ROWS}x{HEAD_DIM}",
    linear_cross_entropy: f"{ROWS}x{CHANNELS}x{VOCABULARY}",
    embedding: f"{ROWS}x{CHANNELS} of {VOCABULARY}",
}
CASES = {
    (operation.__name__, f"{shape} {how}"): partial(work, operation)
    for operation, shape in OPERATIONS.items()
    for how, work in {"forward": forward, "forward+backward": forward_and_backward}.items()
} | {
    ("adamw", "124M"): partial(adamw, fused=False),
    ("adamw", "124M fused"): partial(adamw, fused=True),
}

if __name__ == "__main__":
    main(__doc__, CASES)
