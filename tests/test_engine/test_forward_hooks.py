"""Parts of the networks compiled, or computed again in the backward pass."""

from types import SimpleNamespace

import pytest
import torch
import torch._dynamo
from mmcv.ops import RoIAlign
from mmengine.config import Config
from mmengine.runner import Runner
from torch import nn

from mmsr4ir.compat.checkpoint import load_from_local
from mmsr4ir.engine import ActivationCheckpointHook, CompileHook, SparseRoIAlignHook
from mmsr4ir.registry import MODELS
from mmsr4ir.utils.errors import ConfigError
from toys import ToySR, ToyTask, toy_config

GRAPHS = []


@torch._dynamo.register_backend
def keep_graphs(graph, inputs):
    """A backend that compiles nothing, to have the numbers of plain torch."""
    GRAPHS.append(graph)
    return graph.forward


@MODELS.register_module()
class DeepToySR(ToySR):
    """With a body of two layers."""

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.body = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(2)))

    def forward(self, x):
        return super().forward(x + self.body(x))


def runner(work_dir, hooks=(), **model):
    optimizer = dict(optimizer=dict(type='SGD', lr=0.01))
    return Runner.from_cfg(
        Config(
            dict(
                model=toy_config(
                    **(dict(sr=dict(type='mmsr4ir.DeepToySR', scale=2)) | model)
                ),
                work_dir=str(work_dir),
                default_scope='mmengine',
                log_level='ERROR',
                train_dataloader=dict(
                    dataset=dict(type='ToyDraws', length=4),
                    batch_size=2,
                    num_workers=0,
                    sampler=dict(type='DefaultSampler', shuffle=True),
                    collate_fn=dict(type='pseudo_collate'),
                ),
                train_cfg=dict(type='mmsr4ir.ExactEpochLoop', max_epochs=2),
                optim_wrapper=dict(
                    constructor='mmsr4ir.PerNetworkOptimWrapperConstructor',
                    sr=optimizer,
                    task=optimizer,
                ),
                default_hooks=dict(
                    alternate=dict(type='mmsr4ir.AlternateTrainingHook')
                ),
                custom_hooks=list(hooks),
                randomness=dict(seed=0),
                experiment_name=f'{work_dir.parent.name}_{work_dir.name}',
            )
        )
    )


def trained(path, hooks=()):
    path.mkdir()
    run = runner(path, hooks)
    run.train()
    return run.model, load_from_local(path / 'epoch_2.pth')['state_dict']


@pytest.fixture(scope='module')
def plain(tmp_path_factory):
    return trained(tmp_path_factory.mktemp('plain') / 'run')[1]


def assert_equal(found, want):
    assert list(found) == list(want)
    for name, value in want.items():
        assert torch.equal(found[name], value), name


def test_compiled_parts_train_the_same(tmp_path, plain):
    GRAPHS.clear()
    model, found = trained(
        tmp_path / 'run',
        [
            dict(
                type='mmsr4ir.CompileHook',
                modules=['sr', 'task.backbone'],
                backend='keep_graphs',
            )
        ],
    )
    assert_equal(found, plain)
    ops = [{str(node.target) for node in graph.graph.nodes} for graph in GRAPHS]
    assert any('pixel_shuffle' in ' '.join(names) for names in ops)  # S
    assert any('relu' in ' '.join(names) for names in ops)  # T's backbone
    for part in (model.sr, model.task.backbone):
        assert 'forward' not in vars(part)


@pytest.mark.parametrize(
    'graphs',
    [
        dict(mode='reduce-overhead'),
        dict(mode='max-autotune'),
        dict(backend='cudagraphs'),
        dict(options={'triton.cudagraphs': True}),
    ],
)
def test_what_overwrites_features_that_are_kept_is_refused(graphs):
    with pytest.raises(ConfigError, match='CUDA graphs.*max-autotune-no-cudagraphs'):
        CompileHook(['sr'], **graphs)
    CompileHook(['sr'], mode='max-autotune-no-cudagraphs', options=None)


