"""Parts of mmdet that do not work as released."""

from torch import Tensor, nn

from .torch_parts import give_single, to_single


def complete_heads(task: nn.Module) -> None:
    """Give mmdet's heads what their prediction needs, and boxes in float32.

    mmdet 3.3.0's ``BaseDenseHead._predict_by_feat_single`` reads
    ``self.loss_cls.custom_cls_channels``. SSDHead computes its loss without such a
    module, so that it can be trained and not tested. None has no such setting, which
    is what SSD needs. A head that has the attribute keeps it.

    In mixed precision, mmdet 3.3.0 makes anchors and proposals in the type of the
    heads' outputs, and its RoI extractors round RoIs to the type of the features:
    between 1024 and 2048 pixels to whole 8 pixels in bfloat16. mmdet 2 turned the
    outputs to float32 (``force_fp32``). Here heads give float32, and RoI extractors
    work in it; their result has the type of the features again.
    """
    for module in task.modules():
        if hasattr(module, '_predict_by_feat_single'):
            if not hasattr(module, 'loss_cls'):
                vars(module)['loss_cls'] = None  # as a plain attribute
            module.register_forward_hook(give_single)
        elif hasattr(module, 'roi_layers') and hasattr(module, 'featmap_strides'):
            extractor = _SingleExtractor()
            module.register_forward_pre_hook(extractor.before)
            module.register_forward_hook(extractor.after)


class _SingleExtractor:
    """The hooks of a RoI extractor around its ``forward(feats, rois, ...)``."""

    def before(self, extractor: nn.Module, args: tuple) -> tuple:
        """Give it features and RoIs in float32."""
        features = args[0]  # of each level, (N, C, H, W)
        self.dtype = features[0].dtype
        return to_single(args)

    def after(self, extractor: nn.Module, args: tuple, pooled: Tensor) -> Tensor:
        """Return what it pooled, (R, C, h, w), in the type of the features."""
        return pooled.to(self.dtype)
