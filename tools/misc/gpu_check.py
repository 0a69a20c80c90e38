"""The stages of gpu_check.sh that are Python: each compares this device with a CPU.

python tools/misc/gpu_check.py STAGE --out FOLDER

A line that begins with RESULT is what a stage has found; its exit code is 1 if that is
wrong. Networks and data are those of the three demo configs.
"""

import argparse
import copy
import os
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from mmengine.config import Config
from torch import Tensor, nn

import mmsr4ir  # before anything imports mmcv.ops
from mmsr4ir.analysis.train_speed import Steps
from mmsr4ir.cli.runs import set_amp
from mmsr4ir.compat.checkpoint import load_from_local
from mmsr4ir.engine.exact_loops import use_exact_loops
from mmsr4ir.engine.runner import SR4IRRunner
from mmsr4ir.engine.training_samples import seed_all
from mmsr4ir.models.patch_mix import CrossQualityPatchMix
from mmsr4ir.utils.configs import read_config

DEMOS = dict(
    cls='resnet18_edsr_tiny', seg='deeplabv3_edsr_tiny', det='faster-rcnn_edsr_tiny'
)
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
PACKAGE = f'{Path(mmsr4ir.__file__).parent}{os.sep}'
#: Largest relative difference of a loss in the first iteration. A detector draws its
#: boxes by their scores, and one more or less changes its losses.
LIMITS = dict(
    float32=dict(cls=1e-4, seg=1e-4, det=2e-2),
    tf32=dict(cls=5e-3, seg=5e-3, det=0.1),
    bfloat16=dict(cls=5e-2, seg=5e-2, det=0.4),
    float16=dict(cls=1e-2, seg=1e-2, det=0.3),
)


def tasks() -> list[str]:
    """List the tasks that the variable TASKS names."""
    return os.environ.get('TASKS', ' '.join(DEMOS)).split()


def config(task: str, **more) -> Config:
    """Read a demo's config, with batches of four and no worker processes."""
    options = {
        'train_dataloader.num_workers': 0,
        'train_dataloader.batch_size': 4,
        'default_hooks.alternate.warmup': 0,
    }
    cfg = read_config(f'configs/sr4ir/{DEMOS[task]}.py', options | more)
    cfg.log_level = 'ERROR'
    return cfg


def start(task: str, precision: str = 'float32', **more) -> Steps:
    """Build a training that is ready for its first iteration, in some precision."""
    tf32 = precision == 'tf32'
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    cfg = config(task, **more)
    if 'float16' in precision:  # bfloat16 as well
        set_amp(cfg, precision)
    return Steps(cfg, Path(tempfile.mkdtemp(prefix='gpu_check_')))


def step(steps: Steps, data: dict, number: int) -> dict[str, float]:
    """Train on one batch; return the losses."""
    seed_all(0, number)
    data = copy.deepcopy(data)  # some task networks change their samples
    logs = steps.model.train_step(data, steps.runner.optim_wrapper)
    return {name: float(value) for name, value in logs.items() if 'loss' in name}


def restored(steps: Steps, data: dict) -> Tensor:
    """Return the SR images of a batch, on the CPU."""
    model = steps.model.eval()
    with torch.no_grad():
        data = model.data_preprocessor(copy.deepcopy(data), False)
        batch = model.prepare(data['inputs'], data['data_samples'])
        image = model.super_resolve_batch(batch).cpu()
    model.train()
    return image


def start_comparable(task: str, precision: str = 'float32') -> Steps:
    """Build a training without dropout, whose draws differ from device to device."""
    steps = start(task, precision)
    for module in steps.model.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0
    return steps


def draw_on_cpu() -> None:
    """Let the patch mix draw on the CPU, so that all devices mix the same patches."""

    def draw_mask(self, sr: Tensor, generator=None) -> Tensor:
        draw = torch.rand(sr.shape[0], 1, self.grid, self.grid)
        return (draw < self.p).to(sr)

    CrossQualityPatchMix.draw_mask = draw_mask


