"""Every op that pure PyTorch serves, against plain loops in NumPy and gradcheck."""

import math

import numpy as np
import pytest
import torch
from mmcv import ops
from mmcv.ops.masked_conv import masked_conv2d
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction
from torch.autograd import gradcheck
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

DEVICES = ['cpu'] + (['cuda'] if torch.cuda.is_available() else [])
on_devices = pytest.mark.parametrize('device', DEVICES)


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


def attend(x, locations):
    """Attend to two levels, of 4 x 4 and 2 x 1 pixels, in 2 heads of 4 channels."""
    shapes = torch.tensor([[4, 4], [2, 1]], device=x.device)
    starts = torch.tensor([0, 16], device=x.device)
    value = x.reshape(1, 18, 2, 4)
    weights = locations.detach().sum(-1)
    return MultiScaleDeformableAttnFunction.apply(
        value, shapes, starts, locations, weights, 64
    )


def forward_and_back(name, dtype, device):
    """Return what a served op gives for inputs of a type, and the inputs' gradients."""
    x, rois = draw(1, 4, 6, 6), torch.tensor([[0, 1, 1, 4, 5]], dtype=torch.float64)
    calls = {
        'carafe': (lambda x, m: ops.carafe(x, m, 3, 1, 2), draw(1, 9, 12, 12)),
        'psa_mask': (lambda x, m: ops.PSAMask('collect', (3, 3))(m), draw(1, 9, 4, 4)),
        'roi_align': (lambda x, r: ops.roi_align(x, r, (2, 2)), rois),
        'roi_pool': (lambda x, r: ops.roi_pool(x, r, 2), rois),
        'deform_roi_pool': (
            lambda x, o: ops.deform_roi_pool(x, rois.to(x), o, (2, 2)),
            draw(1, 2, 2, 2),
        ),
        'deform_conv': (
            lambda x, o: ops.deform_conv2d(x, o, draw(2, 4, 3, 3).to(x), 1, 1),
            draw(1, 18, 6, 6) * 0.5,
        ),
        'modulated_deform_conv': (
            lambda x, m: ops.modulated_deform_conv2d(
                x, m[:, :18] * 0.5, m[:, 18:], draw(2, 4, 3, 3).to(x), None, 1, 1
            ),
            draw(1, 27, 6, 6),
        ),
        'sigmoid_focal_loss': (
            lambda x, t: ops.sigmoid_focal_loss(
                x.flatten(1).T - 0.5, t.flatten(1).long()[0], 2.0, 0.25, None, 'none'
            ),
            (draw(1, 4, 6, 6) * 2).floor(),
        ),
    }
    calls['attention'] = (attend, draw(1, 3, 2, 2, 2, 2, seed=1))
    call, other = calls[name]
    inputs = [part.to(device, dtype).requires_grad_() for part in (x, other)]
    out = call(*inputs)
    out.backward(torch.ones_like(out))
    return out, *(part.grad for part in inputs)


@on_devices
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    'name',
    [
        'carafe',
        'psa_mask',
        'roi_align',
        'roi_pool',
        'deform_roi_pool',
        'deform_conv',
        'modulated_deform_conv',
        'sigmoid_focal_loss',
        'attention',
    ],
)
def test_half_precision(device, name, dtype):
    """As of networks in AMP; kernels of the CPU, and some of CUDA, have none."""
    got = forward_and_back(name, dtype, device)
    want = forward_and_back(name, torch.float64, device)
    tolerance = 0.05 if dtype == torch.bfloat16 else 0.01
    for part, wanted in zip(got, want, strict=True):
        if wanted is not None:
            assert part.dtype == dtype
            error = (part.double() - wanted).norm() / wanted.norm().clamp(min=1e-9)
            assert error < tolerance


def plain_carafe(features, masks, kernel, groups, scale):
    n, channels, height, width = features.shape
    out = np.zeros((n, channels, height * scale, width * scale))
    for b, c, y, x in np.ndindex(out.shape):
        group = c // (channels // groups)
        for i, j in np.ndindex(kernel, kernel):
            yy, xx = y // scale + i - kernel // 2, x // scale + j - kernel // 2
            if 0 <= yy < height and 0 <= xx < width:
                tap = (group * kernel + i) * kernel + j
                out[b, c, y, x] += features[b, c, yy, xx] * masks[b, tap, y, x]
    return out


