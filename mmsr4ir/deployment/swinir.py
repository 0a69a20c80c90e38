"""Files of the original SwinIR, for ``mmagic.SwinIRNet``."""

import math

from torch import Tensor

from .convert import ConvertError, count_names, shape


def describe_swinir(state_dict: dict[str, Tensor]) -> tuple[dict, dict]:
    """Find the network's settings.

    Args:
        state_dict: The original tensors.

    Returns:
        tuple: Config of the network, and no further settings of SR4IR.

    Raises:
        ConvertError: If the tensors are no SwinIR's, or of one that enlarges nothing.
    """
    dim, channels = shape(state_dict, 'conv_first.weight')[:2]
    block = 'layers.{}.residual_group.blocks.0.'
    first = block.format(0)
    hidden = shape(state_dict, f'{first}mlp.fc1.weight', 2)[0]
    window = math.isqrt(shape(state_dict, f'{first}attn.relative_position_index', 2)[0])
    layers = count_names(
        state_dict, r'layers\.\d+\.residual_group\.blocks\.0\.norm1\.weight'
    )
    depths = [
        count_names(
            state_dict, rf'layers\.{i}\.residual_group\.blocks\.\d+\.norm1\.weight'
        )
        for i in range(layers)
    ]
    table = 'attn.relative_position_bias_table'
    heads = [shape(state_dict, block.format(i) + table, 2)[1] for i in range(layers)]
    # The mask of a shifted block has an entry for each window of a training image.
    mask = 'layers.0.residual_group.blocks.1.attn_mask'
    windows = shape(state_dict, mask, 3)[0] if mask in state_dict else 1
    upsampler, scale = find_upsampler(state_dict, channels)
    network = dict(
        type='mmagic.SwinIRNet',
        upscale=scale,
        in_chans=channels,
        img_size=window * math.isqrt(windows),
        window_size=window,
        img_range=1.0,
        depths=depths,
        embed_dim=dim,
        num_heads=heads,
        mlp_ratio=hidden / dim,
        upsampler=upsampler,
        resi_connection='1conv' if 'conv_after_body.weight' in state_dict else '3conv',
    )
    if f'{first}attn.qkv.bias' not in state_dict:
        network['qkv_bias'] = False
    if 'patch_embed.norm.weight' not in state_dict:
        network['patch_norm'] = False
    if 'absolute_pos_embed' in state_dict:
        network['ape'] = True
    return network, {}


def find_upsampler(state_dict: dict[str, Tensor], channels: int) -> tuple[str, int]:
    """Find the kind of the last part, and the scale.

    Raises:
        ConvertError: If the network enlarges nothing.
    """
    if 'conv_up1.weight' in state_dict:
        return 'nearest+conv', 4 if 'conv_up2.weight' in state_dict else 2
    if 'upsample.0.weight' not in state_dict:
        raise ConvertError('it has no upsample.0.weight: no SwinIR that enlarges')
    out, features = shape(state_dict, 'upsample.0.weight')[:2]
    if 'conv_before_upsample.0.weight' not in state_dict:
        return 'pixelshuffledirect', math.isqrt(out // channels)
    if out == 9 * features:
        return 'pixelshuffle', 3
    return 'pixelshuffle', 2 ** count_names(state_dict, r'upsample\.\d+\.weight')


def swinir_name(name: str) -> str:
    """Return the original name of a tensor of ``mmagic.SwinIRNet``."""
    return name.replace('conv_hr.', 'conv_HR.')
