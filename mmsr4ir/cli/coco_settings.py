"""The settings of a config that reads a COCO file, as text."""

from collections.abc import Sequence
from pathlib import Path


def coco_settings(
    files: Sequence[Path], images: Path, classes: Sequence[str] | None
) -> str:
    """Return what a config needs, named as in configs/sr4ir/faster-rcnn_edsr_custom.py.

    Args:
        files: The annotation files: the first for the training, the last for the
            validation.
        images: What the file names in them start from.
        classes: Their classes in order.
    """
    train, *_, val = [*files, *files]
    return '\n'.join(
        [
            'For the config (configs/sr4ir/faster-rcnn_edsr_custom.py):',
            "data_root = ''",
            f"train_ann, train_images = '{train}', '{images}/'",
            f"val_ann, val_images = '{val}', '{images}/'",
            f'classes = {tuple(classes or ())}',
        ]
    )
