"""The functions of ``mmcv._ext``, served by torchvision's kernels or pure PyTorch.

Each has the signature that mmcv 2.x calls it with and, as there, writes its result
into the tensors it is given; so mmcv's own autograd functions stay as they are. They
run on the CPU and on CUDA devices, as torchvision's kernels do. What is not served can
be imported and raises :class:`MissingOpError` when it is called. Most kinds of ops
stand in modules of their own.
"""

from collections.abc import Callable

import torch
import torchvision
from torch import Tensor
from torch.nn import functional as F

from .torch_ops import (
    carafe_backward,
    carafe_forward,
    carafe_naive_backward,
    carafe_naive_forward,
    masked_col2im_forward,
    masked_im2col_forward,
    psamask_backward,
    psamask_forward,
)
from .torch_roi_pool import (
    deform_roi_pool_backward,
    deform_roi_pool_forward,
    roi_pool_backward,
    roi_pool_forward,
)
from .torchvision_boxes import (
    nms,
    nms_match,
    roi_align_backward,
    roi_align_forward,
    softnms,
)
from .torchvision_deform import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
)
from .torchvision_kernels import at_least_single, missing_op

__all__ = ['SERVED', 'missing_op']


def _by_target(
    output: Tensor,
    term: Callable[[Tensor], Tensor],
    factor: float,
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    alpha: float,
) -> None:
    """Fill ``output`` with each class's term: positive in one class of a row at most.

    All classes are computed as negative ones, and then the positive ones anew, so that
    there is no matrix of targets: of a RetinaNet, it is larger than the logits.

    Args:
        output: (N, C).
        term: Of the logit of a negative class. A positive class has that of the
            negated logit, times ``factor``.
        factor: 1 for the loss, -1 for its derivative.
        input: (N, C), logits.
        target: (N, ), class numbers; one outside [0, C) means background.
        weight: (C, ), by which the row of a target is multiplied, or empty.
        alpha: Weight of positive classes; negative ones have 1 - alpha.
    """
    found = (target >= 0) & (target < input.shape[1])
    at = torch.where(found, target, 0)[:, None]
    positive = term(-input.gather(1, at)) * (alpha * factor)
    torch.mul(term(input), 1 - alpha, out=output)
    output.scatter_(1, at, torch.where(found[:, None], positive, output.gather(1, at)))
    if weight.numel():
        output.mul_(weight[target][:, None])


def sigmoid_focal_loss_forward(input, target, weight, output, gamma, alpha) -> None:
    """Compute the focal loss of ``input`` (N, C) for class numbers ``target`` (N, )."""

    def term(x: Tensor) -> Tensor:  # -log(1 - p) * p ** gamma
        return x.sigmoid().pow_(gamma).mul_(F.softplus(x))

    _by_target(output, term, 1, input, target, weight, alpha)


def sigmoid_focal_loss_backward(
    input, target, weight, grad_input, gamma, alpha
) -> None:
    """Compute the derivative of each term by its own input."""

    def term(x: Tensor) -> Tensor:  # p ** gamma * (p - gamma * (1 - p) * log(1 - p))
        p = x.sigmoid()
        inner = F.softplus(x).mul_(gamma)
        return torch.lerp(inner, torch.ones_like(p[:1, :1]), p).mul_(p.pow_(gamma))

    _by_target(grad_input, term, -1, input, target, weight, alpha)


def _attention(value, shapes, locations, weights) -> Tensor:
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    return multi_scale_deformable_attn_pytorch(
        value, _numbers(shapes), locations, weights
    )


def _numbers(shapes: Tensor) -> list[list[int]]:
    """Return (height, width) of each level as numbers, from ``shapes`` (levels, 2).

    Reading them waits for a GPU, so they are kept beside the tensor: it is the same
    one in the backward pass and, in a detector, in all layers.
    """
    if shapes.is_inference():  # such a tensor does not count its changes
        return shapes.tolist()
    version, numbers = getattr(shapes, '_mmsr4ir_numbers', (None, []))
    if version != shapes._version:
        numbers = shapes.tolist()
        vars(shapes)['_mmsr4ir_numbers'] = shapes._version, numbers
    return numbers


def ms_deform_attn_forward(
    value,
    value_spatial_shapes,
    value_level_start_index,
    sampling_locations,
    attention_weights,
    im2col_step,
) -> Tensor:
    """Compute multi-scale deformable attention through mmcv's own PyTorch path.

    ``value`` is (N, positions, heads, C), ``sampling_locations`` (N, queries, heads,
    levels, points, 2) in [0, 1].

    Returns:
        Tensor: (N, queries, heads * C).
    """
    inputs = at_least_single(value, sampling_locations, attention_weights)
    return _attention(inputs[0], value_spatial_shapes, *inputs[1:]).to(value)


def ms_deform_attn_backward(
    value,
    value_spatial_shapes,
    value_level_start_index,
    sampling_locations,
    attention_weights,
    grad_output,
    grad_value,
    grad_sampling_loc,
    grad_attn_weight,
    im2col_step,
) -> None:
    """Compute the gradients of values, sampling locations and attention weights."""
    inputs = at_least_single(value, sampling_locations, attention_weights)
    with torch.enable_grad():
        leaves = [x.detach().requires_grad_() for x in inputs]
        output = _attention(leaves[0], value_spatial_shapes, *leaves[1:])
    grads = torch.autograd.grad(output, leaves, grad_output.to(output))
    for target, grad in zip(
        (grad_value, grad_sampling_loc, grad_attn_weight), grads, strict=True
    ):
        target.copy_(grad)


def get_compiler_version() -> str:
    """Return what stands in for the compiler's name in mmcv's ``collect_env``."""
    return f'none (ops served by torchvision {torchvision.__version__})'


def get_compiling_cuda_version() -> str:
    """Return the CUDA version of torch and torchvision, as mmcv names its own."""
    return torch.version.cuda or 'not available'


SERVED = {
    function.__name__: function
    for function in (
        nms,
        nms_match,
        softnms,
        roi_align_forward,
        roi_align_backward,
        roi_pool_forward,
        roi_pool_backward,
        deform_roi_pool_forward,
        deform_roi_pool_backward,
        deform_conv_forward,
        deform_conv_backward_input,
        deform_conv_backward_parameters,
        modulated_deform_conv_forward,
        modulated_deform_conv_backward,
        sigmoid_focal_loss_forward,
        sigmoid_focal_loss_backward,
        ms_deform_attn_forward,
        ms_deform_attn_backward,
        carafe_naive_forward,
        carafe_naive_backward,
        carafe_forward,
        carafe_backward,
        psamask_forward,
        psamask_backward,
        masked_im2col_forward,
        masked_col2im_forward,
        get_compiler_version,
        get_compiling_cuda_version,
    )
}
