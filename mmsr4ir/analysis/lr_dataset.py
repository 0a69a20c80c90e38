"""LR images as a validation sees them, for a data set on disk."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from torchvision.datasets.folder import IMG_EXTENSIONS

from mmsr4ir.datasets.checks.images import scan_image
from mmsr4ir.engine.build import build_loader, build_model
from mmsr4ir.models.degradations.degradation import lr_size
from mmsr4ir.models.image_space import extend_edges, to_uint8
from mmsr4ir.registry import MODELS
from mmsr4ir.utils.errors import DataError
from mmsr4ir.utils.images import ImageError, read_image
from mmsr4ir.utils.loading import USUAL, Loading, loading_in


def split_images(
    cfg: Config, split: str
) -> tuple[list[Path], Iterator[np.ndarray | str], set[Path]]:
    """Make the LR images of a validation or test, after the pipeline of the config.

    Args:
        cfg: The whole config.
        split: ``'val'`` or ``'test'``.

    Returns:
        tuple: The names of the LR images: for each file its path from the innermost
        folder that all files are in, with the suffix .png (a number for an image
        without a file). Then, made one by one, the images (h, w, C), uint8, RGB if C is
        3, without padding; an image that cannot be read is a text with its file and the
        reason. Then the folders that hold the files.

    Raises:
        ConfigError: If the model is no SR4IR, if there is no such dataloader, or if its
            data cannot be read.
        DataError: If two images have the same name up to the suffix.
    """
    model = build_model(cfg)
    loader = build_loader(cfg, split, batch_size=1, workers=True)
    # Absolute, and so without "..", which could lead out of the folder of the copies.
    dataset: BaseDataset = loader.dataset
    paths = [dataset.get_data_info(i).get('img_path') for i in range(len(dataset))]
    files = [os.path.abspath(path or f'{i:06d}') for i, path in enumerate(paths)]
    root = os.path.commonpath([os.path.dirname(file) for file in files])

    def images() -> Iterator[np.ndarray | str]:
        how = loading_in(cfg, [split])
        problems = [path and scan_image(path, how=how).problem for path in paths]
        good = [i for i, problem in enumerate(problems) if not problem]
        batches = iter(
            DataLoader(
                Subset(dataset, good),
                num_workers=loader.num_workers,
                collate_fn=loader.collate_fn,
                worker_init_fn=loader.worker_init_fn,
            )
        )
        for path, problem in zip(paths, problems, strict=True):
            if problem:
                yield f'{path} {problem}'
                continue
            data = model.data_preprocessor(next(batches), False)
            batch = model.prepare(data['inputs'], data['data_samples'])
            yield _to_array(batch.lr[0], batch.sizes[0], model.degradation.scale)

    names = png_names([os.path.relpath(file, root) for file in files])
    return names, images(), {Path(path).resolve().parent for path in paths if path}


def folder_images(
    cfg: Config, folder: Path
) -> tuple[list[Path], Iterator[np.ndarray | str], set[Path]]:
    """Make the LR images of all image files in a folder and its sub folders.

    Args:
        cfg: A config with ``model.degradation``, or with ``degradation`` alone.
        folder: The folder.

    Returns:
        tuple: See :func:`split_images`.

    Raises:
        DataError: If there is no image or no degradation, or if two images have the
            same name up to the suffix.
    """
    degradation = (cfg.get('model') or {}).get('degradation') or cfg.get('degradation')
    if not degradation:
        raise DataError(f'{cfg.filename} has neither model.degradation nor degradation')
    module = MODELS.build(degradation).eval()
    files = sorted(
        path.relative_to(folder)
        for path in folder.rglob('*')
        if path.suffix.lower() in IMG_EXTENSIONS and path.is_file()
    )
    if not files:
        raise DataError(f'{folder} has no image ({", ".join(IMG_EXTENSIONS)})')
    how = loading_in(cfg)
    images = (degrade_file(module, module.scale, folder / file, how) for file in files)
    return png_names(files), images, {folder.resolve()}


def png_names(files: Sequence[str | Path]) -> list[Path]:
    """Return the names with the suffix .png.

    Raises:
        DataError: If two names become the same.
    """
    seen: dict[Path, str | Path] = {}
    for file in files:
        name = Path(file).with_suffix('.png')
        if name in seen:
            raise DataError(
                f'{seen[name]} and {file} would both become {name}: rename one of them'
            )
        seen[name] = file
    return list(seen)


def degrade_file(
    degradation: nn.Module, scale: int, path: Path, how: Loading = USUAL
) -> np.ndarray | str:
    """Make the LR image of an image file.

    Args:
        degradation: From (1, C, H, W), [0, 1], to (1, C, H / scale, W / scale).
        scale: The factor of the degradation.
        path: The image file.
        how: How it is loaded.

    Returns:
        np.ndarray | str: (h, w, C), uint8, RGB if C is 3; or the file and why it cannot
        be read.
    """
    problem = scan_image(str(path), how=how).problem
    if problem:
        return f'{path} {problem}'
    try:
        pixels = read_image(path.read_bytes(), how=how)
    except ImageError as error:
        return f'{path} {error}'
    hr = torch.from_numpy(pixels).movedim(-1, 0)[None] / 255
    lr = degradation(extend_edges(hr, multiple=scale))
    return _to_array(lr[0], pixels.shape[:2], scale)


def _to_array(lr: Tensor, size: tuple[int, int], scale: int) -> np.ndarray:
    height, width = lr_size(size, scale)
    return to_uint8(lr[:, :height, :width]).permute(1, 2, 0).numpy()
