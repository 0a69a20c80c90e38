"""What Gradio does with an address in the place of an upload."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

gr = pytest.importorskip('gradio')


def test_gradio_is_not_asked_to_fetch(monkeypatch):
    """Its own check refuses addresses of this machine, but none of the internet."""
    from gradio import processing_utils

    from mmsr4ir.compat.gradio_upload import uploads_only

    async def download(*args, **kwargs):
        return 'fetched'

    monkeypatch.setattr(processing_utils, 'async_ssrf_protected_download', download)
    plain, ours = gr.File(), uploads_only(gr.File())
    address = 'https://example.org/a.png'
    with ThreadPoolExecutor(1) as pool:  # pytest may have a loop in this thread

        def take(file) -> str:
            return pool.submit(
                asyncio.run, file.async_move_resource_to_block_cache(address)
            ).result()

        assert take(plain) == 'fetched'
        with pytest.raises(ValueError, match='was not uploaded'):
            take(ours)