@on_devices
@pytest.mark.parametrize('name', ['carafe', 'carafe_naive'])
def test_carafe(device, name):
    settings = (3, 2, 2)  # kernel, groups, scale
    features, masks = draw(2, 4, 2, 3), draw(2, 18, 4, 6, seed=1)

    def reassemble(features, masks):
        return getattr(ops, name)(features, masks, *settings)

    want = plain_carafe(features.numpy(), masks.numpy(), *settings)
    inputs = [x.to(device).requires_grad_() for x in (features, masks)]
    np.testing.assert_allclose(reassemble(*inputs).detach().cpu(), want)
    # mmcv itself refuses the way back of `carafe_naive` on a CPU.
    if name == 'carafe' or device == 'cuda':
        assert gradcheck(reassemble, inputs, fast_mode=True)


def plain_psa_mask(masks, kind, size):
    n, _, height, width = masks.shape
    out = np.zeros((n, height * width, height, width))
    for b, y, x in np.ndindex(n, height, width):
        for i, j in np.ndindex(*size):
            yy, xx = y + i - (size[0] - 1) // 2, x + j - (size[1] - 1) // 2
            if 0 <= yy < height and 0 <= xx < width:
                value = masks[b, i * size[1] + j, y, x]
                if kind == 'collect':
                    out[b, yy * width + xx, y, x] = value
                else:
                    out[b, y * width + x, yy, xx] = value
    return out


@on_devices
@pytest.mark.parametrize('kind', ['collect', 'distribute'])
@pytest.mark.parametrize('size', [(3, 5), (7, 9), (4, 2)])
def test_psa_mask(device, kind, size):
    masks = draw(2, size[0] * size[1], 4, 5)
    spread = ops.PSAMask(kind, size)
    got = spread(masks.to(device))
    np.testing.assert_array_equal(got.cpu(), plain_psa_mask(masks.numpy(), kind, size))
    assert gradcheck(spread, masks.to(device).requires_grad_(), fast_mode=True)


@on_devices
@pytest.mark.parametrize('padding', [(1, 2), (0, 0)])
def test_masked_conv(device, padding):
    x, weight, bias = draw(1, 3, 5, 6), draw(4, 3, 3, 5), draw(4)
    dense = F.conv2d(x, weight, bias, padding=padding)
    mask = torch.zeros(1, 5, 6)
    mask[0, : dense.shape[2], : dense.shape[3]] = draw(*dense.shape[2:]) - 0.5
    inputs = (part.to(device) for part in (x, mask, weight, bias))
    got = masked_conv2d(*inputs, padding)
    kept = mask[:, : dense.shape[2], : dense.shape[3]] > 0
    assert kept.any() and not kept.all()
    torch.testing.assert_close(got.cpu(), torch.where(kept, dense, 0))


def plain_deform_roi_pool(x, rois, offset, size, scale, ratio, gamma, grad):
    """The value and both gradients as mmcv's kernels compute them."""
    rows, columns = size
    height, width = x.shape[2:]
    out = np.zeros((len(rois), x.shape[1], rows, columns))
    grad_x, grad_offset = np.zeros_like(x), np.zeros_like(offset)
    for k, i, j in np.ndindex(len(rois), rows, columns):
        image = int(rois[k, 0])
        x1, y1, x2, y2 = rois[k, 1:] * scale - 0.5
        ny, nx = (
            ratio or math.ceil(length / bins)
            for length, bins in ((y2 - y1, rows), (x2 - x1, columns))
        )
        for a, b in np.ndindex(ny, nx):
            sy = y1 + gamma * (y2 - y1) * offset[k, 1, i, j]
            sx = x1 + gamma * (x2 - x1) * offset[k, 0, i, j]
            sy += (y2 - y1) / rows * (i + (a + 0.5) / ny)
            sx += (x2 - x1) / columns * (j + (b + 0.5) / nx)
            if not (-1 <= sy <= height and -1 <= sx <= width):
                continue
            yy, xx = min(max(sy, 0), height - 1), min(max(sx, 0), width - 1)
            top, left = int(yy), int(xx)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            share = grad[k, :, i, j] / (ny * nx)
            for cy, wy, ry, dy in (
                (top, 1 - (yy - top), bottom - sy, -1),
                (bottom, yy - top, sy - top, 1),
            ):
                for cx, wx, rx, dx in (
                    (left, 1 - (xx - left), right - sx, -1),
                    (right, xx - left, sx - left, 1),
                ):
                    value = x[image, :, cy, cx]
                    out[k, :, i, j] += wy * wx * value / (ny * nx)
                    grad_x[image, :, cy, cx] += wy * wx * share
                    total = gamma * (share * value).sum()
                    grad_offset[k, 0, i, j] += total * (x2 - x1) * ry * dx
                    grad_offset[k, 1, i, j] += total * (y2 - y1) * rx * dy
    return out, grad_x, grad_offset


