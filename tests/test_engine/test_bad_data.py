"""Unreadable images, losses that are no number and full memory in a long training."""

import logging

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, Compose
from test_hooks import ToyDataset, runner
from torch.utils.data import default_collate

from mmsr4ir.compat.checkpoint import load_from_local
from mmsr4ir.engine.training_samples import TrainingSamples, UnreadableImageError
from mmsr4ir.models.sr4ir import SR4IR
from mmsr4ir.utils.out_of_memory import OutOfMemoryError
from toys import snapshot, toy_config


class Files(BaseDataset):
    """Images in files, read as the task libraries do."""

    def load_data_list(self):
        return [dict(img_path=path) for path in self.ann_file.split(':')]


def files(folder, count=6, broken=()):
    paths = [folder / f'{i}.png' for i in range(count)]
    for i, path in enumerate(paths):
        cv2.imwrite(str(path), np.full((4, 4, 3), i, np.uint8))
        if i in broken:
            whole = path.read_bytes()
            path.write_bytes(whole[: len(whole) // 2])
    return Files(
        ':'.join(map(str, paths)),
        pipeline=[dict(type='mmcv.LoadImageFromFile'), lambda r: r['img']],
    )


def keys(count):
    return [(i, (0, 0, 2, i)) for i in range(count)]


@pytest.mark.parametrize('workers', [0, 1])
def test_an_unreadable_image_is_fatal_with_its_path_in_the_last_line(tmp_path, workers):
    samples = TrainingSamples(files(tmp_path, broken=[3]), max_unreadable=0)
    loader = torch.utils.data.DataLoader(
        samples,
        batch_sampler=[keys(6)],
        num_workers=workers,
        collate_fn=default_collate,
    )
    with pytest.raises(UnreadableImageError) as caught:
        next(iter(loader))
    last = str(caught.value).strip().splitlines()[-1]
    assert f'{tmp_path}/3.png is truncated' in last
    assert 'train_cfg.max_unreadable=1' in last


def test_by_configuration_another_image_takes_its_place_and_is_counted(
    tmp_path, caplog
):
    data = files(tmp_path, broken=[3])
    with caplog.at_level(logging.WARNING):
        samples = TrainingSamples(data, max_unreadable=1)
        first = [samples[key][0, 0, 0] for key in keys(6)]
        again = [samples[key][0, 0, 0] for key in reversed(keys(6))][::-1]
    assert first == again and first[3] != 3  # the same one, whatever came before
    assert [first[i] for i in (0, 1, 2, 4, 5)] == [0, 1, 2, 4, 5]
    assert samples.unreadable == [3]  # an image counts once, in whatever many epochs


@pytest.mark.parametrize('workers', [0, 1])
def test_a_hook_that_switches_the_pipeline_reaches_the_data_set(tmp_path, workers):
    """As mmdet's PipelineSwitchHook and mmpretrain's SwitchRecipeHook do it."""
    loader = torch.utils.data.DataLoader(
        TrainingSamples(files(tmp_path), max_unreadable=0),
        batch_sampler=[keys(6)],
        num_workers=workers,
    )
    assert next(iter(loader)).shape == (6, 4, 4, 3)
    loader.dataset.pipeline = Compose(
        [dict(type='mmcv.LoadImageFromFile'), lambda r: r['img'][:2]]
    )
    assert next(iter(loader)).shape == (6, 2, 4, 3)
    loader.dataset.unreadable = []  # its own attributes stay its own
    assert 'unreadable' not in vars(loader.dataset.dataset)


def test_one_more_than_the_limit_is_fatal_also_where_others_were_found_before(tmp_path):
    samples = TrainingSamples(files(tmp_path, broken=[1, 3, 4]), max_unreadable=2)
    samples.unreadable = [4]  # as a resumed run does
    samples[keys(6)[3]]
    assert samples.unreadable == [4, 3]
    with pytest.raises(UnreadableImageError, match=r'max_unreadable=3 or more \(now 2'):
        samples[keys(6)[1]]
    samples[keys(6)[4]]  # known
    lower = TrainingSamples(samples.dataset, max_unreadable=1)
    lower.unreadable = [4, 3]
    assert lower.unreadable == [4]


def test_a_fault_of_the_pipeline_is_not_taken_for_one_of_the_image(tmp_path):
    data = files(tmp_path)
    data.pipeline.transforms.append(lambda image: image[:, :, 7, 7])
    with pytest.raises(IndexError):
        TrainingSamples(data, max_unreadable=9)[keys(6)[0]]


class Images(ToyDataset):
    """4 images, some of which cannot be read."""

    def __init__(self, broken):
        self.broken = broken

    def __getitem__(self, i):
        if i in self.broken:
            raise OSError('broken')
        return super().__getitem__(i)

    def get_data_info(self, i):
        return dict(img_path=f'none_{i}.png' if i in self.broken else __file__)


def image_runner(folder, broken, workers=0, **settings):
    return runner(
        folder,
        train_dataloader=dict(
            dataset=Images(broken),
            batch_size=2,
            num_workers=workers,
            sampler=dict(type='DefaultSampler', shuffle=True),
        ),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
        train_cfg=dict(type='mmsr4ir.ExactEpochLoop', max_epochs=2) | settings,
    )


def test_the_loop_takes_the_setting_and_a_training_goes_through(tmp_path):
    with pytest.raises(UnreadableImageError, match='none_2.png is missing'):
        image_runner(tmp_path, [2]).train()
    kept = image_runner(tmp_path, [2], max_unreadable=1)
    kept.train()
    assert kept.train_dataloader.dataset.unreadable == [2]


@pytest.mark.parametrize('workers', [0, 1])
def test_a_resumed_training_knows_the_unreadable_images_found_before(tmp_path, workers):
    image_runner(tmp_path, [2], workers, max_unreadable=1).train()

    def go_on(broken):
        again = image_runner(tmp_path, broken, workers, max_unreadable=1, max_epochs=3)
        again._resume, again._load_from = True, str(tmp_path / 'epoch_2.pth')
        again.train()
        return again.train_dataloader.dataset.unreadable

    with pytest.raises(UnreadableImageError, match=r'none_1.png.*\(now 1'):
        go_on([1])  # the second one; 2 has been mended, but was one
    assert go_on([2]) == [2]


class OneNaN(ToyDataset):
    """The first image (of 4) makes every loss of its batch NaN."""

    def __getitem__(self, i):
        data = super().__getitem__(i)
        return data | dict(inputs=data['inputs'].float() * (1 if i else float('nan')))


def nan_runner(folder, max_skipped, epochs=1, **settings):
    return runner(
        folder,
        epochs=epochs,
        **settings,
        train_dataloader=dict(
            dataset=OneNaN(),
            batch_size=2,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
        ),
        default_hooks=dict(
            non_finite_loss=dict(
                type='mmsr4ir.NonFiniteLossHook', max_skipped=max_skipped
            ),
            alternate=dict(type='mmsr4ir.AlternateTrainingHook'),
            logger=dict(type='LoggerHook', interval=1),
            checkpoint=dict(type='CheckpointHook', interval=1),
        ),
    )


def test_a_nan_batch_leaves_no_trace_and_the_next_one_trains(tmp_path, monkeypatch):
    seen = []
    plain = SR4IR.train_step

    def watched(self, *args, **kwargs):
        before = snapshot(self)
        logs = plain(self, *args, **kwargs)
        seen.append(
            (
                any(v.isnan() for v in logs.values()),
                sorted(
                    k
                    for k, v in self.state_dict().items()
                    if not torch.equal(v, before[k])
                ),
            )
        )
        return logs

    monkeypatch.setattr(SR4IR, 'train_step', watched)
    nan_runner(tmp_path, max_skipped=2).train()
    (skipped, traces), (trained, updated) = seen
    assert skipped and not traces
    assert not trained and 'sr.conv.weight' in updated and 'task.head.bias' in updated
    saved = load_from_local(tmp_path / 'epoch_1.pth')
    assert all(v.isfinite().all() for v in saved['state_dict'].values())
    assert saved['message_hub']['runtime_info']['skipped_batches'] == 1


def test_a_skipped_loss_does_not_stand_in_the_smoothed_log(tmp_path):
    run = nan_runner(
        tmp_path,
        max_skipped=2,
        epochs=2,
        log_processor=dict(type='mmsr4ir.PhaseLogProcessor'),
    )
    lines = []
    plain = run.logger.info
    run.logger.info = lambda text, *args: (lines.append(text), plain(text, *args))
    run.train()
    lines = [line for line in lines if ' | loss ' in line]
    assert len(lines) == 4  # NaN, finite, NaN, finite
    assert ['nan' in line for line in lines] == [True, False, False, False]
    hub = run.message_hub
    history = hub.get_scalar('train/sr/loss')
    values, counts = history.data
    assert counts.tolist() == [0, 1, 0, 1]
    assert history.mean() == pytest.approx((values[1] + values[3]) / 2)


def test_a_phase_that_was_skipped_from_the_beginning_is_not_in_the_log(tmp_path):
    recipe = dict(
        a_task=dict(update='task', losses=dict(task_hr=1.0)),
        b_sr=dict(update='sr', losses=dict(pixel=1.0)),
    )
    run = nan_runner(
        tmp_path,
        max_skipped=2,
        model=toy_config(recipe=recipe, tdp=None),
        log_processor=dict(type='mmsr4ir.PhaseLogProcessor'),
    )
    lines = []
    plain = run.logger.info
    run.logger.info = lambda text, *args: (lines.append(text), plain(text, *args))
    run.train()
    lines = [line for line in lines if ' | loss ' in line or '| lr' in line]
    assert ['loss a_task' in line for line in lines] == [True, True]
    assert ['loss b_sr' in line for line in lines] == [False, True]


def test_the_checkpoint_a_run_in_another_folder_began_with_is_named(tmp_path):
    for folder in ('first', 'second'):
        (tmp_path / folder).mkdir()
    nan_runner(tmp_path / 'first', max_skipped=1).train()
    again = nan_runner(tmp_path / 'second', max_skipped=1, epochs=2)
    last = str(tmp_path / 'first' / 'epoch_1.pth')
    again._resume, again._load_from = True, last
    with pytest.raises(FloatingPointError, match=f'last good checkpoint is {last}'):
        again.train()


def test_more_nan_batches_than_the_limit_are_fatal(tmp_path):
    with pytest.raises(FloatingPointError, match=r'iteration 5 \(epoch 3\)'):
        nan_runner(tmp_path, max_skipped=2, epochs=3).train()
    assert not (tmp_path / 'epoch_3.pth').exists()


@pytest.mark.parametrize(
    'error',
    [
        torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB'),
        RuntimeError(
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate"
        ),
        MemoryError(),
    ],
)
def test_full_memory_names_the_settings_to_lower(tmp_path, monkeypatch, error):
    def full(*args, **kwargs):
        raise error

    monkeypatch.setattr(SR4IR, 'train_step', full)
    with pytest.raises(
        OutOfMemoryError,
        match='batch of 2 images .*16x16.*Lower train_dataloader.batch_size',
    ):
        runner(
            tmp_path, train_cfg=dict(type='mmsr4ir.ExactEpochLoop', max_epochs=1)
        ).train()


def test_memory_that_is_really_full_is_known_as_such(tmp_path):
    model = toy_config()
    model['task']['channels'] = 1 << 40  # an allocation that no machine has
    with pytest.raises(RuntimeError) as caught:
        runner(tmp_path, model=model)
    from mmsr4ir.utils.out_of_memory import is_out_of_memory

    assert is_out_of_memory(caught.value)


def test_other_errors_stay_what_they_are(tmp_path, monkeypatch):
    def wrong(*args, **kwargs):
        raise RuntimeError('shapes differ')

    monkeypatch.setattr(SR4IR, 'train_step', wrong)
    with pytest.raises(RuntimeError, match='^shapes differ$'):
        runner(
            tmp_path,
            warmup=0,
            train_cfg=dict(type='mmsr4ir.ExactIterLoop', max_iters=1),
        ).train()
