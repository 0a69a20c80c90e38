"""The functions of ``mmcv._ext``, served by torchvision's kernels or pure PyTorch.

Each has the signature that mmcv 2.x calls it with and, as there, writes its result
into the tensors it is given; so mmcv's own autograd functions stay as they are. They
run on the CPU and on CUDA devices, as torchvision's kernels do. What is not served can
be imported and raises :class:`MissingOpError` when it is called. Most kinds of ops
stand in modules of their own.
"""

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
from .torchvision_kernels import missing_op

__all__ = ['SERVED', 'missing_op']


def _focal_terms(
    input: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float
) -> Tensor:
    # A target of `num_classes` is background: no class is positive.
    positive = F.one_hot(target, input.shape[1] + 1)[:, :-1].to(input)
    loss = torchvision.ops.sigmoid_focal_loss(input, positive, alpha, gamma)
    return loss * weight[target][:, None] if weight.numel() else loss


def sigmoid_focal_loss_forward(input, target, weight, output, gamma, alpha) -> None:
    """Compute the focal loss of ``input`` (N, C) for class numbers ``target`` (N, )."""
    output.copy_(_focal_terms(input, target, weight, gamma, alpha))


def sigmoid_focal_loss_backward(
    input, target, weight, grad_input, gamma, alpha
) -> None:
    """Compute the derivative of each term by its own input."""
    with torch.enable_grad():
        leaf = input.detach().requires_grad_()
        total = _focal_terms(leaf, target, weight, gamma, alpha).sum()
    grad_input.copy_(torch.autograd.grad(total, leaf)[0])


def _attention(value, shapes, locations, weights) -> Tensor:
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    return multi_scale_deformable_attn_pytorch(value, shapes, locations, weights)


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
    return _attention(
        value, value_spatial_shapes, sampling_locations, attention_weights
    )


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
    with torch.enable_grad():
        leaves = [
            x.detach().requires_grad_()
            for x in (value, sampling_locations, attention_weights)
        ]
        output = _attention(leaves[0], value_spatial_shapes, *leaves[1:])
    grads = torch.autograd.grad(output, leaves, grad_output)
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
