"""Batches as the networks get them, after the pipeline and the preprocessor."""

from collections.abc import Iterator

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset

from mmsr4ir.engine.build import build_loader, build_model
from mmsr4ir.models.image_space import picture, to_uint8
from mmsr4ir.models.sr4ir import SR4IR
from mmsr4ir.models.weights import load_weights
from mmsr4ir.visualization.drawing import (
    Annotator,
    build_annotator,
    enlarge,
    row,
    zoom_to,
)

from .speed import endless, tell_iteration

_TITLES = dict(hr='HR', sr='SR', mix='patch mix')


def browse(
    cfg: Config,
    split: str = 'train',
    number: int | None = None,
    checkpoint: str | None = None,
    min_size: int = 256,
) -> Iterator[tuple[str, np.ndarray]]:
    """Draw the images of a data set as the two networks see them.

    Args:
        cfg: The whole config.
        split: ``'train'``, ``'val'`` or ``'test'``. For the training, the pictures show
            the random changes of the pipeline and of the preprocessor.
        number: How many images, from the dataloader's first batch on. The dataloader
            starts again when it ends. None: each image once.
        checkpoint: File with the weights of the SR network. Without one, the network is
            as before training.
        min_size: Images with a shorter edge than this are enlarged to about it.

    Yields:
        tuple: The image's name and one row of pictures, (height, width, 3), RGB,
        uint8: HR, what the SR network gets (LR), SR and, if the model has it, the
        patch mix, all before the task network's own resize, and the ground truth on
        HR. Padding is filled with edge pixels.

    Raises:
        ConfigError: If the model is no SR4IR, if there is no such dataloader, or if its
            data cannot be read.
    """
    model = build_model(cfg, checkpoint)
    if checkpoint is None and model.init_cfgs['sr']:
        load_weights('sr', model.sr, model.init_cfgs['sr'])
    loader = build_loader(cfg, split)
    dataset: BaseDataset = loader.dataset
    annotator = build_annotator(cfg, dataset.metainfo)
    left = len(dataset) if number is None else number
    for iteration, data in enumerate(endless(loader)):
        tell_iteration(iteration)
        data = model.data_preprocessor(data, split == 'train')
        images = batch_images(model, data['inputs'], data['data_samples'])
        for i, sample in enumerate(data['data_samples']):
            yield (
                sample.metainfo.get('img_path') or '',
                _row(
                    {name: image[i] for name, image in images.items()},
                    sample,
                    annotator,
                    model.degradation.scale,
                    min_size,
                ),
            )
            left -= 1
            if not left:
                return


@torch.no_grad()
def batch_images(
    model: SR4IR, inputs: torch.Tensor, samples: list
) -> dict[str, np.ndarray]:
    """Return the images of a batch, before the task network's own resize.

    Args:
        model: The model, on the device of the images.
        inputs: (N, C, H', W'), normalised as the task network expects.
        samples: The data samples of the images.

    Returns:
        dict: ``lr`` (N, h, w, 3) and ``hr``, ``sr`` and perhaps ``mix`` (N, H, W, 3),
        uint8, as they are drawn (:func:`~mmsr4ir.models.image_space.picture`).
    """
    batch = model.prepare(inputs, samples)
    sr = model.super_resolve_batch(batch)
    images = dict(lr=batch.lr, hr=batch.hr, sr=sr)
    if model.patch_mix:
        images['mix'] = model.patch_mix.mix(sr, batch.hr)
    if batch.mask is not None:  # beside the images HR has what their edges have
        for name in images.keys() - {'lr', 'hr'}:
            images[name] = torch.where(batch.mask.bool(), images[name], batch.hr)
    return {
        name: to_uint8(torch.stack([*map(picture, image)]))
        .permute(0, 2, 3, 1)
        .cpu()
        .numpy()
        for name, image in images.items()
    }


def _row(
    images: dict[str, np.ndarray],
    sample,
    annotator: Annotator,
    scale: int,
    min_size: int,
) -> np.ndarray:
    hr, lr = images['hr'], images['lr']
    zoom = zoom_to(hr.shape[:2], min_size)
    panels = [('HR', enlarge(hr, zoom)), (f'LR x{scale}', enlarge(lr, zoom * scale))]
    panels += [
        (title, enlarge(images[name], zoom))
        for name, title in _TITLES.items()
        if name != 'hr' and name in images
    ]
    panels.append(('ground truth', annotator.draw_enlarged(hr, sample, True, zoom)))
    return row(panels)
