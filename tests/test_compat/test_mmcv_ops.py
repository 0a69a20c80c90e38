"""Every op that torchvision serves, against a computation of its own in the test."""

import math
import subprocess
import sys
from importlib.metadata import packages_distributions

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv import ops
from torch.autograd import gradcheck

from mmsr4ir.compat import mmcv_ops
from mmsr4ir.compat.torchvision_ext import SERVED
from mmsr4ir.compat.torchvision_kernels import MissingOpError

# The maintained fork asks in a way that lasts.
IS_FORK = 'onedl-mmengine' in packages_distributions()['mmengine']
DEVICES = ['cpu'] + (['cuda'] if torch.cuda.is_available() else [])
on_devices = pytest.mark.parametrize('device', DEVICES)


def boxes_of(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, 40, (count, 2)), rng.uniform(2, 30, (count, 2))
    boxes = torch.tensor(np.hstack([corner, corner + size]), dtype=torch.float32)
    # Distinct scores: ties may be kept in any order.
    scores = torch.tensor(rng.permutation(count) + 1.0, dtype=torch.float32) / count
    return boxes, scores


def iou(a, b, offset: int) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0]) + offset
    height = min(a[3], b[3]) - max(a[1], b[1]) + offset
    common = max(width, 0) * max(height, 0)
    areas = [(x[2] - x[0] + offset) * (x[3] - x[1] + offset) for x in (a, b)]
    return common / (sum(areas) - common)


def plain_nms(boxes, scores, threshold, offset) -> list[int]:
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(iou(boxes[i], boxes[k], offset) <= threshold for k in kept):
            kept.append(i)
    return kept


@on_devices
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 999),
    count=st.integers(1, 25),
    offset=st.integers(0, 1),
    threshold=st.sampled_from([0.1, 0.33, 0.5, 0.72]),
)
def test_nms(device, seed, count, offset, threshold):
    boxes, scores = boxes_of(seed, count)
    want = plain_nms(boxes.tolist(), scores.tolist(), threshold, offset)
    dets, kept = ops.nms(boxes.to(device), scores.to(device), threshold, offset=offset)
    assert kept.tolist() == want
    assert torch.equal(dets.cpu(), torch.cat([boxes, scores[:, None]], 1)[want])


@on_devices
def test_nms_in_half_precision(device):
    """As under autocast; the CPU's kernel has no half precision of its own."""
    boxes, scores = (part.to(device) for part in boxes_of(0, 20))
    want = plain_nms(boxes.cpu(), scores.half().cpu(), 0.3, 0)
    assert ops.nms(boxes, scores.half(), 0.3)[1].tolist() == want


@on_devices
def test_batched_nms_keeps_classes_apart(device):
    boxes, scores = boxes_of(3, 30)
    labels = torch.arange(30) % 3
    dets, kept = ops.batched_nms(
        boxes.to(device),
        scores.to(device),
        labels.to(device),
        dict(type='nms', iou_threshold=0.3),
    )
    want = []
    for label in range(3):
        at = (labels == label).nonzero()[:, 0].tolist()
        chosen = plain_nms(boxes[at].tolist(), scores[at].tolist(), 0.3, 0)
        want += [at[i] for i in chosen]
    assert kept.tolist() == sorted(want, key=lambda i: -scores[i])


def plain_soft_nms(boxes, scores, threshold, sigma, min_score, method, offset):
    left, scores, out = list(range(len(boxes))), list(scores), []
    while left:
        best = max(left, key=lambda i: scores[i])
        out.append((best, scores[best]))
        left.remove(best)
        for i in list(left):
            overlap = iou(boxes[best], boxes[i], offset)
            if method == 'gaussian':
                scores[i] *= math.exp(-(overlap**2) / sigma)
            elif overlap >= threshold:
                scores[i] *= 1 - overlap if method == 'linear' else 0
            if scores[i] < min_score:
                left.remove(i)
    return out


@on_devices
@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
@pytest.mark.parametrize('offset', [0, 1])
def test_soft_nms(device, method, offset):
    for seed in range(8):
        boxes, scores = boxes_of(seed, 18)
        want = plain_soft_nms(
            boxes.tolist(), scores.tolist(), 0.3, 0.5, 0.1, method, offset
        )
        dets, kept = ops.soft_nms(
            boxes.to(device), scores.to(device), 0.3, 0.5, 0.1, method, offset
        )
        assert kept.tolist() == [i for i, _ in want]
        np.testing.assert_allclose(
            dets[:, 4].cpu().numpy(), [s for _, s in want], rtol=1e-4
        )
        assert torch.equal(dets[:, :4].cpu(), boxes[kept.cpu()])


def test_soft_nms_of_nothing():
    dets, kept = ops.soft_nms(torch.zeros(0, 4), torch.zeros(0))
    assert dets.shape == (0, 5) and len(kept) == 0


