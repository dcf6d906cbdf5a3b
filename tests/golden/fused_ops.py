"""Golden cases of the operations a transformer is made of: each written out plainly, as its definition reads."""

import torch
import torch.nn.functional as F
from transformers.models.bloom.modeling_bloom import build_alibi_tensor

from recorder import IGNORED, Case, Family

LAYER_NORM_EPS = 1e-5


def layer_norm() -> list[Family]:
    family = Family("layer_norm")

    def normalised(case: Case, x: torch.Tensor) -> torch.Tensor:
        channels = x.shape[-1]
        weight, bias = case.normal("weight", channels, mean=1.0, std=0.3), case.normal("bias", channels, std=0.3)
        return F.layer_norm(x, (channels,), weight, bias, LAYER_NORM_EPS)

    # With one channel the variance is zero and only eps stands between the row and a division by zero.
    for name, shape in {"odd": (5, 33), "one": (3, 1), "wide": (2, 769)}.items():
        with family.case(name) as case:
            # A mean far from zero, which a careless one-pass variance would not survive.
            case.output("y", normalised(case, case.normal("x", *shape, mean=3.0, std=2.0)))
    with family.case("residual") as case:
        total = case.normal("x", 4, 65) + case.normal("delta", 4, 65)
        case.output("sum", total)
        case.output("y", normalised(case, total))
    return [family]


def embedding() -> list[Family]:
    family = Family("embedding")
    vocabulary, places, channels = 13, 9, 33
    for name in ("odd", "same"):
        with family.case(name) as case:
            ids = torch.randint(vocabulary, (3, 7), generator=case.random)
            positions_ids = torch.randint(places, (3, 7), generator=case.random)
            if name == "same":
                ids, positions_ids = torch.full_like(ids, vocabulary - 1), torch.arange(7).repeat(3, 1)
            case.store("ids", ids)
            case.store("positions_ids", positions_ids)
            tokens, positions = case.normal("tokens", vocabulary, channels), case.normal("positions", places, channels)
            case.output("y", tokens[ids] + positions[positions_ids])
    return [family]


def linear() -> list[Family]:
    family = Family("linear")
    activations = {
        "plain": None,
        "bias": None,
        "bias_gelu": lambda y: F.gelu(y, approximate="tanh"),
        "bias_gelu_erf": F.gelu,
    }
    for name, activation in activations.items():
        with family.case(name) as case:
            x, weight = case.normal("x", 2, 5, 33), case.normal("weight", 65, 33, std=0.25)
            bias = None if name == "plain" else case.normal("bias", 65)
            y = F.linear(x, weight, bias)
            case.output("y", activation(y) if activation else y)
    return [family]


def lstm() -> list[Family]:
    family = Family("lstm")
    sizes = {"odd": (3, 7, 5, 11), "one": (1, 1, 1, 1), "long": (2, 33, 3, 8), "documents": (3, 9, 5, 7)}
    for name, (batch, time, inputs, hidden) in sizes.items():
        with family.case(name) as case:
            layer = torch.nn.LSTM(inputs, hidden, batch_first=True, dtype=torch.float64)
            x = case.normal("x", batch, time, inputs)
            weights = {
                parameter: case.normal(parameter, *values.shape, std=0.5)
                for parameter, values in layer.named_parameters()
            }
            # One row for each direction of each layer, of which there is one.
            state = [case.normal(part, batch, hidden) for part in ("h0", "c0")]
            rows = tuple(part.unsqueeze(0) for part in state)
            if name == "documents":
                y, (h, c) = document_by_document(case, layer, weights, x, rows)
            else:
                y, (h, c) = torch.func.functional_call(layer, weights, (x, rows))
            # After the outputs of all steps, the last state as if it were two steps more.
            case.output("y", torch.cat([y, h.transpose(0, 1), c.transpose(0, 1)], 1))
    return [family]


def document_by_document(case: Case, layer: torch.nn.LSTM, weights: dict, x: torch.Tensor, state: tuple) -> tuple:
    """Every document by itself, from zeros; but what goes on from before the row, from the row's state."""
    starts = [[0, 3, 4], [2], []]  # the last two rows go on
    places = torch.arange(x.shape[1])
    # What goes on is some way into its document.
    first = [[s for s in row if s <= place] for row in starts for place in places]
    positions = [place - max(s) if s else place + 5 for place, s in zip(places.repeat(len(starts)), first)]
    case.store("positions", torch.stack(positions).reshape(x.shape[:2]))
    rows = []
    for row, document_starts in enumerate(starts):
        now = tuple(part[:, row : row + 1] for part in state)
        outputs = []
        ends = [*document_starts, x.shape[1]]
        for start, end in zip([0, *document_starts], ends):
            if start in document_starts:
                now = tuple(torch.zeros_like(part) for part in now)
            if start < end:
                y, now = torch.func.functional_call(layer, weights, (x[row : row + 1, start:end], now))
                outputs.append(y)
        rows.append((torch.cat(outputs, 1), *now))
    y, h, c = zip(*rows)
    return torch.cat(y), (torch.cat(h, 1), torch.cat(c, 1))


