"""Kill trainings at random moments, resume them, and compare with runs never cut.

    python tests/helpers/kill_and_resume.py [--moments 24] [--seed 0] [--json FILE]

Each kind of training runs once whole. Then the same training runs again in another
folder and is killed (SIGKILL) and resumed until it is through. What each iteration
draws, loses and leaves behind must be equal to the last bit, however often it was run.
"""

import argparse
import gc
import hashlib
import itertools
import json
import os
import pickle
import random
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.evaluator import BaseMetric
from mmengine.fileio import LocalBackend
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, METRICS, MODELS
from mmengine.runner import Runner
from mmengine.runner import runner as runner_module

import mmsr4ir  # noqa: F401
from mmsr4ir.compat.checkpoint import load_from_local
from mmsr4ir.engine.resume import resume_point
from mmsr4ir.engine.runner import SR4IRRunner
from mmsr4ir.models.distributed import unwrap
from toys import HLF_FM, toy_config

ITER_SAVES = dict(type='CheckpointHook', interval=3, by_epoch=False)
EMA = dict(type='EMAHook', momentum=0.1)
KINDS = {
    'epochs': dict(by_epoch=True),
    'epochs, saved within, 2 workers, EMA': dict(
        by_epoch=True, workers=2, checkpoint=ITER_SAVES, ema=EMA
    ),
    'iterations, float16, EMA, a teacher': dict(
        by_epoch=False, ema=EMA, float16=True, recipe=HLF_FM
    ),
    'iterations, endless sampler, 2 workers': dict(
        by_epoch=False, workers=2, sampler='InfiniteSampler'
    ),
    '2 processes, saved within epochs, EMA': dict(
        by_epoch=True, processes=2, checkpoint=ITER_SAVES, ema=EMA
    ),
    'iterations, gradients of 4 and 3, float16': dict(
        by_epoch=False, float16=True, counts=dict(sr=4, task=3)
    ),
}
# The scale doubles with every third step, so that it is never the one of the start.
FLOAT16 = dict(
    type='mmsr4ir.AmpOptimWrapper',
    dtype='float16',
    loss_scale=dict(init_scale=4.0, growth_interval=3),
)
SAVING = ('half a checkpoint', 'before the rename', 'after the rename')


@HOOKS.register_module()
class Trace(Hook):
    """Write what each iteration was, as a line of JSON."""

    priority = 80  # after the schedulers, before a checkpoint is written

    def __init__(self, path: str) -> None:
        self.path = path

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        model = unwrap(runner.model)
        ema = [hook.ema_model for hook in runner.hooks if hasattr(hook, 'ema_model')]
        wrappers = dict(runner.optim_wrapper.items())
        line = dict(
            iter=f'{runner.iter} of process {get_rank()}',
            epoch=runner.epoch,
            batch=batch_idx,
            stage=model.stage,
            losses={k: v.item().hex() for k, v in outputs.items()},
            rates=runner.optim_wrapper.get_lr(),
            data=digest(data_batch['inputs']),
            generators=digest(
                [random.getstate(), np.random.get_state(), torch.get_rng_state()]
            ),
            model=digest(model.state_dict()),
            optimizers=digest({k: w.state_dict() for k, w in wrappers.items()}),
            gradients=digest(
                [
                    (p.grad, w.inner_count % w._accumulative_counts)
                    for w in wrappers.values()
                    for g in w.optimizer.param_groups
                    for p in g['params']
                ]
            ),
            ema=digest([m.state_dict() for m in ema]),
        )
        with open(self.path, 'a') as file:
            file.write(json.dumps(line) + '\n')

    def after_val_epoch(self, runner, metrics=None):
        torch.rand(3)  # a validation that draws random numbers
        with open(self.path, 'a') as file:
            file.write(
                json.dumps(
                    dict(
                        iter=f'validation {runner.iter} of process {get_rank()}',
                        metrics=metrics,
                    )
                )
                + '\n'
            )


@METRICS.register_module()
class Mean(BaseMetric):
    """The mean of the restored images."""

    def process(self, data_batch, data_samples):
        self.results += [
            sample['images']['sr'].double().mean().item() for sample in data_samples
        ]

    def compute_metrics(self, results):
        return dict(mean=sum(results) / len(results))


def digest(value) -> str:
    """A digest of the bits of tensors and arrays, however nested."""
    plain = pickle.dumps(_bits(value))
    return hashlib.sha256(plain).hexdigest()[:16]


def _bits(value):
    if isinstance(value, torch.Tensor):
        return (
            str(value.dtype),
            tuple(value.shape),
            value.detach().contiguous().view(-1).numpy().tobytes()
            if value.dtype != torch.bfloat16
            else value.tolist(),
        )
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.tobytes()
    if isinstance(value, dict):
        return [(str(k), _bits(v)) for k, v in value.items()]
    if isinstance(value, (list, tuple)):
        return [_bits(v) for v in value]
    return repr(value)


