"""Random numbers for the steps of a degradation, and the settings they are drawn by."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mmsr4ir.utils.errors import ConfigError


class Draw:
    """Random numbers for one image.

    Args:
        generator: A generator of the CPU, which makes the same numbers for every
            device; by default, torch's global ones: the CPU's for single numbers, the
            device's own for noise.
    """

    def __init__(self, generator: torch.Generator | None = None) -> None:
        self.generator = generator

    def uniform(self, low: float, high: float) -> float:
        """Draw a number in [low, high)."""
        number = torch.rand((), dtype=torch.float64, generator=self.generator)
        return low + (high - low) * number.item()

    def choose(self, weights: Sequence[float]) -> int:
        """Draw the index of one of the weights, by its share of their sum."""
        return int(
            torch.multinomial(
                torch.tensor(weights, dtype=torch.float64), 1, generator=self.generator
            )
        )

    def normal(self, like: Tensor) -> Tensor:
        """Draw normal numbers, mean 0 and variance 1, in the shape of ``like``."""
        device = like.device if self.generator is None else 'cpu'
        return torch.randn(
            like.shape, dtype=like.dtype, device=device, generator=self.generator
        ).to(like.device)

    def poisson(self, rates: Tensor) -> Tensor:
        """Draw numbers of events in the shape of ``rates``, which are expected."""
        here = rates if self.generator is None else rates.cpu()
        return torch.poisson(here, self.generator).to(rates.device)


def parse_range(
    name: str, value: float | Sequence[float], low: float, high: float = math.inf
) -> tuple[float, float]:
    """Read a number, or the lowest and highest one to draw from, as a pair.

    Args:
        name: The setting, for the message.
        value: The number or the pair.
        low: Smallest number that is possible.
        high: Largest one.

    Raises:
        ConfigError: If ``value`` is something else, in the wrong order or outside
            [low, high].
    """
    pair = tuple(value) if isinstance(value, list | tuple) else (value, value)
    if (
        len(pair) != 2
        or not all(isinstance(number, int | float) for number in pair)
        or not low <= pair[0] <= pair[1] <= high
    ):
        raise ConfigError(
            f'{name} must be a number or (lowest, highest), from {low} to {high}, got '
            f'{value!r}'
        )
    return pair


def parse_probability(name: str, value: float) -> float:
    """Check a probability and return it.

    Raises:
        ConfigError: If ``value`` is no number in [0, 1].
    """
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ConfigError(f'{name} is a probability in [0, 1], got {value!r}')
    return value


def check_weights(name: str, weights: Sequence[float]) -> None:
    """Check shares that something is chosen by.

    Raises:
        ConfigError: If one is negative or infinite, or all are 0.
    """
    if (
        not all(
            isinstance(weight, int | float) and 0 <= weight < math.inf
            for weight in weights
        )
        or not sum(weights) > 0
    ):
        raise ConfigError(
            f'{name} must be shares from 0 on, not all of them 0, got {weights}'
        )