def attend(case: Case, qkv: torch.Tensor, first_key: torch.Tensor, scale: float | None, keep_probs: bool) -> None:
    """Masked softmax attention: query i of row b reads keys first_key[b, i] ..= i."""
    batch, time, _, heads, head_dim = qkv.shape
    query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (batch, heads, time, head_dim)
    scores = query @ key.transpose(-1, -2) * (head_dim**-0.5 if scale is None else scale)
    if case.name == "alibi":
        # [heads, 1, time]: slope·j, as BLOOM adds it.
        scores = scores + build_alibi_tensor(torch.ones(1, time), heads, torch.float64)
    keys = torch.arange(time)
    readable = (keys >= first_key[:, :, None]) & (keys <= keys[:, None])  # (batch, query, key)
    probs = scores.masked_fill(~readable[:, None], -torch.inf).softmax(-1)
    if keep_probs:
        case.store("probs", probs)
    case.output("y", (probs @ value).transpose(1, 2).reshape(batch, time, heads * head_dim))


def first_keys(rule: str, batch: int, time: int) -> torch.Tensor:
    queries = torch.arange(time).repeat(batch, 1)
    match rule:
        case "packed":
            # Where documents begin: a document of one token, and ends that differ from row to row.
            starts = [[0, 1, 23, 24, 51], [0, 40, 64]]
            return torch.stack([torch.tensor([max(s for s in row if s <= i) for i in range(time)]) for row in starts])
        case "padded":
            # Left padding; a query in the padding reads only itself.
            pad = torch.tensor([[9], [0]])
            return torch.where(queries < pad, queries, pad)
        case "window":
            return (queries - 8).clamp(min=0)
        case _:
            return torch.zeros_like(queries)


def attention() -> list[Family]:
    shared = Family("attention")
    # Some cases have files of their own: together with the others they would be too large for one.
    families = {name: Family(f"attention_{name}") for name in ("long", "packed", "alibi")}
    shapes = {  # (batch, time, heads, head_dim)
        "one": (1, 1, 1, 1),
        "odd": (2, 33, 3, 13),
        "long": (1, 130, 1, 64),
        "packed": (2, 65, 2, 17),
        "padded": (2, 31, 2, 8),
        "window": (1, 70, 1, 16),
        "unscaled": (1, 35, 2, 9),
        # Six heads: four slopes of the rule for powers of two, and two between them.
        "alibi": (1, 67, 6, 8),
    }
    for name, (batch, time, heads, head_dim) in shapes.items():
        with families.get(name, shared).case(name) as case:
            qkv = case.normal("qkv", batch, time, 3, heads, head_dim)
            first_key = case.store("first_key", first_keys(name, batch, time))
            scale = 1.0 if name == "unscaled" else None
            attend(case, qkv, first_key, scale, keep_probs=name in ("odd", "packed", "alibi"))
    return [shared, *families.values()]


def cross_entropy() -> list[Family]:
    family = Family("cross_entropy")
    shapes = {  # (rows, channels, vocabulary, rows without a target)
        "ignored": (11, 33, 65, (0, 7)),
        "all": (11, 33, 65, ()),
        "wide": (3, 17, 1031, ()),
    }
    for name, (rows, channels, vocabulary, without) in shapes.items():
        with family.case(name) as case:
            hidden, weight = case.normal("hidden", rows, channels), case.normal("weight", vocabulary, channels, std=0.5)
            targets = torch.randint(vocabulary, (rows,), generator=case.random)
            targets[list(without)] = IGNORED
            case.store("targets", targets)
            # The mean over the rows that have a target.
            case.loss("loss", F.cross_entropy(F.linear(hidden, weight), targets, ignore_index=IGNORED))
    return [family]


def adamw() -> list[Family]:
    family = Family("adamw")
    for name, weight_decay in {"decay": 0.1, "no_decay": 0.0}.items():
        case = family.case(name)
        values = torch.randn(37, generator=case.random).double()
        case.store("values", values.clone())
        optimiser = torch.optim.AdamW([values], lr=1e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=weight_decay)
        for step in range(3):
            values.grad = case.store(f"grad_{step}", torch.randn(37, generator=case.random).double())
            optimiser.step()
            case.store(f"after_{step}", values.clone())
    return [family]
