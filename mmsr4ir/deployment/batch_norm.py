"""Batch norms that were folded into the convolutions, made trainable again."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mmsr4ir.compat.torch_parts import BatchNorm

from .convert import ConvertError


def folded(network: nn.Module) -> dict[str, BatchNorm]:
    """Find batch norms that only add a bias: mean 0, variance and weight 1.

    Args:
        network: Any network.

    Returns:
        dict: The layers by name.
    """
    found = {}
    for name, layer in network.named_modules():
        if not isinstance(layer, BatchNorm) or not layer.affine:
            continue
        mean, variance = layer.running_mean, layer.running_var
        if (
            mean is not None
            and variance is not None
            and mean.abs().max() == 0
            and (variance - 1).abs().max() < 2 * layer.eps
            and (layer.weight - 1).abs().max() < 1e-3
        ):
            found[name] = layer
    return found


@torch.no_grad()
def unfold_batch_norms(network: nn.Module, run: Callable[[], object]) -> list[str]:
    """Give folded batch norms the statistics of their input, without changing outputs.

    Files that come from ONNX often have batch norms that only add a bias. In eval mode
    such a network is the original one. In train mode each layer normalises its input,
    which the convolution has scaled already, and all that the network has learned is
    lost. Here a layer with bias b gets the mean m and variance v of its input as
    running statistics, the weight sqrt(v + eps) and the bias b + m: in eval mode it
    still adds b, and in train mode it differs only by the statistics of the batch.

    Args:
        network: In eval mode afterwards.
        run: Runs the network on its inputs: some hundred images of the kind that it
            will see.

    Returns:
        list[str]: The names of the layers.

    Raises:
        ConvertError: If no batch norm of the network is folded, or ``run`` leaves out
            one that is.
    """
    layers = folded(network)
    if not layers:
        raise ConvertError(
            f'no batch norm of {type(network).__name__} is folded (mean 0, variance '
            'and weight 1): the file can be used as it is'
        )
    sums = {
        name: torch.zeros(3, len(layer.bias)).double() for name, layer in layers.items()
    }

    def add(name: str, x: Tensor) -> None:
        x = x.double().transpose(0, 1).flatten(1)
        count = torch.full(x.shape[:1], x.shape[1])
        sums[name] += torch.stack([count, x.sum(1), x.square().sum(1)])

    hooks = [
        layer.register_forward_pre_hook(lambda _, args, name=name: add(name, args[0]))
        for name, layer in layers.items()
    ]
    network.eval()
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    unseen = [name for name in layers if not sums[name][0].all()]
    if unseen:
        raise ConvertError(f'no image has reached {", ".join(unseen)}')
    for name, layer in layers.items():
        count, first, second = sums[name]
        mean = first / count
        variance = (second / count - mean.square()).clamp(min=0)
        running_mean, running_var = layer.running_mean, layer.running_var
        assert running_mean is not None and running_var is not None  # see folded
        scale = (running_var + layer.eps).sqrt() / layer.weight  # close to 1
        layer.weight.copy_((variance + layer.eps).sqrt() / scale)
        layer.bias.add_(mean / scale)
        running_mean.copy_(mean)
        running_var.copy_(variance)
    return list(layers)
