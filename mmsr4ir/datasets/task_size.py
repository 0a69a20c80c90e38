"""Note a resize in a pipeline, for the model to do it after the SR network."""

from collections.abc import Mapping, Sequence

from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS

from mmsr4ir.models.task_resize import TASK_SIZE, SizeRule
from mmsr4ir.registry import TRANSFORMS


@TRANSFORMS.register_module()
class NoteTaskSize(BaseTransform):
    """Note the size in which the task network sees this version of an image.

    The versions of test-time augmentation and the branches of a ``RandomChoice`` have
    several sizes. With ``model.task_resize`` the SR network gets each version in its
    own size, and the model resizes the version to the noted size.

    Required keys: img. Added keys: task_size, which :class:`PackTaskSize` keeps.

    Args:
        resize: Transforms that resize, and pad after that, see
            :class:`~mmsr4ir.models.task_resize.SizeRule`.
    """

    def __init__(self, resize: Mapping | Sequence[Mapping]) -> None:
        self.rule = SizeRule(resize)

    def transform(self, results: dict) -> dict:
        """Add the size (a :class:`~mmsr4ir.models.task_resize.TaskSize`)."""
        results[TASK_SIZE] = self.rule.size(tuple(results['img'].shape[:2]))
        return results


@TRANSFORMS.register_module()
class PackTaskSize(BaseTransform):
    """Pack a sample, with the noted size among its meta information.

    Required keys: those of ``pack``. Kept key: task_size.

    Args:
        pack: The transform of the task library that packs, as ``PackDetInputs``.
    """

    def __init__(self, pack: Mapping) -> None:
        self.pack = MMENGINE_TRANSFORMS.build(dict(pack))

    def transform(self, results: dict) -> dict:
        """Pack."""
        packed = self.pack(results)
        if TASK_SIZE in results:  # one branch of a RandomChoice may have noted none
            packed['data_samples'].set_metainfo({TASK_SIZE: results[TASK_SIZE]})
        return packed