def tell(good: bool, text: str) -> bool:
    """Print what was found; return whether it is right."""
    print('RESULT', text + ('' if good else ' <-- FAIL'), flush=True)
    return good


def reference(out: Path) -> bool:
    """Write weights, batches and losses of the CPU, which ``parity`` compares with."""
    draw_on_cpu()
    for task in tasks():
        steps = start_comparable(task)
        batches = steps.batches()
        data = [next(batches) for _ in range(3)]
        weights = copy.deepcopy(steps.model.state_dict())
        image = restored(steps, data[0])
        losses = [step(steps, one, i) for i, one in enumerate(data)]
        torch.save(
            dict(weights=weights, data=data, losses=losses, image=image),
            out / f'reference_{task}.pt',
        )
        tell(True, f'{task} {losses[0]["loss"]:.5f}')
    return True


def parity(out: Path) -> bool:
    """Compare losses in each precision, from the same weights, batches and draws."""
    draw_on_cpu()
    good = True
    for task in tasks():
        # Written by this script a moment ago: it holds data samples, not only tensors.
        path = out / f'reference_{task}.pt'
        want = torch.load(path, map_location='cpu', weights_only=False)
        for precision, limits in LIMITS.items():
            if precision == 'float16' and DEVICE == 'cpu':
                continue
            steps = start_comparable(task, precision)
            steps.model.load_state_dict(want['weights'])
            pixels = (restored(steps, want['data'][0]) - want['image']).abs().max()
            steps.model.load_state_dict(want['weights'])
            got = [step(steps, one, i) for i, one in enumerate(want['data'])]
            first, later = (relative(got[i], want['losses'][i]) for i in (0, 2))
            name, worst = max(first.items(), key=lambda item: item[1])
            right = worst <= limits[task] and max(later.values()) < float('inf')
            right &= precision != 'float32' or pixels.item() < 1e-4
            good &= tell(
                right,
                f'{task} {precision}: loss {worst:.1e} ({name}), iteration 3 '
                f'{max(later.values()):.1e}, SR {pixels.item():.1e}',
            )
    return good


def relative(got: dict[str, float], want: dict[str, float]) -> dict[str, float]:
    """Return the relative differences of losses; infinite for one that is NaN."""
    off = {k: abs(got[k] - v) / max(abs(v), 1e-6) for k, v in want.items()}
    return {k: v if v == v else float('inf') for k, v in off.items()}


def resume(out: Path) -> bool:
    """Train two epochs at a run, and with a stop between: equal to the last bit."""
    task = tasks()[0]
    epochs = out / 'resume'
    for name, count, begin in (
        ('whole', 2, None),
        ('again', 2, None),
        ('cut', 1, None),
        ('cut', 2, epochs / 'cut/epoch_1.pth'),
    ):
        runner = train(task, epochs / name, count, begin)
    states = [
        load_from_local(str(epochs / name / 'epoch_2.pth'), 'cpu')['state_dict']
        for name in ('whole', 'again', 'cut')
    ]
    again, cut = (
        max((states[0][k].double() - one[k].double()).abs().max() for k in one)
        for one in states[1:]
    )
    # Where the device does not repeat itself, a resumed run cannot be judged.
    good = tell(not cut or bool(again), f'{task}: again {again:.1e}, resumed {cut:.1e}')
    where = {
        state['step'].device.type
        for wrapper in runner.optim_wrapper.values()
        for state in wrapper.optimizer.state.values()
    }
    return tell(where == {'cpu'}, f"Adam's step is on {where} after it") and good


def train(
    task: str, folder: Path, epochs: int, begin: Path | None = None, **more
) -> SR4IRRunner:
    """Train a demo for so many epochs, deterministically, from a checkpoint or not."""
    cfg = deterministic_config(task, folder, f'{folder.name}_{epochs}', **more)
    cfg.train_cfg.max_epochs = epochs
    use_exact_loops(cfg)
    cfg.param_scheduler = None
    leave_out(cfg, 'val')
    cfg.resume, cfg.load_from = begin is not None, begin and str(begin)
    runner = SR4IRRunner.from_cfg(cfg)
    runner.train()
    return runner


