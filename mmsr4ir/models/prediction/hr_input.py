"""Predict on what becomes of HR images: degraded, restored, and recognised."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn.functional import interpolate

from mmsr4ir.models.batch import Batch
from mmsr4ir.models.degradations.degradation import lr_size
from mmsr4ir.models.image_space import to_uint8

if TYPE_CHECKING:  # it imports this module
    from mmsr4ir.models.sr4ir import SR4IR


def predict_hr(model: 'SR4IR', inputs: Tensor, samples: Sequence | None) -> list:
    """Predict on the image that ``model.test_on`` says.

    Args:
        model: A :class:`SR4IR`.
        inputs: (N, C, H, W), normalised HR images.
        samples: The task's data samples; None for a task network that needs none.

    Returns:
        list: The data samples with predictions, and ``images``, see
        :meth:`SR4IR.forward`.
    """
    batch = model.prepare(inputs, samples)
    restored = tested_image(model, batch)
    task_input = (
        batch.inputs if model.test_on == 'hr' else model.to_input(restored, batch)
    )
    predictions = model.network('task')(task_input, batch.samples, mode='predict')
    if model.task_resize and samples:
        # Give them the meta information of the image in the file.
        predictions = [
            prediction.new(metainfo=sample.metainfo)
            for prediction, sample in zip(predictions, samples, strict=True)
        ]
    for i, (prediction, (height, width)) in enumerate(
        zip(predictions, batch.sizes, strict=True)
    ):
        h, w = lr_size((height, width), model.degradation.scale)
        prediction.images = dict(
            hr=to_uint8(batch.hr[i, :, :height, :width]),
            sr=to_uint8(restored[i, :, :height, :width]),
            lr=to_uint8(batch.lr[i, :, :h, :w]),
        )
    return predictions


def tested_image(model: 'SR4IR', batch: Batch) -> Tensor:
    """Make the image (N, C, H, W) that predictions are made on (``model.test_on``)."""
    if model.test_on == 'hr':
        return batch.hr
    if model.test_on == 'sr':
        return model.super_resolve_batch(batch)
    height, width = batch.full
    enlarged = interpolate(
        batch.lr, scale_factor=model.degradation.scale, mode='bilinear'
    )
    return enlarged[..., :height, :width]
