"""What a run did, measured: updates, data order, seconds per iteration."""

import json
import os
import platform
import statistics
import time
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmsr4ir.models.batch import images_of
from mmsr4ir.models.distributed import unwrap
from mmsr4ir.models.sr4ir import SR4IR
from mmsr4ir.registry import HOOKS
from mmsr4ir.utils.files import write_json

# The first iterations of a process wait for workers and caches.
_WARM_UP = 3


@HOOKS.register_module()
class RunRecordHook(Hook):
    """Keep a record of a run in ``<work_dir>/record.json``, for comparing runs fairly.

    The file is replaced about once a second, so that another process can follow the
    run. The counts go with the checkpoints: a resumed run continues them. In a test,
    only ``lr_digest`` is written.

    =============  ================================================================
    epoch, epochs  epochs that are complete, and that will be run
    iter, iters    iterations likewise
    updates        number of iterations in which each network was updated
    images         number of training images that each network learnt from, an image
                   as often as it was seen
    seconds        of all iterations with their loading, without validations
    data_digest    CRC-32 over all training images in the order in which the process
                   saw them: equal where two runs saw the same images, augmented in
                   the same way, in the same order
    iter_time      median seconds of an iteration with its loading, of the last start
    machine        what that was measured on
    lr_digest      CRC-32 over all LR images of a test, in order; of one process alone
    =============  ================================================================

    Args:
        interval: Seconds between two writings.
    """

    priority = 'LOW'  # before a checkpoint is saved, which the counts go with

    def __init__(self, interval: float = 1.0) -> None:
        self.interval = interval
        self._seen = 0
        self._times: list[float] = []
        self._written = 0.0
        self._start = 0.0
        self._lr_digest = 0

    def before_train(self, runner: Runner) -> None:
        """Take over the counts of the checkpoint that the run continues from."""
        saved = runner.message_hub.runtime_info.get('run_record')
        counts = json.loads(saved) if saved and runner.iter else {}
        self._digest = counts.get('data_digest', 0)
        self._updates = counts.get('updates') or dict(sr=0, task=0)
        self._images = counts.get('images') or dict(sr=0, task=0)
        self._seconds = counts.get('seconds', 0.0)
        self._start = time.perf_counter()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Count one iteration."""
        now = time.perf_counter()
        self._seen += 1
        if self._seen > _WARM_UP:
            self._times.append(now - self._start)
        inputs = (data_batch or {}).get('inputs', ())
        self._seconds += now - self._start
        self._start = now
        self._digest = digest(inputs, self._digest)
        outputs = outputs or {}
        model: SR4IR = unwrap(runner.model)
        ran = [phase for phase in model.recipe if f'{phase.name}/loss' in outputs]
        if model.skip_non_finite and ran and outputs[f'{ran[-1].name}/loss'].isnan():
            ran = ran[:-1]  # the last one was skipped
        for name in {name for phase in ran for name in phase.update}:
            # Not in iterations that only accumulate.
            self._updates[name] += runner.optim_wrapper[name].should_update()
            share = max(phase.share for phase in ran if name in phase.update)
            self._images[name] += images_of(len(inputs), share) * get_world_size()
        # What the message hub holds goes with the checkpoints.
        runner.message_hub.update_info('run_record', json.dumps(self._counts()))
        if now - self._written > self.interval:
            self._written = now
            self._write(runner)

    def before_train_epoch(self, runner: Runner) -> None:
        """Leave what lies between two epochs out of the iterations' time."""
        self._start = time.perf_counter()

    def after_val(self, runner: Runner) -> None:
        """Leave a validation out of the iterations' time."""
        self._start = time.perf_counter()

    def after_train(self, runner: Runner) -> None:
        """Write the whole record."""
        self._write(runner)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence | None = None,
    ) -> None:
        """Add the LR images of a test batch to the digest."""
        self._lr_digest = digest(
            (sample.images['lr'] for sample in outputs or ()), self._lr_digest
        )

    def after_test_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Write the digest of the LR images, if this process has seen them all."""
        if get_world_size() == 1:
            write_json(
                Path(runner.work_dir) / 'record.json', dict(lr_digest=self._lr_digest)
            )

    def _counts(self) -> dict:
        """Return what goes with the checkpoints."""
        return dict(
            data_digest=self._digest,
            updates=self._updates,
            images=self._images,
            seconds=self._seconds,
        )

    def _write(self, runner: Runner) -> None:
        if not is_main_process():
            return
        self._times.sort()  # nearly sorted, so both this and the median are quick
        write_json(
            Path(runner.work_dir) / 'record.json',
            dict(
                epoch=runner.epoch,
                epochs=runner.max_epochs,
                iters=runner.max_iters,
                iter=min(runner.iter + 1, runner.max_iters),
                **self._counts(),
                iter_time=statistics.median(self._times) if self._times else None,
                machine=machine(),
            ),
        )


def machine() -> str:
    """Name the machine that this process takes its times on."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f'{len(os.sched_getaffinity(0))} cores ({platform.machine()}), no GPU'


def digest(images: Iterable[torch.Tensor], start: int = 0) -> int:
    """Compute CRC-32 over shapes and bytes of images (3, H, W), from ``start`` on."""
    for image in images:
        start = zlib.crc32(str(tuple(image.shape)).encode(), start)
        start = zlib.crc32(image.detach().cpu().contiguous().numpy().data, start)
    return start
