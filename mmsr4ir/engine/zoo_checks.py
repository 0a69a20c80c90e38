"""Check what a config of a model zoo needs, before anything is built.

The libraries import some packages where they are first used, in the middle of a
training, and have models whose batches are not images with labels.
"""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec

from mmsr4ir.utils.configs import type_name
from mmsr4ir.utils.errors import ConfigError

_PANOPTIC = ('panopticapi', 'git+https://github.com/cocodataset/panopticapi.git')
_LVIS = ('lvis', 'git+https://github.com/lvis-dataset/lvis-api.git')
_SKLEARN = ('sklearn', 'scikit-learn')
#: Type in a config: the module that it imports, and what pip calls it.
PACKAGES = {
    'Albu': ('albumentations', '"albumentations<1.4"'),
    'Albumentations': ('albumentations', '"albumentations<1.4"'),
    'CocoPanopticMetric': _PANOPTIC,
    'InstaBoost': ('instaboostfast', 'instaboostfast'),
    'LADHead': _SKLEARN,
    'LVISDataset': _LVIS,
    'LVISMetric': _LVIS,
    'LVISV05Dataset': _LVIS,
    'LVISV1Dataset': _LVIS,
    'LoadPanopticAnnotations': _PANOPTIC,
    'PAAHead': _SKLEARN,
    'TIMMBackbone': ('timm', 'timm'),
    'TimmClassifier': ('timm', 'timm'),
}
#: Preprocessor of a task network: what it makes of a batch, if not images with labels.
OTHER_BATCHES = {
    'MultiBranchDataPreprocessor': 'branches of images with and without labels',
    'MultiModalDataPreprocessor': 'images with text',
    'SelfSupDataPreprocessor': 'several views of an image',
    'TrackDataPreprocessor': 'videos',
    'TwoNormDataPreprocessor': 'several views of an image',
    'VideoDataPreprocessor': 'videos',
}


def check_zoo(cfg: Mapping) -> None:
    """Check a whole config; see :func:`check_packages` and :func:`check_batches`."""
    cfg = dict(cfg.items())  # MMEngine's Config is no Mapping
    check_batches(cfg)
    check_packages(cfg)


def check_packages(cfg: Mapping) -> None:
    """Check that the packages are there that parts of a config import.

    Args:
        cfg: The whole config.

    Raises:
        ConfigError: If one or more are missing; the message is the command that
            installs all of them.
    """
    found = {kind: PACKAGES[kind] for kind in _types(cfg) if kind in PACKAGES}
    missing = {kind: one for kind, one in found.items() if not find_spec(one[0])}
    if missing:
        names = sorted({package for _, package in missing.values()})
        raise ConfigError(
            f'{", ".join(sorted(missing))} of the config: '
            f'{", ".join(sorted({module for module, _ in missing.values()}))} not '
            f'installed; run: pip install {" ".join(names)}'
        )


def check_batches(cfg: Mapping) -> None:
    """Check that the task network is trained on images with labels.

    Args:
        cfg: The whole config.

    Raises:
        ConfigError: If the batches of ``model.task`` are of another kind.
    """
    model = cfg.get('model') or {}
    task = model.get('task') or {}
    for owner in (task, model, cfg):
        kind = type_name(owner.get('data_preprocessor') or {})
        if kind in OTHER_BATCHES:
            inner = 'detector' if 'detector' in task else None
            hint = f' (set model.task to its {inner!r})' if inner else ''
            raise ConfigError(
                f'model.task {type_name(task)} is trained on {OTHER_BATCHES[kind]} '
                f'({kind}); supported are networks that are trained on images with '
                f'labels, one image to a sample{hint}'
            )


def _types(node: object) -> Iterator[str]:
    """Yield the name of every ``type`` in a config."""
    if isinstance(node, Mapping):
        if 'type' in node:
            yield type_name(node)
        for value in node.values():
            yield from _types(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _types(value)