def deterministic_config(task: str, folder: Path, name: str, **more) -> Config:
    """Read a demo's config, deterministic, with few images and without a test."""
    few = {
        'train_dataloader.dataset.indices': 32 if DEVICE == 'cuda' else 8,
        'val_dataloader.dataset.indices': 4,
        'val_dataloader.num_workers': 0,
        'default_hooks.checkpoint.interval': 1,
        'randomness.deterministic': True,
    }
    cfg = config(task, **few, **more)
    cfg.work_dir, cfg.experiment_name = str(folder), name
    leave_out(cfg, 'test')
    return cfg


def leave_out(cfg: Config, split: str) -> None:
    """Let a run have no validation or no test."""
    for part in ('dataloader', 'cfg', 'evaluator'):
        cfg[f'{split}_{part}'] = None


def deterministic(out: Path) -> bool:
    """Train and validate with deterministic algorithms only; name what refuses."""
    sparse = {'default_hooks.sparse': dict(type='mmsr4ir.SparseRoIAlignHook')}
    ways: list[tuple[str, str, dict]] = [(task, task, {}) for task in tasks()]
    ways += [('det', 'det with SparseRoIAlignHook', sparse)] * ('det' in tasks())
    for task, name, more in ways:
        folder, found = out / 'deterministic' / name.replace(' ', '_'), []
        for part in ('train', 'validate'):
            try:
                if part == 'train':
                    train(task, folder, 1, **more)
                else:
                    cfg = deterministic_config(task, folder, f'{name} {part}', **more)
                    leave_out(cfg, 'train')
                    cfg.optim_wrapper = cfg.param_scheduler = None
                    SR4IRRunner.from_cfg(cfg).val()
                found.append(f'{part}s')
            except RuntimeError as error:
                found.append(f'does not {part}: {str(error)[:150]}')
        tell(True, f'{name}: {", ".join(found)}')
    return True


def amp(out: Path) -> bool:
    """Train for 20 iterations in half precision: finite, falling, with what scale."""
    good = True
    for task in tasks():
        for precision in ('float16', 'bfloat16'):
            if precision == 'float16' and DEVICE == 'cpu':
                continue
            steps = start(task, precision, **{'optim_wrapper.sr.optimizer.lr': 3e-4})
            batches = steps.batches()
            count = 20 if DEVICE == 'cuda' else 2
            losses = [step(steps, next(batches), i)['loss'] for i in range(count)]
            some = min(5, count)
            first, last = sum(losses[:some]) / some, sum(losses[-some:]) / some
            scales = {
                name: wrapper.loss_scaler.get_scale()
                for name, wrapper in steps.runner.optim_wrapper.items()
            }
            right = last < 1.5 * first and (
                precision == 'bfloat16' or min(scales.values()) >= 256
            )
            text = f'{task} {precision}: {first:.3f} to {last:.3f}, scales {scales}'
            good &= tell(right, text)
    return good


def ops(out: Path) -> bool:
    """Compare the served ops of mmcv, forward and backward, with the CPU's."""
    torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(0)
    good = True
    for name, function, inputs in served_ops():
        want = run_op(function, inputs, 'cpu', torch.float32)
        halves = (torch.float16, torch.bfloat16) if DEVICE == 'cuda' else ()
        for dtype in (torch.float32, *halves[: 0 if name == 'RoIPool' else None]):
            got = run_op(function, inputs, DEVICE, dtype)
            off = max(
                ((a - b).abs().max() / b.abs().max().clamp(min=1e-6)).item()
                for a, b in zip(got, want, strict=True)
            )
            right = off < (1e-4 if dtype == torch.float32 else 0.1)
            good &= tell(right, f'{name} {str(dtype)[6:]} {off:.0e}')
    from mmcv.ops import nms, soft_nms

    boxes = torch.rand(300, 4) * 60
    boxes[:, 2:] += boxes[:, :2]
    scores = torch.randperm(300) / 300
    for function in (nms, soft_nms):
        here, there = (
            function(boxes.to(device), scores.to(device), 0.5)[1].cpu()
            for device in ('cpu', DEVICE)
        )
        good &= tell(torch.equal(here, there), f'{function.__name__} keeps the same')
    return good


