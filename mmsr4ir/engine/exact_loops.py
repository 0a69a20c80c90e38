"""Training loops that continue an interrupted run to the last bit.

MMEngine's loops come close, but what a resumed run draws differs: random states are in
no checkpoint, persistent workers start their generators anew, a seed that was not given
is drawn again for the order of the data, an interrupted epoch begins at its first
batch, and an interrupted validation is left out.

Nothing of that is saved here. Random numbers are made a function of the seed and of how
far the training is: before each sample and before each train step, every generator of
the process is seeded from (seed, rank, place in the training). So they do not depend on
the number of workers, on what validation draws, or on where a run was interrupted.
"""

import itertools
import logging
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import (
    all_gather_object,
    broadcast_object_list,
    get_rank,
    get_world_size,
)
from mmengine.logging import print_log
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from mmsr4ir.compat.mmengine_parts import differs_by_rank
from mmsr4ir.registry import LOOPS
from mmsr4ir.utils.errors import ConfigError
from mmsr4ir.utils.out_of_memory import explain_out_of_memory

from .optim_wrapper_constructor import AccumulatingOptimWrappers
from .training_samples import TrainingSamples, seed_all


class PlacedBatches:
    """A batch sampler that gives each sample its key, and can start anywhere.

    Args:
        batches: The batch sampler itself.
        endless: Whether to begin again, with the next epoch, after the last batch.
    """

    def __init__(self, batches: Any, endless: bool) -> None:
        self.batches = batches
        self.sampler = batches.sampler
        self.endless = endless
        self.begin(0, 0)

    def begin(self, seed: int, epoch: int, done: int = 0) -> None:
        """Set the run's seed, the epoch and how many of its batches are done."""
        self.seed, self.epoch, self.done = seed, epoch, done
        self.sampler.seed = seed

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[tuple[int, tuple[int, ...]]]]:
        place = (self.seed, get_rank(), self.epoch)
        for number, batch in itertools.islice(
            enumerate(self._indices()), self.done, None
        ):
            yield [(index, (*place, number, i)) for i, index in enumerate(batch)]

    def _indices(self) -> Iterator[list[int]]:
        for epoch in itertools.count(self.epoch):
            if hasattr(self.sampler, 'set_epoch'):
                self.sampler.set_epoch(epoch)
            yield from self.batches
            if not self.endless:
                return


class ExactLoader(DataLoader):
    """MMEngine's dataloader of a config, with :class:`PlacedBatches`."""

    def __init__(self, plain: DataLoader, endless: bool, max_unreadable: int) -> None:
        super().__init__(
            TrainingSamples(plain.dataset, max_unreadable),
            batch_sampler=PlacedBatches(plain.batch_sampler, endless),
            num_workers=plain.num_workers,
            collate_fn=plain.collate_fn,
            pin_memory=plain.pin_memory,
            timeout=plain.timeout,
            worker_init_fn=plain.worker_init_fn,
            multiprocessing_context=plain.multiprocessing_context,
            prefetch_factor=plain.prefetch_factor,
            persistent_workers=plain.persistent_workers,
        )
        # None beside a batch sampler; PreciseBNHook of mmpretrain asks for it.
        vars(self)['batch_size'] = getattr(plain.batch_sampler, 'batch_size', None)

    def __iter__(self) -> Iterator:  # type: ignore[override]  # torch's own iterator
        # A generator: workers start with the first batch that is asked for, when it is
        # known where to begin, not when MMEngine's loop is built.
        yield from super().__iter__()


