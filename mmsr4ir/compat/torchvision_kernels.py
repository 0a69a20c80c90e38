"""torchvision's kernels, and the error of an op that they do not serve."""

from collections.abc import Callable

import torch
import torchvision
from torch import Tensor

from mmsr4ir.utils.errors import SR4IRError

kernels = torch.ops.torchvision
assert torchvision  # registers the kernels


def at_least_single(*tensors: Tensor) -> list[Tensor]:
    """Turn half precision into float32, in which torchvision has all gradients."""
    half = (torch.float16, torch.bfloat16)
    return [x.float() if x.dtype in half else x for x in tensors]


class MissingOpError(SR4IRError, NotImplementedError):
    """An op of ``mmcv.ops`` that has no backing without the compiled mmcv."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f'mmcv.ops: {name} needs the compiled mmcv, and mmcv-lite with torchvision '
            'does not serve it. In an environment whose torch has a prebuilt mmcv: '
            'pip uninstall -y mmcv-lite && mim install "mmcv>=2.0.0,<2.2.0"'
        )


def missing_op(name: str) -> Callable:
    """Stand in for an op that is not served; serves as a module's ``__getattr__``."""
    if name.startswith('__'):
        raise AttributeError(name)

    def raise_missing(*args, **kwargs):
        raise MissingOpError(name)

    raise_missing.__name__ = name
    return raise_missing