def test_a_validation_runs_what_it_always_ran():
    run = SimpleNamespace(model=MODELS.build(toy_config()))
    part = vars(run.model.sr)
    hook = CompileHook(['sr'], backend='keep_graphs')
    hook.before_val(run)
    assert 'forward' not in part
    hook.before_train(run)
    compiled = part['forward']
    hook.before_val(run)
    assert 'forward' not in part
    hook.after_val(run)
    assert part['forward'] is compiled
    hook.after_train(run)
    hook.after_val(run)
    assert 'forward' not in part


def test_a_checkpointed_part_is_run_again_and_trains_the_same(
    tmp_path, plain, monkeypatch
):
    kept, runs = [], []
    forward = DeepToySR.forward

    def count(self, x):
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x: (kept.append(x.numel()), x)[1], lambda x: x
        ):
            return forward(self, x)

    monkeypatch.setattr(DeepToySR, 'forward', count)
    convolve = nn.Conv2d.forward
    monkeypatch.setattr(
        nn.Conv2d, 'forward', lambda self, x: (runs.append(1), convolve(self, x))[1]
    )
    counts = []
    for name, modules in [('plain', []), ('body', ['sr.body'])]:
        kept.clear(), runs.clear()
        hooks = (
            [dict(type='mmsr4ir.ActivationCheckpointHook', modules=modules)]
            if modules
            else []
        )
        model, found = trained(tmp_path / name, hooks)
        assert_equal(found, plain)
        counts.append((sum(kept), len(runs)))
    assert counts[1][0] < counts[0][0]
    # Two layers, again in the backward pass of each of the four iterations.
    assert counts[1][1] == counts[0][1] + 2 * 4
    assert all('forward' not in vars(layer) for layer in model.sr.body)


@pytest.mark.parametrize(
    'modules, message',
    [
        (['degradation'], "no 'degradation': it is in none of"),
        (['sr.tail'], "no 'sr.tail'"),
        (['task'], "'task' holds the layer of the TDP loss"),
    ],
)
def test_parts_that_cannot_be_are_refused(tmp_path, modules, message):
    (tmp_path / 'run').mkdir()
    run = runner(tmp_path / 'run', [dict(type='mmsr4ir.CompileHook', modules=modules)])
    with pytest.raises(ValueError, match=message):
        run.train()


def test_batch_statistics_are_not_counted_twice(tmp_path, plain):
    hook = dict(type='mmsr4ir.ActivationCheckpointHook', modules=['sr', 'task.head'])
    assert_equal(trained(tmp_path / 'run', [hook])[1], plain)


