"""LR images of a camera, or of any other origin: read from files, not computed."""

import os
from collections import defaultdict
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS

from mmsr4ir.registry import MODELS
from mmsr4ir.utils.errors import DataError
from mmsr4ir.utils.images import ImageError, fit_channels, read_image
from mmsr4ir.utils.loading import USUAL, Loading

from .degradation import ImageByImage, lr_size, parse_scale

# How LR images are loaded for HR images of so many channels.
_LOADING = {1: Loading('grayscale'), 3: USUAL}
#: What a flip in a direction turns around in (3, H, W).
_FLIPPED = dict(horizontal=(-1,), vertical=(-2,), diagonal=(-2, -1))


@MODELS.register_module()
class PairedLR(ImageByImage):
    """Take the LR image that belongs to an HR image, from a folder of its own.

    The file has the same path below ``lr_root`` as the HR image has below ``hr_root``,
    up to the suffix. It is flipped as the HR image was. Nothing else that changes the
    geometry of the HR image can be followed:
    :mod:`mmsr4ir.datasets.checks.pairs` looks for that before a training starts.

    Args:
        hr_root: Folder that all HR images are in, of training and validation, with any
            sub folders.
        lr_root: Folder of the LR images.
        scale: Size of the HR over that of the LR image, a positive integer. An LR image
            has the size of its HR image divided by this, rounded up.

    Raises:
        ValueError: If ``scale`` is not a positive integer.
    """

    def __init__(self, hr_root: str, lr_root: str, scale: int = 4) -> None:
        super().__init__()
        self.hr_root = hr_root
        self.lr_root = lr_root
        self.scale = parse_scale(scale)

    @cached_property
    def files(self) -> dict[str, list[str]]:
        """The LR images, by their paths below ``lr_root`` without suffix.

        Raises:
            DataError: If the folder ``lr_root`` does not exist.
        """
        if not os.path.isdir(self.lr_root):
            raise DataError(f'model.degradation.lr_root={self.lr_root!r} is no folder')
        files = defaultdict(list)
        for folder, _, names in os.walk(self.lr_root, followlinks=True):
            for name in names:
                path = Path(folder, name)
                if path.suffix.lower() in IMG_EXTENSIONS:
                    below = path.relative_to(self.lr_root).with_suffix('')
                    files[str(below)].append(str(path))
        return dict(files)

    def find(self, img_path: str) -> str:
        """Return the path of an HR image's LR image.

        Args:
            img_path: The HR image.

        Raises:
            DataError: If the HR image is not in ``hr_root``, or has no LR image or
                several.
        """
        path, root = (Path(os.path.abspath(p)) for p in (img_path, self.hr_root))
        if not path.is_relative_to(root):
            raise DataError(
                f'{img_path} is not in model.degradation.hr_root={self.hr_root!r}: set '
                'that to the folder which all HR images are in'
            )
        name = str(path.relative_to(root).with_suffix(''))
        found = sorted(self.files.get(name, []))
        if len(found) != 1:
            raise DataError(
                f'{img_path} has {len(found)} LR images ({", ".join(found)}): keep one'
                if found
                else f'{img_path} has no LR image {os.path.join(self.lr_root, name)}.*'
            )
        return found[0]

    def read(
        self,
        img_path: str,
        size: tuple[int, int],
        flip: str | None = None,
        channels: int = 3,
    ) -> Tensor:
        """Read the LR image of an HR image.

        Args:
            img_path: The HR image.
            size: Its (height, width) in pixels.
            flip: ``'horizontal'``, ``'vertical'``, ``'diagonal'`` (both) or None.
            channels: Of the HR image.

        Returns:
            Tensor: (C, h, w), uint8, RGB if C is 3.

        Raises:
            DataError: If the LR image is missing, cannot be read or has another size;
                or if the scale does not divide an edge that is flipped. The last pixels
                of the LR image then reach over the edge of the HR image, and after a
                flip the two would not lie on each other.
        """
        path = self.find(img_path)
        how = _LOADING.get(channels, Loading('unchanged'))
        try:
            pixels = fit_channels(
                read_image(Path(path).read_bytes(), how=how), channels
            )
            lr = torch.from_numpy(pixels).permute(2, 0, 1)
        except (ImageError, OSError) as error:
            raise DataError(f'{path} {error}') from error
        want = lr_size(size, self.scale)
        if lr.shape[1:] != want:
            raise DataError(
                f'{path} has {lr.shape[2]} x {lr.shape[1]} pixels, but {img_path} has '
                f'{size[1]} x {size[0]}, a {self.scale}th of which is {want[1]} x '
                f'{want[0]}'
            )
        edges = _FLIPPED[flip] if flip else ()
        if any(size[edge] % self.scale for edge in edges):
            raise DataError(
                f'{img_path} has {size[1]} x {size[0]} pixels, which {self.scale} does '
                f'not divide, so its LR image cannot be flipped with it ({flip}): crop '
                'it, or take RandomFlip out of the pipeline'
            )
        return lr.flip(edges)

    def degrade(self, image: Tensor, size: tuple[int, int], sample=None) -> Tensor:
        """Read the LR image of one data sample.

        Args:
            image: (C, H, W), the HR image; its type and device are those of the result.
            size: (height, width) of the LR image, in pixels.
            sample: The task's data sample, which names the file.

        Returns:
            Tensor: ``(C, *size)``, [0, 1].

        Raises:
            DataError: If :meth:`read` cannot read the LR image, or the sample does not
                tell the file or has been resized or cropped.
        """
        meta = sample.metainfo if sample is not None else {}
        if 'img_path' not in meta or 'img_shape' not in meta:
            raise DataError(
                'mmsr4ir.PairedLR needs img_path and img_shape of each image: put them '
                'into meta_keys of the last transform'
            )
        shown = tuple(meta['img_shape'][:2])
        loaded = tuple(meta.get('ori_shape', shown)[:2])
        if shown != loaded:
            raise DataError(
                f'{meta["img_path"]} was changed from {loaded[1]} x {loaded[0]} to '
                f'{shown[1]} x {shown[0]} pixels, but its LR image was not: take what '
                'resizes or crops out of the pipeline'
            )
        flip = meta.get('flip_direction') if meta.get('flip') else None
        lr = self.read(meta['img_path'], shown, flip, len(image))
        return lr.to(image) / 255

    def extra_repr(self) -> str:
        """Return the settings for ``repr``."""
        return f'hr_root={self.hr_root!r}, lr_root={self.lr_root!r}, scale={self.scale}'
