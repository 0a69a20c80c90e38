"""The original EDSR and SwinIR, written down here once more.

Each is a function of a dict of tensors by the original's names, so that the names in a
converter are checked as well as the outputs.
"""

import math

import torch
from torch.nn import functional as F

MEAN = (0.4488, 0.4371, 0.4040)
# A tiny SwinIR that was trained on images of SIDE x SIDE pixels.
WINDOW, SIDE, DIM, HEADS, DEPTHS = 4, 8, 12, 2, (2, 3)


def weights(**shapes: tuple) -> dict:
    """Random tensors that keep the size of what goes through them."""
    made = {}
    for name, (*shape,) in shapes.items():
        made[name + '.weight'] = torch.randn(shape) / math.sqrt(math.prod(shape[1:]))
        made[name + '.bias'] = torch.randn(shape[0]) / 4
    return made


def conv(w: dict, name: str, x):
    weight = w[f'{name}.weight']
    return F.conv2d(x, weight, w[f'{name}.bias'], padding=weight.shape[-1] // 2)


def edsr_weights(scale: int, features: int = 8, blocks: int = 2) -> dict:
    shape, up = (features, features, 3, 3), 3 if scale == 3 else 2
    steps = 1 if scale == 3 else int(math.log2(scale))
    shapes = {'head.0': (features, 3, 3, 3), f'body.{blocks}': shape}
    for i in range(blocks):
        shapes |= {f'body.{i}.body.0': shape, f'body.{i}.body.2': shape}
    for i in range(steps):
        shapes[f'tail.0.{2 * i}'] = (features * up**2, *shape[1:])
    w = weights(**shapes | {'tail.1': (3, *shape[1:])})
    for name, sign in (('sub_mean', -1), ('add_mean', 1)):
        w[f'{name}.weight'] = torch.eye(3).view(3, 3, 1, 1)
        w[f'{name}.bias'] = sign * 255 * torch.tensor(MEAN)
    return w


def edsr_net(w: dict, x, res_scale: float = 1.0):
    """(N, 3, h, w) in [0, 255] to (N, 3, h * scale, w * scale)."""
    blocks = sum(name.endswith('body.0.weight') for name in w)
    x = conv(w, 'head.0', conv(w, 'sub_mean', x))
    y = x
    for i in range(blocks):
        inner = conv(w, f'body.{i}.body.0', y).relu()
        y = y + res_scale * conv(w, f'body.{i}.body.2', inner)
    x = x + conv(w, f'body.{blocks}', y)
    i = 0
    while f'tail.0.{i}.weight' in w:
        up = conv(w, f'tail.0.{i}', x)
        x = F.pixel_shuffle(up, math.isqrt(up.shape[1] // x.shape[1]))
        i += 2
    return conv(w, 'add_mean', conv(w, 'tail.1', x))


def swinir_weights(upsampler: str, scale: int, three: bool = False) -> dict:
    """A tiny SwinIR that was trained on images of SIDE x SIDE pixels."""
    mid, square = 64, (DIM, DIM, 3, 3)

    def residual_conv(name):
        return (
            {
                f'{name}.0': (DIM // 4, DIM, 3, 3),
                f'{name}.4': (DIM, DIM // 4, 3, 3),
                f'{name}.2': (DIM // 4, DIM // 4, 1, 1),
            }
            if three
            else {name: square}
        )

    shapes = {'conv_first': (DIM, 3, 3, 3), **residual_conv('conv_after_body')}
    norms, more = ['patch_embed.norm', 'norm'], {}
    for i, depth in enumerate(DEPTHS):
        shapes |= residual_conv(f'layers.{i}.conv')
        for j in range(depth):
            at = f'layers.{i}.residual_group.blocks.{j}'
            shapes |= {
                f'{at}.attn.qkv': (3 * DIM, DIM),
                f'{at}.attn.proj': (DIM, DIM),
                f'{at}.mlp.fc1': (2 * DIM, DIM),
                f'{at}.mlp.fc2': (DIM, 2 * DIM),
            }
            norms += [f'{at}.norm1', f'{at}.norm2']
            more[f'{at}.attn.relative_position_index'] = relative_index()
            more[f'{at}.attn.relative_position_bias_table'] = torch.randn(
                (2 * WINDOW - 1) ** 2, HEADS
            )
            if j % 2:
                more[f'{at}.attn_mask'] = shift_mask(SIDE, SIDE)
    if upsampler == 'pixelshuffledirect':
        shapes['upsample.0'] = (3 * scale**2, DIM, 3, 3)
    else:
        shapes |= {
            'conv_before_upsample.0': (mid, DIM, 3, 3),
            'conv_last': (3, mid, 3, 3),
        }
    if upsampler == 'pixelshuffle':
        up, steps = (3, 1) if scale == 3 else (2, int(math.log2(scale)))
        for i in range(steps):
            shapes[f'upsample.{2 * i}'] = (mid * up**2, mid, 3, 3)
    if upsampler == 'nearest+conv':
        ups = ['conv_up1', 'conv_up2'] if scale == 4 else ['conv_up1']
        shapes |= {name: (mid, mid, 3, 3) for name in (*ups, 'conv_HR')}
    w = weights(**shapes) | more
    for name in norms:
        w |= {
            f'{name}.weight': 1 + torch.randn(DIM) / 4,
            f'{name}.bias': torch.randn(DIM) / 4,
        }
    return w


def relative_index():
    """(n, n) for n pixels in a window: which entry of the bias table they share."""
    pixels = [(y, x) for y in range(WINDOW) for x in range(WINDOW)]
    return torch.tensor(
        [
            [
                (a - c + WINDOW - 1) * (2 * WINDOW - 1) + b - d + WINDOW - 1
                for c, d in pixels
            ]
            for a, b in pixels
        ]
    )


def windows(x):
    """(N, h, w, C) to (N * windows, pixels, C)."""
    x = x.unfold(1, WINDOW, WINDOW).unfold(2, WINDOW, WINDOW)  # N, H, W, C, y, x
    return x.permute(0, 1, 2, 4, 5, 3).reshape(-1, WINDOW**2, x.shape[3])


def shift_mask(height: int, width: int):
    """(windows, n, n): -100 where the roll brought two pixels together."""

    def part(length):
        at = torch.arange(length)
        return (at >= length - WINDOW).int() + (at >= length - WINDOW // 2).int()

    region = 3 * part(height)[:, None] + part(width)[None]
    region = windows(region[None, ..., None].float())[..., 0]
    return (region[:, :, None] != region[:, None]).float() * -100


def attention(w: dict, at: str, x, mask):
    """(windows, n, DIM); attention within each window, with a bias by position."""
    n, size = WINDOW**2, DIM // HEADS
    qkv = F.linear(x, w[f'{at}.qkv.weight'], w[f'{at}.qkv.bias'])
    q, k, v = qkv.view(-1, n, 3, HEADS, size).permute(2, 0, 3, 1, 4)
    bias = w[f'{at}.relative_position_bias_table'][relative_index()].permute(2, 0, 1)
    scores = q @ k.mT / math.sqrt(size) + bias
    if mask is not None:
        repeats = len(x) // len(mask)
        scores = scores + mask.repeat(repeats, 1, 1)[:, None]
    out = (scores.softmax(-1) @ v).transpose(1, 2).reshape(-1, n, DIM)
    return F.linear(out, w[f'{at}.proj.weight'], w[f'{at}.proj.bias'])


def norm(w: dict, name: str, x):
    return F.layer_norm(x, (DIM,), w[f'{name}.weight'], w[f'{name}.bias'])


def swin_block(w: dict, at: str, x, shift: int):
    """(N, h, w, DIM) to the same."""
    count, height, width, _ = x.shape
    y = norm(w, f'{at}.norm1', x).roll((-shift, -shift), (1, 2))
    mask = shift_mask(height, width) if shift else None
    y = attention(w, f'{at}.attn', windows(y), mask)
    y = y.view(count, height // WINDOW, width // WINDOW, WINDOW, WINDOW, DIM)
    y = y.transpose(2, 3).reshape(x.shape).roll((shift, shift), (1, 2))
    x = x + y
    y = F.linear(
        norm(w, f'{at}.norm2', x), w[f'{at}.mlp.fc1.weight'], w[f'{at}.mlp.fc1.bias']
    )
    return x + F.linear(F.gelu(y), w[f'{at}.mlp.fc2.weight'], w[f'{at}.mlp.fc2.bias'])


def residual(w: dict, name: str, x):
    """One convolution, or three with leaky ReLUs between."""
    if f'{name}.weight' in w:
        return conv(w, name, x)
    for i in (0, 2):
        x = F.leaky_relu(conv(w, f'{name}.{i}', x), 0.2)
    return conv(w, f'{name}.4', x)


def swinir_net(w: dict, x, upsampler: str, scale: int):
    """(N, 3, h, w) in [0, 1], whole windows, to (N, 3, h * scale, w * scale)."""
    mean = torch.tensor(MEAN).view(1, 3, 1, 1)
    first = conv(w, 'conv_first', x - mean)
    x = norm(w, 'patch_embed.norm', first.permute(0, 2, 3, 1))
    for i, depth in enumerate(DEPTHS):
        y = x
        for j in range(depth):
            y = swin_block(
                w,
                f'layers.{i}.residual_group.blocks.{j}',
                y,
                WINDOW // 2 if j % 2 else 0,
            )
        x = x + residual(w, f'layers.{i}.conv', y.permute(0, 3, 1, 2)).permute(
            0, 2, 3, 1
        )
    x = norm(w, 'norm', x).permute(0, 3, 1, 2)
    x = first + residual(w, 'conv_after_body', x)
    if upsampler == 'pixelshuffledirect':
        return mean + F.pixel_shuffle(conv(w, 'upsample.0', x), scale)
    x = F.leaky_relu(conv(w, 'conv_before_upsample.0', x), 0.01)
    if upsampler == 'nearest+conv':
        for i in range(1, 1 + int(math.log2(scale))):
            x = F.interpolate(x, scale_factor=2)
            x = F.leaky_relu(conv(w, f'conv_up{i}', x), 0.2)
        x = F.leaky_relu(conv(w, 'conv_HR', x), 0.2)
    else:
        i = 0
        while f'upsample.{i}.weight' in w:
            x = F.pixel_shuffle(conv(w, f'upsample.{i}', x), 3 if scale == 3 else 2)
            i += 2
    return mean + conv(w, 'conv_last', x)
