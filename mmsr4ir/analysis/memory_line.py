"""The line at the start of a training that says whether the GPU has enough memory."""

import logging

import torch
from mmengine.config import Config
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from .memory import GIB, NO_VALUES, count_memory

#: The share of the memory from which the line is a warning: gaps between tensors and
#: workspaces of cuDNN are not counted.
_NEARLY_ALL = 0.9


class MemoryLineHook(Hook):
    """Before the first iteration, log what an iteration needs; warn if it is too much.

    It counts for the main stage, on tensors without values. If that is impossible, one
    line says so, and the training goes on. With several processes nothing is counted:
    a network may exchange numbers with the others, which would wait for ever.
    """

    priority = 'VERY_LOW'
    is_done = False

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Log the line, once.

        Args:
            runner: Its config is what is counted.
            batch_idx: Of the iteration.
            data_batch: The batch; ``inputs`` are images (C, H, W).
        """
        if self.is_done or get_rank() != 0 or not data_batch:
            return
        self.is_done = True
        if get_world_size() > 1:
            print_log(
                'the memory of an iteration is not estimated in several processes: '
                'tools/analysis_tools/estimate_memory.py does it for one',
                'current',
            )
            return
        shapes = [tuple(image.shape[-2:]) for image in data_batch['inputs']]
        height, width = (max(sides) for sides in zip(*shapes, strict=True))
        try:
            level, line = memory_line(
                runner.cfg, len(shapes), (height, width), gpu_memory()
            )
        except (*NO_VALUES, ImportError) as error:  # the training may well work
            level = logging.INFO
            line = f'the memory of an iteration cannot be estimated: {error!r}'
        print_log(line, 'current', level)


def gpu_memory() -> int:
    """Return the bytes of the present GPU that are free or held by this process."""
    free, _ = torch.cuda.mem_get_info()
    return free + torch.cuda.memory_reserved()


def memory_line(
    cfg: Config, images: int, shape: tuple[int, int], available: int
) -> tuple[int, str]:
    """Compare what an iteration needs with what the GPU has for it.

    Args:
        cfg: The whole config.
        images: Images in a batch.
        shape: (height, width) of each, in pixels.
        available: Bytes of the GPU that this process has or can get.

    Returns:
        tuple: The level of the log and the line.
    """
    memory = count_memory(cfg, images, shape)
    least = 'about' if memory.is_whole else 'more than'
    phase = max(memory.phases, key=memory.phases.__getitem__, default='-')
    line = (
        f'{images} images of {shape[0]} x {shape[1]} need {least} '
        f'{memory.peak / GIB:.1f} GiB (phase {phase}) of the {available / GIB:.1f} GiB '
        'that the GPU has for it'
    )
    if memory.peak < _NEARLY_ALL * available:
        return logging.INFO, line
    return logging.WARNING, (
        f'{line}: lower train_dataloader.batch_size, or use activation checkpointing '
        '(docs/en/memory.md)'
    )