def model_of(kind: dict, folder: Path) -> dict:
    """The toy model; with a teacher, whose file is made, if the recipe has one."""
    if 'recipe' not in kind:
        return toy_config()
    path = folder / 'teacher.pth'
    if not path.exists():
        torch.manual_seed(1)
        torch.save(dict(state_dict=MODELS.build(toy_config()).state_dict()), path)
    init_cfg = dict(type='Pretrained', checkpoint=str(path))
    return toy_config(recipe=kind['recipe'], teacher=dict(init_cfg=init_cfg))


def train(work: Path, trace: Path, kind: dict, resume: bool) -> Runner:
    """Train as tools/train.py does, on toy networks; returns the runner."""
    by_epoch = kind['by_epoch']
    sampler = dict(type=kind.get('sampler', 'DefaultSampler'), shuffle=True)
    workers = kind.get('workers', 0)
    optimizer = dict(
        FLOAT16 if kind.get('float16') else dict(type='OptimWrapper'),
        optimizer=kind.get('optimizer', dict(type='AdamW', lr=0.01)),
    )
    loader = dict(
        dataset=dict(type='ToyDraws', length=8),
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=dict(type='pseudo_collate'),
    )
    cfg = dict(
        model=kind.get('model') or model_of(kind, work.parent),
        work_dir=str(work),
        randomness=dict(seed=None),
        train_dataloader=dict(
            loader,
            dataset=kind.get('dataset', loader['dataset']),
            batch_size=2,
            sampler=sampler,
        ),
        val_dataloader=dict(
            loader,
            batch_size=2,
            sampler=dict(type='DefaultSampler', shuffle=False),
            num_workers=0,
            persistent_workers=False,
        ),
        val_evaluator=dict(type='Mean'),
        val_cfg=dict(),
        train_cfg=dict(by_epoch=True, max_epochs=6, val_interval=2)
        if by_epoch
        else dict(by_epoch=False, max_iters=24, val_interval=8, **kind.get('loop', {})),
        optim_wrapper=dict(
            constructor='mmsr4ir.PerNetworkOptimWrapperConstructor',
            **{
                name: dict(optimizer, accumulative_counts=count)
                for name, count in kind.get('counts', dict(sr=1, task=1)).items()
            },
        ),
        param_scheduler=dict(
            sr=[dict(type='CosineAnnealingLR', T_max=24, by_epoch=False)],
            task=[
                dict(
                    type='MultiStepLR',
                    milestones=[2, 4] if by_epoch else [8, 16],
                    by_epoch=by_epoch,
                )
            ],
        ),
        default_hooks=dict(
            alternate=dict(
                type='mmsr4ir.AlternateTrainingHook',
                warmup=2 if by_epoch else 8,
                by_epoch=by_epoch,
            ),
            checkpoint=kind.get(
                'checkpoint',
                dict(
                    type='CheckpointHook',
                    interval=1 if by_epoch else 2,
                    by_epoch=by_epoch,
                ),
            ),
            ema=kind.get('ema'),
            trace=dict(type='Trace', path=str(trace)),
            **kind.get('hooks', {}),
        ),
        log_processor=dict(by_epoch=by_epoch),
        default_scope='mmengine',
        launcher='pytorch' if torch.distributed.is_initialized() else 'none',
        model_wrapper_cfg=dict(
            type='mmsr4ir.SeparateDistributedDataParallel', device_ids=None
        ),
        log_level='ERROR',
        experiment_name=f'{os.getpid()}',
    )
    cfg['default_hooks'] = {k: v for k, v in cfg['default_hooks'].items() if v}
    cfg = Config(cfg)
    if resume:
        cfg.resume = True
        cfg.load_from = resume_point(str(work), 'auto')
    if not (resume and cfg.load_from):  # a seed of its own is in the checkpoints only
        cfg.randomness.seed = 5
    # As tools/train.py and, by runner_type, OpenMMLab's tools do.
    runner = SR4IRRunner.from_cfg(cfg)
    runner.train()
    return runner


