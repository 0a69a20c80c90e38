"""Everything that touches the inside of another package, and nothing else.

===================  ==========================================================
part                 for which versions, and why
===================  ==========================================================
``mmcv_ops``         mmcv-lite 2.x: serves ``mmcv._ext`` through torchvision.
``checkpoint``       mmengine 0.10 on torch >= 2.6: loads checkpoints with
                     ``weights_only=True`` and an allow-list. On any torch: writes
                     local files beside and renames them.
``config_packages``  mmengine 0.10: configs of this package by ``mmsr4ir::``.
``config_text``      mmengine 0.10: lays out a config's text once, not four times.
``swinir``           mmagic 1.2: SwinIR in a graph for any size, while exporting.
===================  ==========================================================

The tests in ``tests/test_compat`` show for each that it is still needed.
"""
from . import checkpoint, config_packages, config_text, mmcv_ops


def install() -> None:
    """Put every part in place. Calling it again changes nothing."""
    mmcv_ops.install()
    checkpoint.install()
    config_packages.install()
    config_text.install()


__all__ = ['install']
