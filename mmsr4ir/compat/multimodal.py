"""mmpretrain without its multimodal models, where transformers is too new for them.

mmpretrain 1.2 defines them as soon as transformers and pycocotools are installed.
transformers 5 no longer has what they need, and then mmpretrain cannot be imported, nor
mmdet and mmseg, which import it. They are left out then, as where transformers is
missing. Where mmpretrain was imported before this package, nothing changes.
"""

from importlib import metadata
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import ModuleType

from .loaders import load_by

_NAME = 'mmpretrain.utils.dependency'


class _Loader(SourceFileLoader):
    """Sets ``WITH_MULTIMODAL`` to False where transformers is too new."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        names = vars(module)
        if names['WITH_MULTIMODAL']:
            major = int(metadata.version('transformers').partition('.')[0])
            names['WITH_MULTIMODAL'] = major < 5


def _choose(spec: ModuleSpec) -> type[SourceFileLoader] | None:
    return _Loader if spec.name == _NAME else None


def install() -> None:
    """Have the module loaded so. Calling it again changes nothing."""
    load_by('mmpretrain', _choose)
