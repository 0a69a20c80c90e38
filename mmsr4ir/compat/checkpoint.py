"""Checkpoints that are loaded without running code hidden in them.

A pickle can run code when it is read. torch >= 2.6 therefore loads with
``weights_only=True`` by default, which mmengine 0.10.7's own checkpoints do not
survive: they hold a ``HistoryBuffer`` (the log) with NumPy arrays. Turning the
protection off is no fix. This module registers loaders of files and URLs with
mmengine's ``CheckpointLoader`` that keep ``weights_only=True`` and allow exactly the
classes which mmengine writes. Names such as ``torchvision://resnet50`` become URLs in
mmengine, and come this way, too.

Code can also hide in a text: mmengine's Runner, when it resumes, runs
``meta['config']`` as a config, which is Python. mmengine 0.10 does not write that
entry; it is removed.

torch before 2.6 is refused: it unpickles by default, and its ``weights_only=True`` can
be circumvented (CVE-2025-32434).

mmengine 0.10 writes a checkpoint straight to its final name, so that a run that dies
meanwhile leaves half a file there. :class:`WholeFileBackend` takes the place of its
backend of local files and writes beside, then renames.
"""

import hashlib
import io
import os
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.dist import barrier, get_local_rank
from mmengine.fileio import LocalBackend, register_backend
from mmengine.logging import HistoryBuffer
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from mmengine.utils import digit_version

from mmsr4ir.utils.errors import SR4IRError
from mmsr4ir.utils.files import write_whole

if digit_version(torch.__version__) < digit_version('2.6'):
    raise ImportError(
        f'torch {torch.__version__} is too old: before 2.6, code that is hidden in a '
        'checkpoint runs when it is loaded; install torch 2.6 or later'
    )


def allowed_globals() -> list:
    """Return what a checkpoint may hold beside tensors and plain Python containers.

    Returns:
        list: Classes and functions for ``torch.serialization.safe_globals``.
    """
    # NumPy moved its core in 2.0 and pickles name the place they were written with.
    is_numpy_1 = np.__version__.startswith('1.')
    multiarray = getattr(np, 'core' if is_numpy_1 else '_core').multiarray
    reconstruct, scalar = multiarray._reconstruct, multiarray.scalar
    return [
        HistoryBuffer,
        np.ndarray,
        np.dtype,
        (reconstruct, 'numpy.core.multiarray._reconstruct'),
        (reconstruct, 'numpy._core.multiarray._reconstruct'),
        (scalar, 'numpy.core.multiarray.scalar'),
        (scalar, 'numpy._core.multiarray.scalar'),
        type(np.dtype(np.float64)),
        type(np.dtype(np.int64)),
        (_statistic, 'builtins.getattr'),
    ]


def _statistic(owner: type, name: str) -> Callable:
    """Stand in for ``getattr``, which a HistoryBuffer's own methods are pickled with.

    Raises:
        pickle.UnpicklingError: If anything else is asked for.
    """
    if owner is HistoryBuffer and name in ('min', 'max', 'current', 'mean'):
        return getattr(owner, name)
    raise pickle.UnpicklingError(
        f'Unsupported global: GLOBAL {getattr(owner, "__name__", owner)}.{name}'
    )


class UnsafeCheckpointError(SR4IRError, RuntimeError):
    """A checkpoint holds a class that is not on the allow-list."""


def safe_load(file: Any, map_location: Any = None, weights_only: bool = True) -> Any:
    """Call :func:`torch.load` with the allow-list, and never unpickle anything else.

    Args:
        file: Path or file object.
        map_location: As in :func:`torch.load`.
        weights_only: Taken for True, whatever a caller of ``onedl-mmengine`` says.
    """
    with torch.serialization.safe_globals(allowed_globals()):
        return torch.load(file, map_location=map_location, weights_only=True)


