"""Detectors of torchvision that round boxes in mixed precision."""

from torch import nn

from .torch_parts import give_single

_HEADS = ('head', 'rpn.head', 'roi_heads.box_predictor')


def keep_boxes(detector: nn.Module) -> None:
    """Have a detector make anchors and boxes in float32.

    torchvision, up to 0.29, makes anchors in the type of the features, and decodes
    boxes in that of the heads' outputs: between 1024 and 2048 pixels to whole 8 pixels
    in bfloat16.

    Args:
        detector: Of ``torchvision.models.detection``; it is changed.
    """
    for name, module in detector.named_modules():
        if name in _HEADS:
            module.register_forward_hook(give_single)
        elif name.rpartition('.')[2] == 'anchor_generator':
            module.register_forward_pre_hook(_see_single)


def _see_single(generator: nn.Module, args: tuple) -> tuple:
    """Show an anchor generator float32 features: it asks for sizes and type alone."""
    images, features = args
    return images, [x.new_empty(1).float().expand(x.shape) for x in features]
