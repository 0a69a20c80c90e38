"""Trainings of two processes that are cut, or meet a NaN or an unreadable image.

usage: two_ranks.py FOLDER

Writes FOLDER/<training>/rank_<n>.json: what each iteration was (``Trace`` of
kill_and_resume.py) and what the process has in the end.
"""

import gc
import json
import os
import sys
import traceback
from pathlib import Path

import torch
from kill_and_resume import digest, train
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, HOOKS, MODELS
from mmengine.runner import runner as runner_module

from mmsr4ir.models.distributed import unwrap
from toys import ToyDraws, toy_config

SAVES = dict(type='CheckpointHook', interval=2, by_epoch=False)
# Without AdamW, which makes much of the rounding of a gradient that should be zero.
ACCUMULATED = dict(
    optimizer=dict(type='SGD', lr=0.05, momentum=0.9),
    by_epoch=False,
    counts=dict(sr=4, task=3),
    checkpoint=SAVES,
    model=toy_config(
        recipe=dict(
            sr=dict(update='sr', losses=dict(pixel=1.0)),
            task=dict(update='task', losses=dict(task_sr=0.5, task_hr=0.5)),
        )
    ),
)
NAN = dict(
    by_epoch=False,
    dataset=dict(type='OneNaN', length=8),
    hooks=dict(
        nan=dict(type='mmsr4ir.NonFiniteLossHook', max_skipped=12),
        skips=dict(type='Skips'),
    ),
)
UNREADABLE = dict(
    by_epoch=False,
    dataset=dict(type='OneUnreadable', length=8),
    loop=dict(max_unreadable=2),
    checkpoint=SAVES,
)


@DATASETS.register_module()
class OneNaN(ToyDraws):
    """Image 3 makes every loss of its batch NaN."""

    def __getitem__(self, i):
        data = super().__getitem__(i)
        return data | dict(inputs=data['inputs'] * (float('nan') if i == 3 else 1.0))


@DATASETS.register_module()
class OneUnreadable(ToyDraws):
    """Image 3 cannot be read, by process 1 alone; or, if ``mended``, it can."""

    def __init__(self, length, mended=False):
        super().__init__(length)
        self.mended = mended

    def bad(self, i):
        return i == 3 and get_rank() == 1 and not self.mended

    def __getitem__(self, i):
        if self.bad(i):
            raise OSError('broken')
        return super().__getitem__(i)

    def get_data_info(self, i):
        return dict(img_path='none.png' if self.bad(i) else __file__)


@HOOKS.register_module()
class Skips(Hook):
    """Count what this process skipped, and where its own loss was NaN."""

    skipped = own = 0

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        losses = [v for k, v in outputs.items() if 'loss_' in k]
        Skips.skipped += any(outputs[k].isnan() for k in outputs if k.endswith('/loss'))
        Skips.own += not torch.stack(losses).isfinite().all()


def rank_of_two(rank: int, folder: Path, kind: dict, resume: bool) -> None:
    """One process of a training; ``folder`` is the same for both."""
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2
    )
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2')
    trace = folder / f'trace_{rank}.jsonl'
    runner = train(folder / 'work', trace, kind, resume)
    lines = [json.loads(line) for line in trace.read_text().splitlines()]
    networks = {k: unwrap(v) for k, v in unwrap(runner.model).named_children()}
    parameters = [p for name in ('sr', 'task') for p in networks[name].parameters()]
    (folder / f'rank_{rank}.json').write_text(
        json.dumps(
            dict(
                lines=[line for line in lines if 'losses' in line],
                parameters=digest(parameters),
                skipped=Skips.skipped,
                own=Skips.own,
                unreadable=runner.train_loop.dataloader.dataset.unreadable,
                sizes=[p.double().norm().item() for p in parameters],
            )
        )
    )


def train_two(folder: Path, kind: dict, resume: bool = False) -> None:
    """Train in two processes; exits with what went wrong in one."""
    folder.mkdir(exist_ok=True)
    children = []
    for rank in (0, 1):
        child = os.fork()
        if not child:
            try:
                rank_of_two(rank, folder, kind, resume)
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)
            os._exit(0)
        children.append(child)
    if any([os.waitpid(child, 0)[1] for child in children]):
        sys.exit(f'{folder} failed')


def go_on(folder: Path, name: str, from_: str, checkpoint: str, kind: dict) -> None:
    """A training that goes on from a checkpoint of another."""
    work = folder / name / 'work'
    work.mkdir(parents=True)
    (folder / from_ / 'work' / checkpoint).rename(work / checkpoint)
    train_two(folder / name, kind, resume=True)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    MODELS.build(toy_config())  # imports, once for all that is forked
    gc.freeze()  # else each fork goes through all of it, and copies it
    runner_module.collect_env, runner_module.get_git_hash = dict, str
    train_two(folder / 'whole', ACCUMULATED)
    train_two(
        folder / 'unsaved', ACCUMULATED | dict(checkpoint=dict(SAVES, interval=99))
    )
    go_on(folder, 'cut', 'whole', 'iter_10.pth', ACCUMULATED)
    train_two(folder / 'nan', NAN)
    train_two(folder / 'unreadable', UNREADABLE)
    go_on(
        folder,
        'unreadable_cut',
        'unreadable',
        'iter_22.pth',
        UNREADABLE | dict(dataset=dict(type='OneUnreadable', length=8, mended=True)),
    )


if __name__ == '__main__':
    main(Path(sys.argv[1]))
