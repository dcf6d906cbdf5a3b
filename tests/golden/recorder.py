"""Records one golden case: inputs drawn in f32, results and gradients computed in float64, everything stored as f32.

    family = Family("matmul")
    with family.case("plain") as case:
        a, b = case.normal("a", 33, 17), case.normal("b", 17, 31)
        case.output("y", a @ b)                  # also draws and stores `dy`
    family.save(directory)                       # leaving the case stored `da` and `db`

The gradients are those of sum(output * doutput) over all outputs of the case.
"""

import zlib
from pathlib import Path

import numpy
import torch
from safetensors.numpy import save_file

# The target of a position that has none: u32::MAX.
IGNORED = 2**32 - 1

# A repository holds these files for ever; a family that outgrows this is split.
LARGEST_FILE = 300_000


def save(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Writes floats as F32 and integers as U32."""

    def stored(tensor):
        dtype = numpy.float32 if tensor.is_floating_point() else numpy.uint32
        # `reshape`, because numpy's conversions turn a scalar into a row of one.
        return numpy.ascontiguousarray(tensor.detach().numpy().astype(dtype)).reshape(tuple(tensor.shape))

    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: stored(tensor) for name, tensor in tensors.items()}, path)
    size = path.stat().st_size
    if size >= LARGEST_FILE:
        raise SystemExit(f"{path}: expected fewer than {LARGEST_FILE} bytes, found {size}")
    print(f"{path.name}: {len(tensors)} tensors, {size} bytes")


def generator(name: str) -> torch.Generator:
    """A random stream per name, so that a new case changes no other."""
    return torch.Generator().manual_seed(zlib.crc32(name.encode()))


class Family:
    def __init__(self, name: str):
        self.name = name
        self.tensors: dict[str, torch.Tensor] = {}

    def case(self, name: str) -> "Case":
        return Case(self, name)

    def save(self, directory: Path) -> None:
        save(self.tensors, directory / f"{self.name}.safetensors")


class Case:
    def __init__(self, family: Family, name: str):
        self.family, self.name = family, name
        self.random = generator(f"{family.name}/{name}")
        self.inputs: dict[str, torch.Tensor] = {}
        self.objective = torch.zeros((), dtype=torch.float64)

    def __enter__(self) -> "Case":
        return self

    def __exit__(self, error, *_) -> None:
        if error is None and self.inputs and self.objective.requires_grad:
            gradients = torch.autograd.grad(self.objective, list(self.inputs.values()))
            for name, gradient in zip(self.inputs, gradients):
                self.store(f"d{name}", gradient)

    def store(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        self.family.tensors[f"{self.name}/{name}"] = tensor
        return tensor

    def input(self, name: str, values: torch.Tensor) -> torch.Tensor:
        """A differentiable input with the given f32 values."""
        assert values.dtype == torch.float32
        self.inputs[name] = values.double().requires_grad_()
        return self.store(name, self.inputs[name])

    def normal(self, name: str, *shape: int, mean: float = 0.0, std: float = 1.0) -> torch.Tensor:
        return self.input(name, torch.randn(shape, generator=self.random) * std + mean)

    def uniform(self, name: str, *shape: int, low: float, high: float) -> torch.Tensor:
        return self.input(name, torch.rand(shape, generator=self.random) * (high - low) + low)

    def integers(self, name: str, *shape: int, below: int) -> torch.Tensor:
        return self.store(name, torch.randint(below, shape, generator=self.random))

    def output(self, name: str, tensor: torch.Tensor) -> None:
        """A result, with a random gradient d<name> flowing into it."""
        gradient = torch.randn(tensor.shape, generator=self.random).double()
        self.store(name, tensor)
        self.store(f"d{name}", gradient)
        self.objective = self.objective + (tensor * gradient).sum()

    def loss(self, name: str, tensor: torch.Tensor) -> None:
        """A scalar result whose gradient is 1."""
        self.store(name, tensor)
        self.objective = self.objective + tensor
