"""How spandrel calls a network, for training.

A descriptor of spandrel 0.4.2 knows what its network needs around it: IPT takes images
in [0, 255], MM-RealSR returns more than an image. It tells only through its own
``__call__``, which runs in inference mode and clamps, so that nothing can be trained
through it.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


def call_function(described: Any) -> Callable[[nn.Module, Tensor], Tensor]:
    """Return the function from a network and its images, in [0, 1], to the SR images.

    Args:
        described: spandrel's ``ImageModelDescriptor``.
    """
    return described._call_fn