@on_devices
@pytest.mark.parametrize('ratio', [0, 2])
@pytest.mark.parametrize('moved', [True, False])
def test_deform_roi_pool(device, ratio, moved):
    """One RoI reaches over each border, where mmcv has derivatives of its own."""
    rois = torch.tensor(
        [[0, 4.3, 3.1, 12.7, 11.2], [1, -5, -4, 6.5, 9.9], [1, 9.2, 8.1, 18, 19]],
        dtype=torch.float64,
    )
    x, offset = draw(2, 2, 7, 8), (draw(3, 2, 3, 2, seed=1) - 0.5) * moved
    settings = ((3, 2), 0.5, ratio, 0.3)
    grad = draw(3, 2, 3, 2, seed=2)
    want = plain_deform_roi_pool(
        x.numpy(), rois.numpy(), offset.numpy(), *settings, grad.numpy()
    )
    inputs = [part.to(device).requires_grad_() for part in (x, offset)]
    got = ops.deform_roi_pool(
        inputs[0], rois.to(device), inputs[1] if moved else None, *settings
    )
    got.backward(grad.to(device))
    for result, wanted in zip(
        (got.detach(), inputs[0].grad, inputs[1].grad), want, strict=True
    ):
        if result is not None:  # without offsets they have no gradient
            np.testing.assert_allclose(result.cpu(), wanted, atol=1e-12)

    def pool(x, offset):
        return ops.deform_roi_pool(x, rois[:1].to(device), offset, *settings)

    if moved:  # inside the image, mmcv's derivatives are the true ones
        inputs = [part[:1].detach().requires_grad_() for part in inputs]
        assert gradcheck(pool, inputs, fast_mode=True)


def test_deform_roi_pool_of_no_box():
    pool = ops.DeformRoIPool((2, 2))
    x = torch.rand(1, 3, 5, 5, requires_grad=True)
    out = pool(x, torch.zeros(0, 5))
    out.sum().backward()
    assert out.shape == (0, 3, 2, 2) and x.grad.abs().sum() == 0


def test_pools_go_on_after_nan():
    """The loss shows it; an error of an index would end the training."""
    x, rois = torch.rand(1, 2, 5, 5), torch.tensor([[0.0, 0, 0, 4, 4]] * 2)
    offset = torch.zeros(2, 2, 1, 1)
    offset[1] = math.nan
    out = ops.deform_roi_pool(x, rois, offset, (1, 1))
    assert out[0].isfinite().all() and out[1].isnan().all()
    rois[1, 1:] = math.nan
    assert ops.deform_roi_pool(x, rois, None, (1, 1))[0].isfinite().all()
    assert ops.roi_pool(x, rois, 1)[0].isfinite().all()


def test_roi_pool_of_two_equal_maxima_takes_the_first():
    """As mmcv does, which looks row by row."""
    x = torch.zeros(1, 1, 3, 4, requires_grad=True)
    rois = torch.tensor([[0.0, 1, 1, 3, 2], [0, 0, 0, 3, 2]])
    ops.roi_pool(x, rois, 1).sum().backward()
    assert x.grad.nonzero().tolist() == [[0, 0, 0, 0], [0, 0, 1, 1]]


def plain_nms_match(dets, threshold):
    left = sorted(range(len(dets)), key=lambda i: -dets[i][4])
    groups = []
    while left:
        best = dets[left[0]]
        group = [left[0]]
        for i in left[1:]:
            other = dets[i]
            common = max(min(best[2], other[2]) - max(best[0], other[0]), 0)
            common *= max(min(best[3], other[3]) - max(best[1], other[1]), 0)
            areas = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (best, other))
            if common >= threshold * (areas - common) > 0:
                group.append(i)
        groups.append(group)
        left = [i for i in left if i not in group]
    return groups


@on_devices
def test_nms_match(device):
    rng = np.random.default_rng(0)
    corner, size = rng.uniform(0, 30, (40, 2)), rng.uniform(2, 30, (40, 2))
    scores = rng.permutation(40)[:, None] / 40
    dets = np.hstack([corner, corner + size, scores]).astype(np.float32)
    dets[:2, :4] = [[0, 0, 8, 8], [0, 0, 4, 8]]  # an overlap of exactly a half joins
    dets[2, :4] = 5  # no area
    want = plain_nms_match(dets.tolist(), 0.5)
    got = ops.nms_match(torch.from_numpy(dets).to(device), 0.5)
    assert [group.tolist() for group in got] == want
    assert any({0, 1} <= set(group) for group in want)
    assert [group.tolist() for group in ops.nms_match(dets, 0.5)] == want
    assert ops.nms_match(torch.zeros(0, 5), 0.5) == []