def served_ops() -> Iterator[tuple[str, Callable, list[Tensor]]]:
    """Yield ops with inputs; what needs a gradient is a leaf."""
    from mmcv import ops as mmcv_ops

    def leaf(*shape: int) -> Tensor:
        return torch.randn(*shape).requires_grad_()

    corner = torch.rand(20, 2) * 80
    rois = torch.cat([corner, corner + 4 + torch.rand(20, 2) * 40], 1)
    rois = torch.cat([torch.randint(0, 2, (20, 1)), rois], 1)
    images, offset, weight = leaf(2, 8, 32, 32), leaf(2, 18, 32, 32), leaf(8, 8, 3, 3)
    mask = torch.rand(2, 9, 32, 32).requires_grad_()
    yield 'RoIAlign', mmcv_ops.RoIAlign(7, 0.25, 0), [images, rois]
    yield 'RoIPool', mmcv_ops.RoIPool(3, 0.25), [images, rois]
    yield (
        'DCNv1',
        lambda x, o, w: mmcv_ops.deform_conv2d(x, o, w, 1, 1),
        [images, offset, weight],
    )
    yield (
        'DCNv2',
        lambda x, o, m, w: mmcv_ops.modulated_deform_conv2d(x, o, m, w, None, 1, 1),
        [images, offset, mask, weight],
    )
    yield (
        'focal loss',
        lambda s, t: mmcv_ops.sigmoid_focal_loss(s, t, 2.0, 0.25, None, 'none'),
        [leaf(50, 6), torch.randint(0, 7, (50,))],
    )


def run_op(function: Callable, inputs: list[Tensor], device: str, dtype) -> list:
    """Return an op's output and the gradients of its leaves, float32 on the CPU."""
    leaves = [
        one.detach()
        .to(device, dtype if one.is_floating_point() else None)
        .clone()
        .requires_grad_(one.requires_grad)
        for one in inputs
    ]
    out = function(*leaves)
    out.float().square().sum().backward()
    results = [out, *(one.grad for one in leaves if one.requires_grad)]
    return [one.detach().float().cpu() for one in results]


def waits(out: Path) -> bool:
    """Count how often an iteration waits for the GPU, and name the places."""
    for task in tasks():
        steps = start(task)
        batches = steps.batches()
        for number in range(2):
            step(steps, next(batches), number)
        data, found = copy.deepcopy(next(batches)), Counter()

        def note(*_, found=found, **__) -> None:
            stack = traceback.extract_stack()
            own = [one for one in stack if one[0].startswith(PACKAGE)]
            found[f'{Path(own[-1][0]).name}:{own[-1][1]}' if own else '-'] += 1

        if DEVICE == 'cuda':
            with warnings.catch_warnings():
                warnings.simplefilter('always')
                warnings.showwarning = note
                torch.cuda.set_sync_debug_mode('warn')
                steps.model.train_step(data, steps.runner.optim_wrapper)
                torch.cuda.set_sync_debug_mode('default')
        tell(True, f'{task}: {sum(found.values())} waits, {found.most_common(4)}')
    return True


STAGES = dict(
    reference=reference,
    parity=parity,
    ops=ops,
    resume=resume,
    amp=amp,
    waits=waits,
    deterministic=deterministic,
)


def main() -> None:
    """Run one stage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('stage', choices=STAGES)
    parser.add_argument('--out', type=Path, required=True, metavar='FOLDER')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    args.out.mkdir(parents=True, exist_ok=True)
    sys.exit(not STAGES[args.stage](args.out))


if __name__ == '__main__':
    main()