def bilinear(image, y, x):
    """One sample of (C, H, W) as RoIAlign takes it: 0 beyond a pixel outside."""
    height, width = image.shape[-2:]
    if y < -1 or y > height or x < -1 or x > width:
        return image.new_zeros(len(image))
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    y0, x0 = int(y), int(x)
    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
    fy, fx = y - y0, x - x0
    return (1 - fy) * ((1 - fx) * image[:, y0, x0] + fx * image[:, y0, x1]) + fy * (
        (1 - fx) * image[:, y1, x0] + fx * image[:, y1, x1]
    )


def plain_roi_align(images, rois, size, scale, ratio, aligned):
    shift, out = 0.5 if aligned else 0.0, []
    for index, *box in rois.tolist():
        x1, y1, x2, y2 = (v * scale - shift for v in box)
        width, height = x2 - x1, y2 - y1
        if not aligned:
            width, height = max(width, 1), max(height, 1)
        ny, nx = (ratio or math.ceil(v / size) for v in (height, width))
        cells = []
        for i in range(size):
            for j in range(size):
                samples = [
                    bilinear(
                        images[int(index)],
                        y1 + (i + (a + 0.5) / ny) * height / size,
                        x1 + (j + (b + 0.5) / nx) * width / size,
                    )
                    for a in range(ny)
                    for b in range(nx)
                ]
                cells.append(sum(samples) / max(len(samples), 1))
        out.append(torch.stack(cells, 1).view(-1, size, size))
    return torch.stack(out)


ROIS = torch.tensor(
    [[0, 1.3, 2.1, 14.7, 11.2], [1, -3, 0, 9.5, 15.9], [1, 5.2, 5.1, 5.9, 6.3]],
    dtype=torch.float64,
)


@on_devices
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 2])
def test_roi_align(device, aligned, ratio):
    images = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    rois = ROIS.to(device)

    def align(x):
        return ops.roi_align(x, rois, (3, 3), 0.5, ratio, 'avg', aligned)

    want = plain_roi_align(images, ROIS, 3, 0.5, ratio, aligned)
    torch.testing.assert_close(align(images.to(device)).cpu(), want)
    assert gradcheck(align, images.to(device).requires_grad_())


def test_roi_align_by_maximum_is_refused():
    with pytest.raises(MissingOpError, match="roi_align with pool_mode='max'"):
        ops.roi_align(torch.rand(2, 3, 8, 8), ROIS.float(), (3, 3), 0.5, 2, 'max')


def plain_roi_pool(images, rois, size, scale):
    out = []
    for index, x1, y1, x2, y2 in rois.tolist():
        x1, y1, x2, y2 = x1 * scale, y1 * scale, (x2 + 1) * scale, (y2 + 1) * scale
        image = images[int(index)]
        height, width = image.shape[-2:]
        pooled = image.new_zeros(len(image), size, size)
        for i in range(size):
            for j in range(size):
                top, left = (
                    max(math.floor(k * (b - a) / size + a), 0)
                    for k, a, b in ((i, y1, y2), (j, x1, x2))
                )
                bottom = min(math.ceil((i + 1) * (y2 - y1) / size + y1), height)
                right = min(math.ceil((j + 1) * (x2 - x1) / size + x1), width)
                if bottom > top and right > left:
                    pooled[:, i, j] = image[:, top:bottom, left:right].amax((1, 2))
        out.append(pooled)
    return torch.stack(out)


@on_devices
def test_roi_pool(device):
    # Distinct values, so that the maximum has a gradient.
    images = torch.randperm(2 * 3 * 64).double().view(2, 3, 8, 8) / 100
    rois = torch.cat([ROIS, torch.tensor([[0, 40.0, 40, 50, 50]])]).to(device)

    def pool(x):
        return ops.roi_pool(x, rois, (3, 3), 0.5)

    torch.testing.assert_close(
        pool(images.to(device)).cpu(), plain_roi_pool(images, rois.cpu(), 3, 0.5)
    )
    assert gradcheck(pool, images.to(device).requires_grad_(), eps=1e-4)


@on_devices
@pytest.mark.parametrize('weighted', [True, False])
def test_sigmoid_focal_loss(device, weighted):
    gamma, alpha = 1.7, 0.3
    logits = torch.randn(6, 3, dtype=torch.float64)
    # A class index of 3 is background; mmcv's class weights know none.
    target = torch.tensor([0, 1, 2, 2, 1, 0 if weighted else 3])
    weight = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64) if weighted else None
    want = torch.zeros_like(logits)
    for n in range(6):
        for c in range(3):
            p = 1 / (1 + math.exp(-logits[n, c]))
            if target[n] == c:
                want[n, c] = -alpha * (1 - p) ** gamma * math.log(p)
            else:
                want[n, c] = -(1 - alpha) * p**gamma * math.log(1 - p)
            if weighted:
                want[n, c] *= weight[target[n]]
    weight = weight.to(device) if weighted else None

    def loss(x):
        return ops.sigmoid_focal_loss(
            x, target.to(device), gamma, alpha, weight, 'none'
        )

    torch.testing.assert_close(loss(logits.to(device)).cpu(), want)
    assert gradcheck(loss, logits.to(device).requires_grad_())