def load_from_local(filename: str, map_location: Any = None) -> dict:
    """Load a local checkpoint with ``weights_only=True`` and the allow-list.

    Args:
        filename: Path of the checkpoint.
        map_location: As in :func:`torch.load`.

    Returns:
        dict: The checkpoint.

    Raises:
        FileNotFoundError: If the file does not exist.
        UnsafeCheckpointError: If the file names a class that is not allowed; the class
            is in the message, and nothing of it was run.
        RuntimeError: If the file is truncated or no checkpoint, or if ``map_location``
            names a device that fails; torch's own error then stays as it is.
    """
    filename = os.path.expanduser(filename)
    if not os.path.isfile(filename):
        raise FileNotFoundError(f'checkpoint {filename} does not exist')
    if filename.endswith('.safetensors'):
        return _load_safetensors(filename, map_location)
    try:
        checkpoint = safe_load(filename, map_location)
    except Exception as error:  # torch raises nearly anything on a broken file
        if is_of_device(error):
            raise
        found = re.search(r'(?:GLOBAL|build|class) ((?:\w+\.)*\w+)', str(error))
        if isinstance(error, pickle.UnpicklingError) and found:
            raise UnsafeCheckpointError(
                f'{filename} was refused: it holds {found[1]}, which is not needed to '
                'restore a training and could run code. If you trust its origin, load '
                'it yourself, keep its state_dict alone and save that.'
            ) from error
        if 'TorchScript' in str(error):
            raise RuntimeError(
                f'{filename} is a TorchScript archive, which is code: '
                'save its state_dict alone'
            ) from error
        raise RuntimeError(
            f'{filename} cannot be read; it is truncated or no checkpoint. Use the '
            f'checkpoint before it. ({type(error).__name__}: {error})'
        ) from error
    return _without_config(checkpoint)


def is_of_device(error: Exception) -> bool:
    """Return whether an error says that a GPU failed, is full or is missing."""
    kinds: list[type[Exception]] = [torch.OutOfMemoryError]
    if hasattr(torch, 'AcceleratorError'):  # older releases have a RuntimeError
        kinds.append(torch.AcceleratorError)
    return isinstance(error, tuple(kinds)) or (
        isinstance(error, RuntimeError) and 'CUDA' in str(error)
    )


def _without_config(checkpoint: Any) -> Any:
    """Remove the config that MMEngine's Runner would run when it resumes."""
    meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None
    if isinstance(meta, dict):
        meta.pop('config', None)
    return checkpoint


def _load_safetensors(filename: str, map_location: Any) -> dict:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError as error:
        raise RuntimeError(
            f"{filename} cannot be read: {error}: pip install 'mmsr4ir[spandrel]'"
        ) from error
    device = map_location if isinstance(map_location, str | torch.device) else 'cpu'
    try:
        return load_file(filename, device=str(device))
    except SafetensorError as error:
        raise RuntimeError(
            f'{filename} cannot be read; it is truncated or no '
            f'.safetensors file ({error})'
        ) from error


def load_from_http(url: str, map_location: Any = None) -> dict:
    """Fetch a checkpoint into torch's cache, once for each machine, and load it safely.

    MMEngine's own loader of URLs unpickles whatever it gets.

    Args:
        url: Address that begins with ``http://`` or ``https://``. Eight hexadecimal
            digits before the suffix, as OpenMMLab's files have them, are compared with
            the file's SHA-256.
        map_location: As in :func:`torch.load`.

    Raises:
        RuntimeError: If the file cannot be fetched; the message says where to put it
            by hand.
        UnsafeCheckpointError: If the file names a class that is not allowed.
    """
    name = os.path.basename(urlparse(url).path)
    digest = re.search(r'-([0-9a-f]{8})\.\w+$', name)
    # Without a digest, files of one name at two addresses are two files.
    folder = '' if digest else hashlib.sha256(url.encode()).hexdigest()[:12]
    path = os.path.join(torch.hub.get_dir(), 'checkpoints', folder, name)
    reason = None
    if not os.path.isfile(path) and get_local_rank() == 0:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            torch.hub.download_url_to_file(
                url, path, digest[1] if digest else None, progress=False
            )
        except (OSError, RuntimeError) as error:  # no network, or another digest
            reason = error
    barrier()
    if not os.path.isfile(path):
        raise RuntimeError(
            f'{url} cannot be fetched ({reason or "see the first process"}). Fetch it '
            f'on a machine with a network and put it at {path}'
        ) from reason
    return load_from_local(path, map_location)


