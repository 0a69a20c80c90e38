"""A config's text, laid out once.

MMEngine 0.10 has yapf lay out the whole config four times at the start of a training:
for the log, the copy in the work dir, the visualizer and the checkpoints. For the
demo's detector each takes 0.4 s.
"""
from functools import lru_cache

from mmengine.config import config
from yapf.yapflib import yapf_api

# onedl-mmengine imports it when it lays out a text.
_place = config if hasattr(config, 'FormatCode') else yapf_api
_format_code = _place.FormatCode


def format_code(text: str, style_config: dict, **options) -> tuple[str, bool]:
    """yapf's ``FormatCode``, which remembers the last texts."""
    return _remembered(text, tuple(sorted(style_config.items())),
                       tuple(sorted(options.items())))


@lru_cache(maxsize=4)
def _remembered(text: str, style: tuple, options: tuple) -> tuple[str, bool]:
    return _format_code(text, style_config=dict(style), **dict(options))


def install() -> None:
    """Have MMEngine's configs use it."""
    _place.FormatCode = format_code
