"""What the converters of published SR networks share."""

import argparse
from collections.abc import Callable

from mmsr4ir.deployment.convert import (
    about,
    as_text,
    check_out,
    find_state_dict,
    read_checkpoint,
    rename,
    save_checkpoint,
)
from mmsr4ir.registry import MODELS


def convert_sr(
    args: argparse.Namespace,
    keys: tuple[str, ...],
    describe: Callable[[dict], tuple[dict, dict]],
    original_name: Callable[[str, dict], str],
) -> None:
    """Convert a file, print what it holds and the config to use it with.

    Args:
        args: The command line, see :func:`sr_parser`.
        keys: As for :func:`find_state_dict`.
        describe: From the original tensors to the network's config and to further
            settings of :class:`~mmsr4ir.models.sr4ir.SR4IR`; takes out tensors that
            mmagic's network has as settings.
        original_name: From mmagic's name and the network's config to the original
            name.

    Raises:
        ConvertError: If the file cannot be converted.
    """
    with about(args.source):
        key, state_dict = find_state_dict(read_checkpoint(args.source), keys)
        state_dict = dict(state_dict)
        network, settings = describe(state_dict)
        converted = rename(
            state_dict,
            MODELS.build(network).state_dict(),
            lambda name: original_name(name, network),
            network,
        )
        check_out(args.out, args.source)
        save_checkpoint(
            dict(
                meta=dict(converted_from=args.source.name),
                state_dict={
                    f'{args.prefix}{name}': value for name, value in converted.items()
                },
            ),
            args.out,
        )
    numbers = sum(value.numel() for value in converted.values())
    where = f' under {key!r}' if key else ''
    print(f'{args.source}{where}: {len(converted)} tensors, {numbers:,} numbers')
    print(f'{args.out} written. In the config of an SR4IR:')
    init_cfg = dict(type='Pretrained', checkpoint=str(args.out))
    if args.prefix:
        init_cfg['prefix'] = args.prefix
    print(f'model = {as_text(dict(sr=dict(network, init_cfg=init_cfg), **settings))}')
