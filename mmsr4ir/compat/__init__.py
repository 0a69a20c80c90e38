"""Everything that touches the inside of another package.

=======================  ======================================================
part                     for which versions, and why
=======================  ======================================================
``mmcv_ops``             mmcv-lite 2.x: serves ``mmcv._ext`` through torchvision.
``torchvision_ext``      all functions that ``mmcv._ext`` then has, from these five:
``torchvision_kernels``  torchvision's kernels, and the error of an op without one.
``torchvision_boxes``    NMS, its variants, and RoIAlign.
``torchvision_deform``   deformable convolutions.
``torch_ops``            CARAFE, PSAMask and masked convolution, in pure PyTorch.
``torch_roi_pool``       RoIPool and deformable RoI pooling, in pure PyTorch.
``checkpoint``           mmengine 0.10: loads checkpoints with ``weights_only=True``
                         and an allow-list, for which torch must be 2.6 or later;
                         writes local files beside and renames them.
``config_packages``      mmengine 0.10: configs of this package by ``mmsr4ir::``.
``gradio_upload``        gradio 6: fetches no address in the place of an upload.
``mmengine_parts``       mmengine 0.10: state of its objects without a public name.
``mmengine_visualizer``  mmengine 0.10: visualizers that draw in every process.
``mmdet_parts``          mmdet 3.3: SSD predicts; boxes stay in float32.
``loaders``              modules of another package, loaded in our own way; the next
                         three use it.
``lvis_eval``            lvis 0.5.3 with numpy >= 1.24: LVISMetric finds np.float.
``mmagic_parts``         mmagic 1.2: imports what is asked for, not all of mmagic.
``multimodal``           mmpretrain 1.2 with transformers >= 5: can be imported.
``spandrel_call``        spandrel 0.4: calls a network so that it can be trained.
``swinir``               mmagic 1.2, spandrel 0.4: SwinIR keeps its attention masks;
                         mmagic 1.2: SwinIR in a graph for any size, while exporting.
``torch_parts``          torch 2.6 to 2.15: parts of modules and state dicts.
``fake_tensors``         torch 2.6 to 2.15: a train step on tensors without values.
``torchvision_amp``      torchvision up to 0.29: boxes stay in float32.
=======================  ======================================================

The tests in ``tests/test_compat`` show for each that it is still needed. One of them
scans the package for private names of others, and lists the methods that a base class
keeps for its subclasses, which subclasses elsewhere in the package use.
"""

from . import checkpoint, config_packages, lvis_eval, mmagic_parts, mmcv_ops, multimodal


def install() -> None:
    """Put every part in place. Calling it again changes nothing."""
    mmcv_ops.install()
    checkpoint.install()
    config_packages.install()
    mmagic_parts.install()
    multimodal.install()
    lvis_eval.install()


__all__ = ['install']
