"""model-index.yml, read by the package that mim reads it with."""

import re

import modelindex
import pytest
from conftest import ROOT
from mmengine.config import Config


@pytest.fixture(scope='module')
def index():
    index = modelindex.load(str(ROOT / 'model-index.yml'))
    index.build_models_with_collections()
    return index


def test_it_is_without_errors(index, capsys):
    index.check()
    assert capsys.readouterr().out.strip() == 'All good!'


def test_every_model_has_its_config(index):
    names = [model.name for model in index.models]
    assert len(names) == len(set(names)) > 0
    assert {model.in_collection for model in index.models} == {
        collection.name for collection in index.collections
    }
    for model in index.models:
        assert (ROOT / model.config).is_file()
        assert (ROOT / model.config).stem == model.name


def test_every_config_beside_the_metafile_is_listed(index):
    own_data = 'faster-rcnn_edsr_custom'  # to be copied; it has no data
    assert {model.name for model in index.models} | {own_data} == {
        path.stem for path in (ROOT / 'configs/sr4ir').glob('*.py')
    }


def test_metadata_is_what_the_configs_say(index):
    for model in index.models:
        cfg, data = Config.fromfile(ROOT / model.config), model.metadata.data
        assert data['Scale'] == cfg.model.degradation.scale
        if 'Epochs' in data:
            assert data['Epochs'] == cfg.train_cfg.max_epochs
            assert data['Batch Size'] == cfg.train_dataloader.batch_size


def test_results_are_those_of_the_documentation(index):
    """Each number stands in a row for restored images of the report."""
    report = ROOT / 'docs/en/reports/2026-11-results.md'
    rows = re.findall(r'^\| LR x4, restored .*', report.read_text(), re.MULTILINE)
    rows = [
        {float(cell) for cell in re.findall(r'(?<=\| )[\d.]+', row)} for row in rows
    ]
    measured = [model for model in index.models if model.results]
    assert len(measured) == 6
    for model in measured:
        (result,) = model.results
        assert any(set(result.metrics.values()) <= row for row in rows), model.name
        assert result.dataset == model.metadata.data['Training Data']