class _Predictions(pickle.Unpickler):
    """Reads tensors, arrays and plain containers, and nothing that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        """Find what is known; pickle calls this for each class or function."""
        known = {
            ('collections', 'OrderedDict'): OrderedDict,
            ('torch', 'Size'): torch.Size,
            ('torch._utils', '_rebuild_tensor_v2'): torch._utils._rebuild_tensor_v2,
            ('torch.storage', '_load_from_bytes'): lambda content: torch.load(
                io.BytesIO(content), weights_only=True
            ),
            # Bytes, in protocol 2, which MMEngine writes.
            ('_codecs', 'encode'): lambda text, encoding: text.encode('latin-1'),
        }
        for one in allowed_globals():
            function, path = (
                one
                if isinstance(one, tuple)
                else (one, f'{one.__module__}.{one.__name__}')
            )
            known[tuple(path.rsplit('.', 1))] = function
        if (module, name) not in known:
            raise UnsafeCheckpointError(
                f'it holds {module}.{name}, which could run code'
            )
        return known[module, name]


def load_predictions(path: str | Path) -> Any:
    """Read what ``tools/test.py --out`` wrote, without running code hidden in it.

    Raises:
        UnsafeCheckpointError: If the file names a class that is not allowed.
        Exception: If the file is no pickle or a broken one, which can raise nearly any
            exception.
    """
    with open(path, 'rb') as file:
        return _Predictions(file).load()


class WholeFileBackend(LocalBackend):
    """MMEngine's backend of local files, whose files are whole or not there."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes to ``<filepath>.unfinished``, then rename.

        If this fails, raise an OSError with the name and keep the file that was there
        before. ``<filepath>.unfinished`` is always the same name, so a resumed run
        overwrites the file that a killed run left, and large files do not pile up.
        """
        unfinished = f'{filepath}.unfinished'
        try:
            super().put(obj, unfinished)
            with open(unfinished, 'rb') as file:
                os.fsync(file.fileno())  # or a power cut may keep the name alone
            os.replace(unfinished, filepath)
        except OSError as error:  # such as a full disk: do not keep half a file on it
            with suppress(FileNotFoundError):
                os.remove(unfinished)
            taken = isinstance(error, FileNotFoundError) and os.path.isdir(
                os.path.dirname(unfinished) or '.'
            )
            raise OSError(
                error.errno,
                f'{filepath} could not be written: '
                + (
                    'another process took it away. Does another training write into '
                    'this '
                    'folder? Give each its own --work-dir'
                    if taken
                    else f'{error.strerror or error}'
                ),
            ) from error

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write a text beside, under a name of this process's own, then rename.

        MMEngine's ``LoggerHook`` lets all processes of a test write the same metrics to
        one file, and simultaneous writes left a mixture in that file.
        """
        write_whole(filepath, obj.encode(encoding))


_load_checkpoint = CheckpointLoader.load_checkpoint


def _load_any(filename: str, map_location: Any = None, logger: Any = 'current') -> Any:
    """Load from any address that MMEngine knows, without a config that would run."""
    return _without_config(_load_checkpoint(filename, map_location, logger))


def install() -> None:
    """Register the backend, and the loaders of files and URLs."""
    CheckpointLoader.load_checkpoint = staticmethod(_load_any)
    register_backend('local', WholeFileBackend, force=True, prefixes='')
    CheckpointLoader.register_scheme(prefixes='', loader=load_from_local, force=True)
    CheckpointLoader.register_scheme(
        prefixes=['http://', 'https://'], loader=load_from_http, force=True
    )
    mmengine_checkpoint.load_from_http = load_from_http
    # What onedl-mmengine's loaders of other addresses call, as s3://, which unpickles
    # a file that torch refuses. MMEngine's leave it refused.
    if hasattr(mmengine_checkpoint, '_safe_torch_load'):
        mmengine_checkpoint._safe_torch_load = safe_load
