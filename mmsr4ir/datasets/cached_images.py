"""Decode each image once: its pixels are kept in a folder."""
import hashlib
import os
from pathlib import Path

import numpy as np
from mmcv.transforms import LoadImageFromFile

from mmsr4ir.files import whole_file
from mmsr4ir.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadCachedImage(LoadImageFromFile):
    """mmcv's ``LoadImageFromFile``, which keeps the pixels of each image on disk.

    For a loader that cannot keep up because of decoding. All loader workers, epochs and
    trainings share the folder, and the system keeps in memory what has room there. A
    file that was changed is decoded anew; one of a remote backend is taken not to be.
    Nothing is removed: when it is no longer needed, delete the folder.

    Args:
        cache_dir: The folder; made if there is none. An image takes height x width x 3
            bytes, with ``to_float32`` four times that.
        kwargs: Those of ``LoadImageFromFile``.

    Raises:
        OSError: The folder cannot be written to.
        RuntimeError: The kept pixels of an image are damaged.
    """

    def __init__(self, cache_dir: str | os.PathLike, **kwargs) -> None:
        super().__init__(**kwargs)
        self.cache_dir = Path(cache_dir)
        try:
            self.cache_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(self._unwritable(error)) from error

    def transform(self, results: dict) -> dict | None:
        """Load an image; adds ``img`` (H, W, C), ``img_shape`` and ``ori_shape``."""
        kept = self._kept(results['img_path'])
        if kept.exists():
            results['img'] = self._read(kept)
            results['img_shape'] = results['ori_shape'] = results['img'].shape[:2]
            return results
        loaded = super().transform(results)
        if loaded is not None:
            self._write(kept, loaded['img'])
        return loaded

    def _kept(self, path: str) -> Path:
        """The file with an image's pixels, by all that they depend on."""
        about = [self.color_type, self.imdecode_backend, self.to_float32]
        if os.path.exists(path):
            state = os.stat(path)
            about += [os.path.abspath(path), state.st_mtime_ns, state.st_size]
        else:
            about += [path]
        name = hashlib.sha256(repr(about).encode()).hexdigest()
        return self.cache_dir / name[:2] / f'{name[2:]}.npy'

    def _read(self, kept: Path) -> np.ndarray:
        try:
            return np.load(kept)
        except (ValueError, EOFError) as error:
            raise RuntimeError(
                f'cache_dir: {kept} is damaged ({error}); delete it, and its image '
                'will be decoded anew') from error

    def _write(self, kept: Path, image: np.ndarray) -> None:
        try:
            with whole_file(kept) as unfinished:
                np.save(unfinished, image)
        except OSError as error:
            raise OSError(self._unwritable(error)) from error

    def _unwritable(self, error: OSError) -> str:
        return (f'cache_dir={str(self.cache_dir)!r} cannot be written to ({error}); '
                "name another folder, or load with type='LoadImageFromFile'")
