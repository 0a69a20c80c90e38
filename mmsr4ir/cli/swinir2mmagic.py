"""Convert a file of the original SwinIR to mmagic's names."""
import math
from collections.abc import Sequence

from torch import Tensor

from mmsr4ir.deployment.convert import ConvertError, count, shape, swinir_name

from .arguments import sr_parser
from .sr_converters import convert_sr

_TEXTS = dict(
    description='Convert a file of the original SwinIR (such as\n'
    '001_classicalSR_DIV2K_s48w8_SwinIR-M_x4.pth) to the names of mmagic.SwinIRNet. '
    'The\nsettings of the network are found in the file and printed, as a config. No '
    'code in the\nfile is run.',
    epilog='Classical, lightweight and real-world SR are converted; denoising and '
    'compression\nartefacts, which enlarge nothing, are not. The images are in [0, 1] '
    '(sr_range=1).')


def describe(state_dict: dict[str, Tensor]) -> tuple[dict, dict]:
    """Find the network's settings.

    Args:
        state_dict: The original tensors.

    Returns:
        tuple: Config of the network, and no further settings of SR4IR.

    Raises:
        ConvertError: The tensors are no SwinIR's, or of one that enlarges nothing.
    """
    dim, channels = shape(state_dict, 'conv_first.weight')[:2]
    block = 'layers.{}.residual_group.blocks.0.'
    first = block.format(0)
    hidden = shape(state_dict, f'{first}mlp.fc1.weight', 2)[0]
    window = math.isqrt(shape(state_dict, f'{first}attn.relative_position_index', 2)[0])
    layers = count(state_dict, r'layers\.\d+\.residual_group\.blocks\.0\.norm1\.weight')
    depths = [
        count(state_dict, rf'layers\.{i}\.residual_group\.blocks\.\d+\.norm1\.weight')
        for i in range(layers)
    ]
    table = 'attn.relative_position_bias_table'
    heads = [
        shape(state_dict, block.format(i) + table, 2)[1] for i in range(layers)
    ]
    # The mask of a shifted block has an entry for each window of a training image.
    mask = 'layers.0.residual_group.blocks.1.attn_mask'
    windows = shape(state_dict, mask, 3)[0] if mask in state_dict else 1
    upsampler, scale = find_upsampler(state_dict, channels)
    network = dict(
        type='mmagic.SwinIRNet', upscale=scale, in_chans=channels,
        img_size=window * math.isqrt(windows), window_size=window, img_range=1.0,
        depths=depths, embed_dim=dim, num_heads=heads, mlp_ratio=hidden / dim,
        upsampler=upsampler,
        resi_connection='1conv' if 'conv_after_body.weight' in state_dict else '3conv')
    if f'{first}attn.qkv.bias' not in state_dict:
        network['qkv_bias'] = False
    if 'patch_embed.norm.weight' not in state_dict:
        network['patch_norm'] = False
    if 'absolute_pos_embed' in state_dict:
        network['ape'] = True
    return network, {}


def find_upsampler(state_dict: dict[str, Tensor], channels: int) -> tuple[str, int]:
    """The kind of the last part, and the scale.

    Raises:
        ConvertError: The network enlarges nothing.
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
    return 'pixelshuffle', 2**count(state_dict, r'upsample\.\d+\.weight')


def main(argv: Sequence[str] | None = None) -> None:
    parser = sr_parser(**_TEXTS)
    parser.add_argument(
        '--key', help='where the file holds the tensors (default: params_ema, else '
        'params, else the file itself)')
    args = parser.parse_args(argv)
    keys = (args.key, ) if args.key else ('params_ema', 'params')
    convert_sr(args, keys, describe, lambda name, network: swinir_name(name))