class _Exact(BaseLoop):
    """What both loops share, a base beside MMEngine's class and before it.

    Args:
        max_unreadable: How many unreadable images other images replace, in each
            process. One more ends the training; with 0, the first one does.
        kwargs: Those of MMEngine's loop.

    Raises:
        ConfigError: If the processes would get different numbers of images, or an epoch
            has no whole batch.
    """

    endless = False

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        max_unreadable: int = 0,
        **kwargs,
    ) -> None:
        plain: DataLoader = (
            runner.build_dataloader(
                dataloader, seed=runner.seed, diff_rank_seed=differs_by_rank(runner)
            )
            if isinstance(dataloader, dict)
            else dataloader
        )
        check_shares(plain)
        if not len(plain):
            images = len(plain.dataset)  # type: ignore[arg-type]  # torch: no length
            raise ConfigError(
                f'an epoch has no batch: the {images} images make no '
                f'whole one for each of {get_world_size()} processes, and drop_last '
                'leaves the rest out. Lower train_dataloader.batch_size'
            )
        super().__init__(
            runner, ExactLoader(plain, self.endless, max_unreadable), **kwargs
        )

    def start(self) -> None:
        """Set the seed of the run, and repeat a validation that was interrupted.

        Raises:
            ConfigError: If the run was interrupted in an epoch of other batches.
        """
        found = dict(enumerate(self.info.get('unreadable_by_rank', [])))
        self.dataloader.dataset.unreadable = found.get(get_rank(), [])
        if self.runner.save_checkpoint != self.save_for_all:
            self.save_checkpoint = self.runner.save_checkpoint
            self.runner.save_checkpoint = self.save_for_all
        seed = [self.runner.seed]  # may differ on each rank; the data's order may not
        broadcast_object_list(seed)
        self.seed = seed[0]
        self._decide_current_val_interval()
        batches = len(self.dataloader)
        before = self.info.get('batches_in_epoch', batches)
        if self.done_in_epoch and before != batches:
            raise ConfigError(
                f'the checkpoint lies within an epoch, {self.done_in_epoch} of '
                f'{before} batches on, and the epochs of this run have {batches}: go '
                'on with the batch size, number of processes and images it was trained '
                'with, or from a checkpoint at the end of an epoch'
            )
        if before != batches:
            what = (
                'it goes on at another place in the data'
                if self.endless
                else 'a schedule that counts iterations goes on with the old count, '
                'and so ends elsewhere'
            )
            print_log(
                f'The epochs of the checkpoint had {before} batches, those of this run '
                f'have {batches}: {what}.',
                'current',
                logging.WARNING,
            )
        self.runner.message_hub.update_info('batches_in_epoch', batches)
        if self._iter and not self.done_in_epoch:
            self.validate()

    @property
    def info(self) -> dict:
        """What goes with the checkpoints."""
        return self.runner.message_hub.runtime_info

    @property
    def done_in_epoch(self) -> int:
        """Batches of the epoch that a checkpoint in its middle had behind it."""
        return self.info.get('done_in_epoch', 0)

    def save_for_all(self, *args, **kwargs) -> None:
        """Save a checkpoint that all processes can go on from.

        MMEngine calls this method in each process and saves the state of the first one.
        So the processes first exchange what each has alone: the unreadable images that
        it met, by rank, and its accumulated gradients, of which all get the mean.
        """
        self.runner.message_hub.update_info(
            'unreadable_by_rank', all_gather_object(self.dataloader.dataset.unreadable)
        )
        if isinstance(self.runner.optim_wrapper, AccumulatingOptimWrappers):
            self.runner.optim_wrapper.average_accumulated()
        self.save_checkpoint(*args, **kwargs)

    def run_iter(self, *args) -> None:
        """Run one iteration, with random numbers that are its own."""
        # Each process draws for its own images.
        seed_all(self.runner.seed, self._iter, get_rank())
        with explain_out_of_memory(args[-1]):
            super().run_iter(*args)

    def validate(self) -> None:
        """Validate where it is due and was not done before."""
        done, last = self.progress
        if (
            self.runner.val_loop is None
            or done < self.val_begin
            or self.info.get('last_validation') == done
            or (done % self.val_interval and done != last)
        ):
            return
        # A checkpoint of a new best score is written in the validation itself.
        # Its name may not begin with "val": MMEngine would log it with the metrics.
        self.runner.message_hub.update_info('last_validation', done)
        seed_all(self.runner.seed, self._iter, 1)
        self.runner.val_loop.run()


