"""Parts of mmdet that do not work as released."""

from torch import nn


def complete_heads(task: nn.Module) -> None:
    """Give dense heads the ``loss_cls`` that mmdet's prediction asks for.

    mmdet 3.3.0's ``BaseDenseHead._predict_by_feat_single`` reads
    ``self.loss_cls.custom_cls_channels``. SSDHead computes its loss without such a
    module, so that it can be trained and not tested. None has no such setting, which
    is what SSD needs. A head that has the attribute keeps it.
    """
    for module in task.modules():
        if hasattr(module, '_predict_by_feat_single') and not hasattr(
            module, 'loss_cls'
        ):
            vars(module)['loss_cls'] = None  # as a plain attribute
