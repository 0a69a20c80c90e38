"""Decode each image once: its pixels are kept in a folder."""
import hashlib
import os
from logging import WARNING
from pathlib import Path

import cv2
import mmcv.image.io
import numpy as np
import PIL
from mmcv.transforms import LoadImageFromFile
from mmengine.logging import print_log

from mmsr4ir.registry import TRANSFORMS
from mmsr4ir.utils.files import whole_file

_DECODERS = (cv2.__version__, PIL.__version__)


@TRANSFORMS.register_module()
class LoadCachedImage(LoadImageFromFile):
    """mmcv's ``LoadImageFromFile``, which keeps the pixels of each image on disk.

    For training pipelines whose loader cannot keep up because of decoding. All loader
    workers, epochs and trainings share the folder, and the system keeps in memory what
    has room there. A file that was changed is decoded anew; one of a remote backend is
    taken not to be. Nothing is removed: when it is no longer needed, delete the folder.

    A kept file that cannot be read, or whose header and length do not fit, is decoded
    anew, with a warning; pixels that changed on the disk are not noticed. Where there
    is no room for more, a warning says so once in each process, and the training goes
    on.

    Args:
        cache_dir: The folder; made if there is none. An image takes height x width x 3
            bytes, with ``to_float32`` four times that.
        kwargs: Those of ``LoadImageFromFile``.

    Raises:
        OSError: The folder cannot be written to.
    """

    def __init__(self, cache_dir: str | os.PathLike, **kwargs) -> None:
        super().__init__(**kwargs)
        self.cache_dir = Path(cache_dir)
        self.keeps = True
        try:
            self.cache_dir.mkdir(parents=True, exist_ok=True)
            if not os.access(self.cache_dir, os.W_OK):
                raise PermissionError('no permission')
        except OSError as error:
            raise OSError(
                f'cache_dir={str(cache_dir)!r} cannot be written to ({error}); name '
                "another folder, or load with type='LoadImageFromFile'") from error

    def transform(self, results: dict) -> dict | None:
        """Load an image; adds ``img`` (H, W, C), ``img_shape`` and ``ori_shape``."""
        kept = self._kept(results['img_path'])
        image = self._read(kept)
        if image is not None:
            results['img'] = image
            results['img_shape'] = results['ori_shape'] = image.shape[:2]
            return results
        loaded = super().transform(results)
        if loaded is not None and self.keeps:
            self._write(kept, loaded['img'])
        return loaded

    def _kept(self, path: str) -> Path:
        """The file with an image's pixels, by all that they depend on."""
        about = [path, self.backend_args, self.file_client_args, self.color_type,
                 self.imdecode_backend or mmcv.image.io.imread_backend, self.to_float32,
                 _DECODERS]
        local = not self.file_client_args and '://' not in path and (
            self.backend_args or {}).get('backend', 'local') == 'local'
        if local and os.path.exists(path):
            state = os.stat(path)
            about[0] = os.path.abspath(path)
            about += [state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns]
        name = hashlib.sha256(repr(about).encode()).hexdigest()
        return self.cache_dir / name[:2] / f'{name[2:]}.npy'

    def _read(self, kept: Path) -> np.ndarray | None:
        try:
            with kept.open('rb') as file:
                image = np.lib.format.read_array(file)
                if file.read(1):
                    raise ValueError('longer than its header says')
                return image
        except FileNotFoundError:
            return None
        except Exception as error:  # NumPy parses a header as Python, and it shows
            print_log(f'cache_dir: {kept} cannot be used ({error}); its image is '
                      'decoded anew', 'current', WARNING)
            return None

    def _write(self, kept: Path, image: np.ndarray) -> None:
        try:
            with whole_file(kept) as unfinished, unfinished.open('wb') as file:
                np.save(file, image)
                file.flush()
                os.fsync(file.fileno())  # else a name may outlive a power cut alone
        except OSError as error:
            self.keeps = False
            print_log(f'cache_dir: no more images are kept in {self.cache_dir}, as it '
                      f'cannot be written to ({error})', 'current', WARNING)

    def __repr__(self) -> str:
        return f'{super().__repr__()[:-1]}, cache_dir={str(self.cache_dir)!r})'