def check_shares(dataloader: DataLoader) -> None:
    """Check that no process runs out of images while others wait for its gradients.

    Raises:
        ConfigError: If the processes get different numbers of images.
    """
    batches: Any = dataloader.batch_sampler  # torch's own class, or one of mmdet
    shares = all_gather_object(len(batches.sampler))
    if len(set(shares)) > 1:
        raise ConfigError(
            f'the {len(shares)} processes would train on different numbers of images '
            f'in an epoch: {shares}. Set train_dataloader.sampler.round_up=True: a few '
            'images then come twice'
        )


@LOOPS.register_module()
class ExactEpochLoop(_Exact, EpochBasedTrainLoop):
    """MMEngine's ``EpochBasedTrainLoop``, exact when resumed.

    A checkpoint may also be written in the middle of an epoch
    (``CheckpointHook(by_epoch=False)``).
    """

    @property
    def progress(self) -> tuple[int, int]:
        """Epochs done, and all of them."""
        return self._epoch, self._max_epochs

    def run(self) -> torch.nn.Module:
        """Train; returns the model."""
        self.runner.call_hook('before_train')
        self.start()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._decide_current_val_interval()
            self.validate()
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Train on the batches of an epoch that were not done before."""
        hub = self.runner.message_hub
        done = self.done_in_epoch
        if done:
            print_log(
                f'Going on after iteration {done} of epoch {self._epoch + 1}', 'current'
            )
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        self.dataloader.batch_sampler.begin(self.seed, self._epoch, done)
        for idx, data_batch in enumerate(self.dataloader, start=done):
            hub.update_info('done_in_epoch', idx + 1)
            self.run_iter(idx, data_batch)
        hub.update_info('done_in_epoch', 0)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


@LOOPS.register_module()
class ExactIterLoop(_Exact, IterBasedTrainLoop):
    """MMEngine's ``IterBasedTrainLoop``, exact when resumed.

    The samples that were trained on before are passed over without loading them.
    """

    endless = True

    @property
    def progress(self) -> tuple[int, int]:
        """Iterations done, and all of them."""
        return self._iter, self._max_iters

    def run(self) -> torch.nn.Module:
        """Train; returns the model."""
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        self.start()
        self.dataloader.batch_sampler.begin(self.seed, 0, self._iter)
        batches = iter(self.dataloader)
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(batches))
            self._decide_current_val_interval()
            self.validate()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model


def check_kept_checkpoints(cfg: Config) -> None:
    """Check that a run that is interrupted while it saves can be continued.

    Raises:
        ConfigError: If the run would keep one checkpoint alone.
    """
    if cfg.get('default_hooks', {}).get('checkpoint', {}).get('max_keep_ckpts') == 1:
        raise ConfigError(
            'with default_hooks.checkpoint.max_keep_ckpts=1 MMEngine removes the only '
            'checkpoint before it writes the next; a run that dies between loses '
            'everything. Set it to 2 or more'
        )


def use_exact_loops(cfg: Config) -> None:
    """Put the loops that resume exactly in the place of MMEngine's two.

    A loop of another type stays, so that a config can still choose its own.

    Raises:
        ConfigError: If ``train_cfg`` has neither ``type`` nor ``by_epoch``, or both.
    """
    loop = cfg.get('train_cfg')
    if not loop:  # a test
        return
    kinds = dict(
        EpochBasedTrainLoop='mmsr4ir.ExactEpochLoop',
        IterBasedTrainLoop='mmsr4ir.ExactIterLoop',
    )
    if ('type' in loop) == ('by_epoch' in loop):
        raise ConfigError(
            f'train_cfg has {"both" if "type" in loop else "neither"} type and '
            "by_epoch: set one of them, such as type='EpochBasedTrainLoop'"
        )
    if 'by_epoch' in loop:  # MMEngine's short way to say it
        loop.type = (
            'EpochBasedTrainLoop' if loop.pop('by_epoch') else 'IterBasedTrainLoop'
        )
    loop.type = kinds.get(loop.type.removeprefix('mmengine.'), loop.type)
