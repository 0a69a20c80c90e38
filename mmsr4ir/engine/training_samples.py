"""A data set as a training asks for it: seeded, and with unreadable images named."""

import logging
import multiprocessing
import random
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.logging import print_log
from torch.utils.data import Dataset

from mmsr4ir.datasets.checks.images import scan_image, scan_mask
from mmsr4ir.utils.errors import SR4IRError


class UnreadableImageError(SR4IRError, RuntimeError):
    """An image of the training cannot be read; the message has its path."""


def seed_all(*key: int) -> None:
    """Seed Python's, NumPy's and torch's generators from numbers (0 or more)."""
    words = np.random.SeedSequence(key).generate_state(4)
    random.seed(words.tobytes())
    np.random.seed(words)
    torch.manual_seed(int(words[0]) << 32 | int(words[1]))


class TrainingSamples(Dataset):
    """A data set whose samples are asked for as (index, key): seed, then load.

    Args:
        dataset: The data set itself.
        max_unreadable: How many different images may be unreadable and be replaced,
            over all workers. Which one takes the place follows from the key alone.
    """

    def __init__(self, dataset: Dataset, max_unreadable: int) -> None:
        self.dataset = dataset
        self.max_unreadable = max_unreadable
        # Shared with the workers: indices, -1 where there is none yet.
        self._unreadable = multiprocessing.Array('q', [-1] * max_unreadable)

    @property
    def unreadable(self) -> list[int]:
        """The indices of the unreadable images that were met."""
        return [index for index in self._unreadable[:] if index >= 0]

    @unreadable.setter
    def unreadable(self, indices: list[int]) -> None:
        known = indices[: self.max_unreadable]
        self._unreadable[:] = known + [-1] * (self.max_unreadable - len(known))

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]  # torch promises no length

    def __getitem__(self, item: tuple[int, tuple[int, ...]]) -> Any:
        """Load a sample.

        Raises:
            UnreadableImageError: If its image or label map cannot be read, and no more
                samples may be replaced.
        """
        index, key = item
        seed_all(*key)
        while True:
            try:
                return self.dataset[index]
            except Exception as error:  # of any kind: it is raised on unless explained
                problem = self._problem(index)
                if problem is None:
                    raise
                self._count(index, problem, error)
                index = np.random.randint(len(self))

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__') or name == 'dataset':  # not there yet, as in a copy
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __setattr__(self, name: str, value: Any) -> None:
        # Hooks that switch the pipeline set it on what the loader has.
        wrapped = self.__dict__.get('dataset')
        own = name in self.__dict__ or hasattr(type(self), name)
        if wrapped is not None and not own and hasattr(wrapped, name):
            setattr(wrapped, name, value)
        else:
            super().__setattr__(name, value)

    def _problem(self, index: int) -> str | None:
        """Return what is wrong with a sample's files, or None."""
        if not hasattr(self.dataset, 'get_data_info'):
            return None
        info = self.dataset.get_data_info(index)
        for key, scan in (('img_path', scan_image), ('seg_map_path', scan_mask)):
            found = scan(info[key]) if info.get(key) else None
            if found and found.problem:
                return f'{found.path} {found.problem}'
        return None

    def _count(self, index: int, problem: str, error: Exception) -> None:
        with self._unreadable.get_lock():
            known = self.unreadable
            count = len(known) + (index not in known)
            if count > self.max_unreadable:
                raise UnreadableImageError(
                    f'{problem}. Fix or remove the file and go on with --resume, or '
                    'let some be replaced: train_cfg.max_unreadable='
                    f'{self.max_unreadable + 1} or more (now {self.max_unreadable})'
                ) from error
            if index not in known:
                self._unreadable[len(known)] = index
        # Of the processes but the first MMEngine shows errors alone.
        print_log(
            f'{problem}; another image takes its place ({count} of at most '
            f'{self.max_unreadable} unreadable ones)',
            'current',
            logging.ERROR if get_rank() else logging.WARNING,
        )
