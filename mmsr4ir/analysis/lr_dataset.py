"""LR images as a validation sees them, for a data set on disk."""
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import mmcv
import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from torchvision.datasets.folder import IMG_EXTENSIONS

from mmsr4ir.datasets.checks.images import scan_image
from mmsr4ir.engine.build import build_loader, build_model
from mmsr4ir.models.degradations.degradation import lr_size
from mmsr4ir.models.image_space import extend_edges, to_uint8
from mmsr4ir.registry import MODELS
from mmsr4ir.utils.errors import DataError


def split_images(cfg: Config, split: str
                 ) -> tuple[list[Path], Iterator[np.ndarray | str], set[Path]]:
    """The LR images of a validation or test, after the pipeline of the config.

    Args:
        cfg: The whole config.
        split: ``'val'`` or ``'test'``.

    Returns:
        tuple: The file of each image, from the innermost folder that all of them are
        in, with the suffix .png (a number for an image that has no file); made one by
        one, the images (h, w, 3), uint8, RGB, without padding, or what is wrong with
        which file in the place of one that cannot be read; and the folders that hold
        the files.

    Raises:
        ValueError: The model is no SR4IR, there is no such dataloader, or its data
            cannot be read.
        DataError: Two images have the same name up to the suffix.
    """
    model = build_model(cfg)
    loader = build_loader(cfg, split, batch_size=1, workers=True)
    # Absolute, and so without "..", which could lead out of the folder of the copies.
    paths = [loader.dataset.get_data_info(i).get('img_path')
             for i in range(len(loader.dataset))]
    files = [os.path.abspath(path or f'{i:06d}') for i, path in enumerate(paths)]
    root = os.path.commonpath([os.path.dirname(file) for file in files])

    def images() -> Iterator[np.ndarray | str]:
        problems = [path and scan_image(path).problem for path in paths]
        good = [i for i, problem in enumerate(problems) if not problem]
        batches = iter(DataLoader(
            Subset(loader.dataset, good), num_workers=loader.num_workers,
            collate_fn=loader.collate_fn, worker_init_fn=loader.worker_init_fn))
        for path, problem in zip(paths, problems, strict=True):
            if problem:
                yield f'{path} {problem}'
                continue
            data = model.data_preprocessor(next(batches), False)
            batch = model.prepare(data['inputs'], data['data_samples'])
            yield _to_array(batch.lr[0], batch.sizes[0], model.degradation.scale)

    names = png_names([os.path.relpath(file, root) for file in files])
    return names, images(), {Path(path).resolve().parent for path in paths if path}


def folder_images(cfg: Config, folder: Path
                  ) -> tuple[list[Path], Iterator[np.ndarray | str], set[Path]]:
    """The LR images of all image files in a folder and its sub folders.

    Args:
        cfg: A config with ``model.degradation``, or with ``degradation`` alone.
        folder: The folder.

    Returns:
        tuple: As of :func:`split_images`.

    Raises:
        DataError: There is no image or no degradation, or two images have the same
            name up to the suffix.
    """
    degradation = (cfg.get('model') or {}).get('degradation') or cfg.get('degradation')
    if not degradation:
        raise DataError(f'{cfg.filename} has neither model.degradation nor degradation')
    module = MODELS.build(degradation).eval()
    files = sorted(path.relative_to(folder) for path in folder.rglob('*')
                   if path.suffix.lower() in IMG_EXTENSIONS and path.is_file())
    if not files:
        raise DataError(f'{folder} has no image ({", ".join(IMG_EXTENSIONS)})')
    images = (degrade_file(module, folder / file) for file in files)
    return png_names(files), images, {folder.resolve()}


def png_names(files: Sequence[str | Path]) -> list[Path]:
    """Names with the suffix .png.

    Raises:
        DataError: Two of them become the same.
    """
    seen = {}
    for file in files:
        name = Path(file).with_suffix('.png')
        if name in seen:
            raise DataError(f'{seen[name]} and {file} would both become {name}: rename '
                            'one of them')
        seen[name] = file
    return list(seen)


def degrade_file(degradation: nn.Module, path: Path) -> np.ndarray | str:
    """An image file's LR image (h, w, 3), uint8, RGB; or why there is none."""
    problem = scan_image(str(path)).problem
    if problem:
        return f'{path} {problem}'
    pixels = mmcv.imread(path, channel_order='rgb')
    hr = torch.from_numpy(pixels).movedim(-1, 0)[None] / 255
    lr = degradation(extend_edges(hr, multiple=degradation.scale))
    return _to_array(lr[0], pixels.shape[:2], degradation.scale)


def _to_array(lr: Tensor, size: tuple[int, int], scale: int) -> np.ndarray:
    height, width = lr_size(size, scale)
    return to_uint8(lr[:, :height, :width]).permute(1, 2, 0).numpy()