@on_devices
def test_multi_scale_deformable_attention(device):
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

    generator = torch.Generator().manual_seed(2)

    def draw(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    shapes = torch.tensor([[4, 5], [2, 3]])
    starts = torch.tensor([0, 20])
    heads, channels, queries, points = 2, 3, 4, 2
    value = draw(1, 26, heads, channels)
    locations = draw(1, queries, heads, 2, points, 2)
    weights = draw(1, queries, heads, 2, points)
    want = torch.zeros(1, queries, heads * channels, dtype=torch.float64)
    for q in range(queries):
        for h in range(heads):
            total = torch.zeros(channels, dtype=torch.float64)
            for level, (height, width) in enumerate(shapes.tolist()):
                start = int(starts[level])
                image = value[0, start : start + height * width, h]
                image = image.view(height, width, -1)
                for p in range(points):
                    x, y = locations[0, q, h, level, p]
                    y, x = float(y) * height - 0.5, float(x) * width - 0.5
                    for yy in (math.floor(y), math.floor(y) + 1):
                        for xx in (math.floor(x), math.floor(x) + 1):
                            if 0 <= yy < height and 0 <= xx < width:
                                share = (1 - abs(y - yy)) * (1 - abs(x - xx))
                                total += (
                                    weights[0, q, h, level, p] * share * image[yy, xx]
                                )
            want[0, q, h * channels : (h + 1) * channels] = total
    inputs = [v.to(device).requires_grad_() for v in (value, locations, weights)]

    def attend(value, locations, weights):
        return MultiScaleDeformableAttnFunction.apply(
            value, shapes.to(device), starts.to(device), locations, weights, 64
        )

    torch.testing.assert_close(attend(*inputs).cpu(), want)
    assert gradcheck(attend, inputs)


@pytest.mark.parametrize(
    'call, name',
    [
        (lambda: ops.nms_rotated(torch.rand(2, 5), torch.rand(2), 0.5), 'nms_rotated'),
        (lambda: ops.box_iou_rotated(*torch.rand(2, 2, 5)), 'box_iou_rotated'),
    ],
)
def test_what_is_not_served_can_be_imported_and_names_itself(call, name):
    with pytest.raises(MissingOpError, match=f'{name}.* needs the compiled mmcv.*mim'):
        call()


def test_mmcv_lite_still_lacks_what_is_served():
    """Once this fails, `compat.mmcv_ops` is not needed any more."""
    code = 'import mmcv.ops'
    process = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True
    )
    assert "No module named 'mmcv._ext'" in process.stderr


def test_a_real_extension_is_used_and_nothing_replaces_it(tmp_path):
    names = '\n'.join(f'def {name}(*a, **k): return "real"' for name in SERVED)
    (tmp_path / '_ext.py').write_text(f'{names}\ndef __getattr__(name): return len')
    code = f"""
import mmcv
mmcv.__path__.append({str(tmp_path)!r})
from mmsr4ir.compat import mmcv_ops
mmcv_ops.install()
mmcv_ops.install()
import mmcv._ext
print(mmcv_ops.backing(), mmcv._ext.__file__, mmcv._ext.nms())
import sys
print(sum(type(f).__name__ == '_ExtFinder' for f in sys.meta_path))
"""
    process = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True
    )
    assert process.stdout.splitlines() == [
        f'mmcv (compiled) {tmp_path / "_ext.py"} real',
        '1',
    ], process.stderr


def test_mmengine_sees_it_on_python_3_14_too():
    """Which no longer has ``pkgutil.find_loader``, as MMEngine asks for it."""
    code = """
import pkgutil
vars(pkgutil).pop('find_loader', None)
from mmengine.utils.dl_utils import misc
try:
    misc.mmcv_full_available()
except AttributeError:
    print('as it is: fails')
import mmsr4ir
from mmcv.utils import ext_loader
print(misc.mmcv_full_available() and ext_loader.check_ops_exist())
"""
    process = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True
    )
    assert process.stdout.splitlines() == [
        *(() if IS_FORK else ('as it is: fails',)),
        'True',
    ], process.stderr


def test_here_torchvision_serves_and_mmengine_sees_it():
    from mmcv.utils import ext_loader

    assert mmcv_ops.backing() == 'torchvision'
    assert ext_loader.check_ops_exist()
    assert sys.modules['mmcv._ext'].__spec__.name == 'mmcv._ext'