def die_while_saving(point: str, after: int) -> None:
    """Let the process kill itself in its ``after``-th saving from now."""
    plain, replace = LocalBackend.put, os.replace
    count = iter(range(after, -after - 99, -1))

    def put(self, obj, path):
        if str(path).endswith('.unfinished') and next(count) == 0:
            if point == 'half a checkpoint':
                plain(self, obj[: len(obj) // 2], path)
                die()

            def rename(old, new):
                if point == 'after the rename':
                    replace(old, new)
                die()

            os.replace = rename
        plain(self, obj, path)

    LocalBackend.put = put


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def attempt(folder: Path, kind: dict, resume: bool, moment) -> bool:
    """Train in processes of their own until the moment; returns whether they finished.

    A moment is None, seconds from the start, or (point of a saving, number). Once a
    process is dead, the others are killed, as torch's launcher does.
    """
    count = kind.get('processes', 1)
    group = folder / f'group_{time.monotonic_ns()}'
    children = [
        start(folder, kind, resume, moment, rank, group) for rank in range(count)
    ]
    ends = {}

    def look() -> None:
        for child in set(children) - set(ends):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                ends[child] = status

    deadline = time.monotonic() + (moment if isinstance(moment, float) else 300)
    while len(ends) < count and not any(ends.values()) and time.monotonic() < deadline:
        time.sleep(0.002)
        look()
    look()  # the one whose death was another's error
    if any(ends.values()) and not any(map(os.WIFSIGNALED, ends.values())):
        raise RuntimeError((folder / 'log.txt').read_text()[-3000:])
    for child in set(children) - set(ends):
        os.kill(child, signal.SIGKILL)
        ends[child] = os.waitpid(child, 0)[1]
        time.sleep(0.05 * (count > 1))  # the others go on for a moment
    return not any(ends.values())


def start(
    folder: Path, kind: dict, resume: bool, moment, rank: int, group: Path
) -> int:
    """Start one process of a training; returns its id."""
    child = os.fork()
    if child:
        return child
    os.setsid()
    try:
        with open(folder / 'log.txt', 'a') as log:
            os.dup2(log.fileno(), 1), os.dup2(log.fileno(), 2)
        if kind.get('processes'):
            os.environ['LOCAL_RANK'] = str(rank)
            torch.distributed.init_process_group(
                'gloo', f'file://{group}', rank=rank, world_size=kind['processes']
            )
        if isinstance(moment, tuple):
            die_while_saving(*moment)
        train(folder / 'work', folder / 'trace.jsonl', kind, resume)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def read_trace(folder: Path) -> dict[str, list[str]]:
    """The lines of each iteration; a line that a kill cut is left out."""
    lines = {}
    path = folder / 'trace.jsonl'
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            lines.setdefault(str(json.loads(line)['iter']), []).append(line)
        except ValueError:
            continue
    return lines


def final_state(folder: Path) -> str:
    """A digest of all that the last checkpoint has of the training."""
    last = load_from_local(resume_point(str(folder / 'work'), 'auto'))
    kept = ('state_dict', 'optimizer', 'param_schedulers', 'ema_state_dict')
    return digest({key: last[key] for key in kept if key in last})


def check(kind: dict, moments: int, root: Path, draw: random.Random) -> dict:
    """Run one kind of training whole and cut, and compare."""
    whole, cut = root / 'whole', root / 'cut'
    whole.mkdir(parents=True), cut.mkdir()
    start = time.monotonic()
    attempt(whole, kind, False, None)
    seconds = time.monotonic() - start
    where = []
    for number in itertools.count():
        if len(where) == moments:
            break
        if len(where) % 2:
            moment = (draw.choice(SAVING), draw.randrange(3))
        else:
            moment = draw.uniform(0, seconds)
        if attempt(cut, kind, number > 0, moment):  # through: begin anew
            assert final_state(cut) == final_state(whole)
            cut.rename(root / f'through_{number}')
            cut.mkdir()
        else:
            where.append(moment[0] if isinstance(moment, tuple) else 'any time')
    attempt(cut, kind, True, None)
    reference = read_trace(whole)
    runs = [read_trace(path) for path in (cut, *root.glob('through_*'))]
    again = sum(len(lines) for run in runs for lines in run.values())
    different = [
        line
        for run in runs
        for key, lines in run.items()
        for line in lines
        if line != reference[key][0]
    ]
    models = {}
    for line in (json.loads(line) for lines in reference.values() for line in lines):
        models.setdefault(line['iter'].split()[0], set()).add(line.get('model'))
    missing = [key for run in runs for key in reference if key not in run]
    return dict(
        killed=len(where),
        while_saving=sum(w in SAVING for w in where),
        iterations=again,
        different=len(different),
        missing=len(missing),
        apart=sum(len(states) > 1 for states in models.values()),
        equal_end=final_state(cut) == final_state(whole),
        example=different[:1],
        seconds=round(time.monotonic() - start, 1),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--moments', type=int, default=24)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--json')
    args = parser.parse_args()
    torch.set_num_threads(1)
    MODELS.build(toy_config())  # imports, once for all that is forked
    gc.freeze()  # else each fork goes through all of it, and copies it
    # Both ask other programs (compilers, git) about this machine, each time anew.
    runner_module.collect_env, runner_module.get_git_hash = dict, str
    draw = random.Random(args.seed)
    results = {}
    with tempfile.TemporaryDirectory() as root:
        for i, (name, kind) in enumerate(KINDS.items()):
            results[name] = check(
                kind, -(-args.moments // len(KINDS)), Path(root) / str(i), draw
            )
            print(
                name,
                {k: v for k, v in results[name].items() if k != 'example'},
                flush=True,
            )
            for line in results[name]['example']:
                print(line)
    gc.unfreeze()  # else triton, which looks at the end, reports leaks
    if args.json:
        Path(args.json).write_text(json.dumps(results))


if __name__ == '__main__':
    main()
