"""What torch has no public name for, and that it still has none."""

import copy
from collections import OrderedDict

import pytest
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from mmsr4ir.compat import torch_parts as parts


def test_a_copy_with_another_child():
    original = nn.Sequential(OrderedDict(a=nn.Linear(2, 3), b=nn.Linear(3, 1)))
    first, new = original.a, nn.Linear(2, 3)
    copied = parts.with_child(original, 'a', new)
    assert copied.a is new and copied.b is original.b
    assert original.a is first and type(copied) is type(original)
    x = torch.rand(4, 2)
    assert torch.equal(copied(x), original.b(new(x)))

    shallow = copy.copy(original)  # still shares the children
    shallow.a = new
    assert original.a is new


def test_a_wrapper_holds_its_group_until_it_leaves():
    distributed.init_process_group(
        'gloo', store=distributed.HashStore(), rank=0, world_size=1
    )
    try:
        wrapper = DistributedDataParallel(nn.Linear(2, 1))
        held = {'process_group', 'reducer', 'logger'}
        assert held <= set(vars(wrapper))
        parts.leave_group(wrapper)
        assert not held & set(vars(wrapper))
    finally:
        distributed.destroy_process_group()


@pytest.mark.parametrize('version, fits', [(1, True), (2, False)])
def test_versions_say_how_a_file_is_read(version, fits):
    """BatchNorm of version 1 had no ``num_batches_tracked``."""
    network = nn.BatchNorm1d(2)
    assert parts.module_versions(network.state_dict()) == {'': dict(version=2)}
    assert parts.module_versions({}) == {}
    old = OrderedDict(
        (name, value)
        for name, value in network.state_dict().items()
        if name != 'num_batches_tracked'
    )
    parts.set_module_versions(old, {'': dict(version=version)})
    missing = network.load_state_dict(old, strict=False).missing_keys
    assert missing == ([] if fits else ['num_batches_tracked'])


def test_every_batch_normalisation_has_one_base():
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    assert all(issubclass(kind, parts.BatchNorm) for kind in kinds)
    assert not issubclass(nn.GroupNorm, parts.BatchNorm)
    assert not any(
        issubclass(one, other) for one in kinds for other in kinds if one is not other
    )  # none of them is the base