class Remembering(nn.Module):
    """Its output depends on how often it ran."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer('runs', torch.tensor(1.0))
        self.layer = nn.Linear(2, 2)

    def forward(self, x):
        self.runs += 1
        return self.layer(x).tanh() * self.runs.clone()


def test_the_second_run_has_the_buffers_of_the_first():
    torch.manual_seed(0)
    module, x = Remembering(), torch.rand(3, 2)
    again = ActivationCheckpointHook(['sr']).wrap(module)
    gradients = []
    for run in (module, again):
        module.runs.fill_(1), module.zero_grad()
        run(x).sum().backward()
        gradients.append(module.layer.weight.grad.clone())
        assert module.runs == 2
    assert torch.equal(*gradients)


def test_batch_statistics_of_t_count_each_image_once(tmp_path):
    # Not the layer of the TDP loss, in which T would be left by force.
    found = []
    for name in ('plain', 'checkpointed'):
        (tmp_path / name).mkdir()
        run = runner(
            tmp_path / name,
            [dict(type='mmsr4ir.ActivationCheckpointHook', modules=['task.backbone'])]
            if name == 'checkpointed'
            else [],
            tdp=None,
            recipe=dict(
                sr=dict(update=['sr'], losses=dict(pixel=1.0)),
                task=dict(
                    update=['task'],
                    losses=dict(task_sr=0.34, task_hr=0.34, task_mix=0.34),
                ),
            ),
        )
        run.train()
        found.append(run.model.state_dict())
    assert found[0]['task.backbone.norm.num_batches_tracked'] == 3 * 4
    assert_equal(*found[::-1])


def test_a_compiled_part_may_hold_checkpointed_ones(tmp_path, plain):
    """What runs again is left out of the graphs, so is neither lost nor an error."""
    for name, order in (('first', 1), ('last', -1)):
        hooks = [
            dict(type='mmsr4ir.CompileHook', modules=['sr'], backend='aot_eager'),
            dict(type='mmsr4ir.ActivationCheckpointHook', modules=['sr.body']),
        ]
        _, found = trained(tmp_path / name, hooks[::order])
        assert_equal(found, plain)


@pytest.mark.parametrize('hook', [CompileHook, ActivationCheckpointHook])
def test_of_lists_of_lists_the_layers_are_meant(hook):
    layers = [nn.Conv2d(1, 1, 1) for _ in range(3)]
    stages = nn.ModuleList(
        [nn.ModuleList([nn.ModuleList(layers[:1]), layers[1]]), layers[2]]
    )
    assert hook(['sr']).parts(stages) == layers


def test_a_part_of_t_is_not_run_again_where_tdp_thaws_it(tmp_path):
    (tmp_path / 'run').mkdir()
    run = runner(
        tmp_path / 'run',
        [dict(type='mmsr4ir.ActivationCheckpointHook', modules=['task.neck'])],
        recipe=dict(
            both=dict(
                update=['sr', 'task'], losses=dict(pixel=1.0, tdp=1.0, task_sr=1.0)
            )
        ),
    )
    with pytest.raises(ValueError, match="'task.neck' cannot be run again"):
        run.train()


@pytest.mark.parametrize('kind', [CompileHook, ActivationCheckpointHook])
@pytest.mark.parametrize('modules', ['sr', []])
def test_modules_are_a_list(kind, modules):
    with pytest.raises(ValueError, match='must be a list of names'):
        kind(modules=modules)


@MODELS.register_module()
class RoIToyTask(ToyTask):
    """Classifies what RoIAlign takes from one box an image."""

    def __init__(self, pool_mode='avg', **kwargs) -> None:
        super().__init__(**kwargs)
        self.roi_layer = RoIAlign((4, 4), 1.0, 2, pool_mode)

    def extract_feat(self, inputs):
        features = self.backbone(inputs)[-1]
        boxes = [[i, 0.7, 0.3, 3.0, 2.6] for i in range(len(inputs))]
        return self.neck(self.roi_layer(features, torch.tensor(boxes).to(features)))


def test_sparse_roi_align_trains_the_same_to_rounding(tmp_path, monkeypatch):
    task = dict(type='mmsr4ir.RoIToyTask')
    usual, calls = RoIAlign.forward, []
    monkeypatch.setattr(
        RoIAlign,
        'forward',
        lambda self, *args: (calls.append(1), usual(self, *args))[1],
    )
    found = []
    for name, hooks in [('plain', []), ('sparse', ['mmsr4ir.SparseRoIAlignHook'])]:
        calls.clear()
        (tmp_path / name).mkdir()
        run = runner(tmp_path / name, [dict(type=hook) for hook in hooks], task=task)
        run.model.double()
        run.train()
        # T's loss on SR, HR and mix in each of the four iterations.
        assert len(calls) == (0 if hooks else 3 * 4)
        assert 'forward' not in vars(run.model.task.roi_layer)
        found.append(run.model.state_dict())
    assert list(found[0]) == list(found[1])
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-9, atol=1e-12)


class DoubledRoIAlign(RoIAlign):
    """With a forward of its own."""

    def forward(self, *args):
        return 2 * super().forward(*args)


def test_a_layer_of_ones_own_stays_as_it_is():
    layers = [RoIAlign((2, 2)), DoubledRoIAlign((2, 2))]
    found = SparseRoIAlignHook().find(SimpleNamespace(task=nn.ModuleList(layers)))
    assert found == layers[:1]


@pytest.mark.parametrize(
    'task, message',
    [
        (
            dict(type='mmsr4ir.ToyTask'),
            'task has no RoIAlign layer; leave the hook out',
        ),
        (dict(type='mmsr4ir.RoIToyTask', pool_mode='max'), "pool_mode='max' is no"),
    ],
)
def test_sparse_roi_align_needs_a_layer_of_its_kind(tmp_path, task, message):
    (tmp_path / 'run').mkdir()
    run = runner(tmp_path / 'run', [dict(type='mmsr4ir.SparseRoIAlignHook')], task=task)
    with pytest.raises(ValueError, match=message):
        run.train()
