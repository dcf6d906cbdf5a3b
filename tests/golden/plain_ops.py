"""Golden cases of the plain tensor operations: elementwise functions, reductions, matmul and layout."""

import torch
import torch.nn.functional as F

from recorder import Case, Family

# The whole real line: zero, where abs and relu have their kink, and values at which exp, tanh, erf and gelu saturate.
LANDMARKS = torch.tensor([0.0, 20.0, -20.0, 1e-3, -1e-3, 6.0, -6.0])

ANYWHERE = {
    "neg": torch.neg,
    "abs": torch.abs,
    "exp": torch.exp,
    "square": torch.square,
    "sin": torch.sin,
    "cos": torch.cos,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "silu": F.silu,
    "erf": torch.erf,
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_erf": F.gelu,
}

POSITIVE = {
    "ln": torch.log,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
}

BINARY = {"add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div}

BROADCASTS = {
    "same": ((2, 3, 7), (2, 3, 7)),
    "row": ((2, 3, 7), (7,)),
    "outer": ((5, 1, 3), (4, 1)),
}


def away_from_zero(case: Case, name: str, *shape: int) -> torch.Tensor:
    """Either sign, magnitudes from 0.5 to 3: what one may divide by."""
    magnitude = torch.rand(shape, generator=case.random) * 2.5 + 0.5
    sign = torch.randint(2, shape, generator=case.random) * 2 - 1
    return case.input(name, magnitude * sign)


def elementwise() -> list[Family]:
    family = Family("elementwise")
    for name, function in ANYWHERE.items():
        with family.case(name) as case:
            values = torch.randn(3, 33, generator=case.random) * 3
            values[0, : len(LANDMARKS)] = LANDMARKS
            case.output("y", function(case.input("x", values)))
    for name, function in POSITIVE.items():
        with family.case(name) as case:
            case.output("y", function(case.uniform("x", 3, 33, low=0.05, high=30.0)))
    with family.case("recip") as case:
        case.output("y", torch.reciprocal(away_from_zero(case, "x", 3, 33)))

    for name, function in BINARY.items():
        for broadcast, (a_shape, b_shape) in BROADCASTS.items():
            with family.case(f"{name}_{broadcast}") as case:
                a, b = case.normal("a", *a_shape), away_from_zero(case, "b", *b_shape)
                case.output("y", function(a, b))
    for name, function in {"maximum": torch.maximum, "minimum": torch.minimum}.items():
        with family.case(f"{name}_same") as case:
            case.output("y", function(case.normal("a", 2, 3, 7), case.normal("b", 2, 3, 7)))
    with family.case("pow_scalar") as case:
        # The exponent is a constant of the operation and gets no gradient.
        exponent = case.store("b", torch.tensor(2.5, dtype=torch.float64))
        case.output("y", case.uniform("a", 2, 3, 7, low=0.1, high=4.0) ** exponent)
    return [family]


def reduce() -> list[Family]:
    family = Family("reduce")
    over_one = {
        "sum": lambda x, dim: x.sum(dim),
        "mean": lambda x, dim: x.mean(dim),
        "max": lambda x, dim: x.max(dim).values,
        "min": lambda x, dim: x.min(dim).values,
    }
    cases = {f"{name}_{dim}": (lambda x, f=f, d=dim: f(x, d)) for name, f in over_one.items() for dim in range(3)}
    cases["sum_all"] = torch.sum
    cases["mean_all"] = torch.mean
    cases["softmax_last"] = lambda x: x.softmax(-1)
    cases["softmax_0"] = lambda x: x.softmax(0)
    cases["log_softmax_last"] = lambda x: x.log_softmax(-1)
    cases["log_softmax_1"] = lambda x: x.log_softmax(1)
    for name, function in cases.items():
        with family.case(name) as case:
            case.output("y", function(case.normal("x", 3, 5, 31, std=3.0)))
    with family.case("argmax_last") as case:
        case.store("y", case.normal("x", 3, 5, 31, std=3.0).argmax(-1))
    return [family]


def matmul() -> list[Family]:
    family = Family("matmul")
    shapes = {
        "plain": ((33, 17), (17, 31)),
        "batched": ((2, 3, 5, 7), (2, 3, 7, 9)),
        "broadcast": ((2, 3, 5, 7), (7, 9)),
        "one": ((1, 1), (1, 1)),
        "wide": ((1, 769), (769, 33)),
    }
    for name, (a_shape, b_shape) in shapes.items():
        with family.case(name) as case:
            case.output("y", case.normal("a", *a_shape) @ case.normal("b", *b_shape))
    return [family]


def layout() -> list[Family]:
    family = Family("layout")
    with family.case("permute") as case:
        case.output("y", case.normal("x", 2, 3, 5, 7).permute(2, 0, 3, 1))
    with family.case("concat_1") as case:
        case.output("y", torch.cat([case.normal("a", 2, 3, 5), case.normal("b", 2, 4, 5)], dim=1))
    with family.case("narrow_1") as case:
        case.output("y", case.normal("x", 3, 9, 5).narrow(1, 2, 4))
    # First and last index, and repeats, whose gradients add up.
    selections = {0: ((11, 6), [3, 0, 10, 3, 7, 0, 3]), 1: ((4, 9, 3), [8, 0, 8, 2, 5])}
    for dim, (shape, ids) in selections.items():
        with family.case(f"index_select_{dim}") as case:
            ids = case.store("ids", torch.tensor(ids))
            case.output("y", case.normal("x", *shape).index_select(dim, ids))
    with family.case("broadcast_to") as case:
        case.output("y", case.normal("x", 4, 1).broadcast_to(5, 4, 3))
    return [family]