def test_mmcv_collects_the_environment():
    from mmcv.utils import collect_env

    found = collect_env()
    assert 'torchvision' in found['MMCV Compiler']
    assert found['MMCV CUDA Compiler'] == (torch.version.cuda or 'not available')


@pytest.mark.parametrize('prefix', ['', 'mmengine.'])
def test_mmcvs_sync_batch_norm_becomes_torchs(prefix):
    """mmcv's needs a group of processes when it is built, and a compiled op."""
    from mmsr4ir.models.networks import build_network

    norm = dict(type=f'{prefix}MMSyncBN', stats_mode='N', eps=1e-3, requires_grad=True)
    layer = dict(
        type='mmengine.ConvModule', in_channels=1, out_channels=2, kernel_size=1
    )
    cfg = dict(layer, norm_cfg=norm, act_cfg=None)
    network = build_network('sr', cfg)
    assert norm['type'].endswith('MMSyncBN') and norm['stats_mode'] == 'N'
    assert isinstance(network.norm, torch.nn.modules.batchnorm._BatchNorm)
    x = torch.rand(3, 1, 4, 4)
    got = network(x).detach()
    y = network.conv(x).detach()
    mean, var = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), False, keepdim=True)
    torch.testing.assert_close(got, (y - mean) / (var + 1e-3).sqrt())


class Recorder(TorchDispatchMode):
    """Count the ops that run, those that read one number, and the largest result."""

    def __init__(self) -> None:
        super().__init__()
        self.ops = self.reads = self.bytes = 0
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.ops += 1
        self.names.add(func.overloadpacket.__name__)
        self.reads += func is torch.ops.aten._local_scalar_dense.default
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.bytes = max(self.bytes, result.numel() * result.element_size())
        return result


def test_focal_loss_makes_nothing_larger_than_its_logits():
    x = torch.randn(50, 7, requires_grad=True)
    target = torch.randint(0, 8, (50,))
    with Recorder() as recorder:
        ops.sigmoid_focal_loss(x, target, 2.0, 0.25).backward()
    assert recorder.bytes == x.numel() * x.element_size()


def test_roi_pool_runs_as_many_ops_for_many_boxes():
    x, rois = torch.rand(1, 2, 8, 8), torch.tensor([[0.0, 1, 1, 5, 6]])
    counts = []
    for boxes in (rois.repeat(3, 1), rois.repeat(9, 1)):
        leaf = x.clone().requires_grad_()
        with Recorder() as recorder:
            ops.roi_pool(leaf, boxes, 2).sum().backward()
        counts.append(recorder.ops)
    assert counts[0] == counts[1] and recorder.reads == 1


def test_deform_conv_does_not_wait():
    """A boolean index does, as it looks for what is set."""
    x, offset = draw(1, 2, 4, 4), torch.zeros(1, 18, 4, 4).double().requires_grad_()
    with Recorder() as recorder:
        ops.deform_conv2d(x, offset, draw(2, 2, 3, 3), 1, 1).sum().backward()
    assert recorder.reads == 0 and not recorder.names & {'index', 'index_put_'}
    assert offset.grad.abs().sum() > 0


def test_attention_reads_no_size_by_itself():
    """Each read waits for a GPU."""
    x, locations = draw(1, 4, 6, 6).requires_grad_(), draw(1, 3, 2, 2, 2, 2)
    with Recorder() as recorder:
        attend(x, locations).sum().backward()
    assert recorder.reads == 0


def test_sizes_are_read_once_a_tensor(monkeypatch):
    reads, tolist = [], torch.Tensor.tolist
    monkeypatch.setattr(
        torch.Tensor, 'tolist', lambda one: reads.append(one) or tolist(one)
    )
    shapes, starts = torch.tensor([[4, 4], [2, 1]]), torch.tensor([0, 16])
    x, locations = draw(1, 18, 2, 4).requires_grad_(), draw(1, 3, 2, 2, 2, 2)

    def attend_twice():
        for _ in range(2):
            MultiScaleDeformableAttnFunction.apply(
                x, shapes, starts, locations, locations.sum(-1), 64
            ).sum().backward()

    attend_twice()
    assert len(reads) == 1
    shapes.copy_(torch.tensor([[2, 8], [1, 2]]))
    attend_twice()
    assert len(reads) == 2
    with torch.inference_mode():
        given = torch.tensor([[2, 8], [1, 2]])
        call = MultiScaleDeformableAttnFunction.apply
        arguments = starts, locations, locations.sum(-1), 64
        want = call(x, shapes, *arguments)
        torch.testing.assert_close(call(x, given, *arguments), want)
