"""The text of a config, which yapf lays out once."""
from mmengine.config import Config

from mmsr4ir.compat import config_text
from toys import toy_runner


def test_mmengine_asks_for_the_same_text_again_at_each_start(tmp_path):
    """Once no hits are counted here any more, the part can go."""
    before = config_text._remembered.cache_info()
    toy_runner(tmp_path, cfg=Config(dict(about='a config', seed=0))).train()
    after = config_text._remembered.cache_info()
    assert after.misses - before.misses == 1
    assert after.hits - before.hits >= 2


def test_the_text_is_that_of_yapf_and_follows_the_config(monkeypatch):
    cfg = Config(dict(model=dict(names=['a' * 40, 'b' * 40], number=1)))
    place = config_text._place
    assert place.FormatCode is config_text.format_code
    for number in (1, 2):
        cfg.model.number = number
        with monkeypatch.context() as patch:
            patch.setattr(place, 'FormatCode', config_text._format_code)
            want = cfg.pretty_text
        assert cfg.pretty_text == cfg.pretty_text == want
        assert f'number={number}' in want
