import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mmkd.distillation.gradient_share import GradientShare, measure_gradient_norms
from mmkd.errors import UserError

NORMS = st.floats(1e-6, 1e6)


@pytest.fixture
def parameters() -> list[nn.Parameter]:
    """Three: the first for task and term, the second for the task, the third for the term."""
    return [nn.Parameter(torch.randn(2)) for _ in range(3)]


def test_measure_gradient_norms_counts_only_what_both_reach(parameters):
    both, task_only, term_only = parameters
    task = both @ torch.tensor([3.0, 4.0]) + 7 * task_only.sum()
    term = both @ torch.tensor([0.6, 0.8]) + 5 * term_only.sum()
    (norms,) = measure_gradient_norms(task, [term], parameters)
    assert norms == pytest.approx((5, 1))


def test_measure_gradient_norms_of_a_batch_without_labels_keeps_the_terms(parameters):
    both, _, term_only = parameters
    term = both @ torch.tensor([0.6, 0.8]) + term_only @ torch.tensor([0.0, 1.0])
    (norms,) = measure_gradient_norms(both.sum() * 0, [term], parameters)
    assert norms == pytest.approx((0, math.sqrt(2)))
    weight = GradientShare(0.2)
    weight.update(*norms)  # not an error: the next batch may have labels
    assert weight.value == 0


def test_measure_gradient_norms_without_a_shared_parameter_keeps_the_tasks(parameters):
    both, task_only, term_only = parameters
    task = both @ torch.tensor([3.0, 4.0]) + task_only @ torch.tensor([0.0, 12.0])
    terms = [both.sum() * 0, term_only.sum()]
    assert measure_gradient_norms(task, terms, parameters) == [pytest.approx((13, 0))] * 2
    assert measure_gradient_norms(task * 0, terms[:1], parameters) == [(0, 0)]


def test_measure_gradient_norms_joins_parameters(parameters):
    first, second, _ = parameters
    task = 3 * first[0] + 4 * second[1]
    terms = [5 * first[0] + 12 * second[1], 2 * second.sum()]
    both, second_only = measure_gradient_norms(task, terms, parameters)
    assert both == pytest.approx((5, 13))
    assert second_only == pytest.approx((4, 2 * math.sqrt(2)))


def test_measure_gradient_norms_leaves_graph_and_grad(parameters):
    first, *_ = parameters
    task, term = first.square().sum(), first.pow(4).sum()
    measure_gradient_norms(task, [term], parameters)
    assert all(parameter.grad is None for parameter in parameters)
    (task + term).backward()
    torch.testing.assert_close(first.grad, 2 * first.data + 4 * first.data**3)


@pytest.mark.parametrize('size', [1e-10, 1e-4, 1.0, 1e6])
def test_measure_gradient_norms_scales_float16(parameters, size):
    """A half-precision layer loses gradients below 6e-8 and above 65504."""
    first, *_ = parameters
    loss = first.half().float().sum() * size
    ((task, term),) = measure_gradient_norms(loss, [loss], parameters)
    assert task == pytest.approx(math.sqrt(2) * size, rel=1e-2)
    assert task == term


def test_measure_gradient_norms_of_infinite_gradient_are_not_finite(parameters):
    first, *_ = parameters
    (norms,) = measure_gradient_norms(first.sum() * math.inf, [first.sum()], parameters)
    assert not math.isfinite(norms[0])


TWO_PROCESSES = """
import sys
import torch
import torch.distributed as dist
from torch import nn
from mmkd.distillation.gradient_share import measure_gradient_norms

dist.init_process_group('gloo')
rank = dist.get_rank()
weight, other = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
task = 6 * weight[0] if rank == 0 else 8 * weight[1]
term = 2 * weight[rank] + 100 * (other.sum() if rank == 0 else 0)
((task, term),) = measure_gradient_norms(task + 0 * other.sum(), [term], [weight, other])
everybody = [None, None]
dist.all_gather_object(everybody, (task, term))
if rank == 0:
    print(*everybody[0], *everybody[1])
dist.destroy_process_group()  # a thread of gloo that runs on at the end aborts the process
"""


def test_measure_gradient_norms_averages_over_processes(tmp_path):
    """The mean gradients are (3, 4) and (1, 1) at the parameter that both reach."""
    script = tmp_path / 'two.py'
    script.write_text(TWO_PROCESSES)
    launch = ['-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=2', str(script)]
    result = subprocess.run([sys.executable, *launch], capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    norms = list(map(float, result.stdout.splitlines()[-1].split()))
    assert norms == pytest.approx([5, math.sqrt(2)] * 2)


@given(task=NORMS, term=NORMS, share=st.floats(0.01, 0.99))
def test_update_first_gives_the_share_exactly(task, term, share):
    weight = GradientShare(share)
    weight.update(task, term)
    assert weight.value * term == pytest.approx(share * task)


@given(before=NORMS, task=NORMS, term=NORMS)
def test_update_goes_half_the_way_by_a_factor_of_two_at_most(before, task, term):
    weight = GradientShare(0.5)
    weight.value = before
    weight.update(task, term)
    target = 0.5 * task / term
    expected = min(max(math.sqrt(before * target), before / 2), before * 2)
    assert weight.value == pytest.approx(expected)


def test_update_converges_to_the_share():
    weight = GradientShare(0.2)
    weight.update(1.0, 1.0)
    for _ in range(40):
        weight.update(3.0, 1e-3)
    assert weight.value == pytest.approx(0.2 * 3.0 / 1e-3)


@pytest.mark.parametrize('norms', [(0.0, 1.0), (math.nan, 1.0), (1.0, math.inf), (1.0, 0.0)])
def test_update_keeps_weight_without_a_ratio(norms):
    weight = GradientShare(0.2)
    weight.update(1.0, 1.0)
    weight.update(*norms)
    assert weight.value == 0.2


@pytest.mark.parametrize(
    'norms', [(0.0, 1.0), (math.nan, 1.0), (1.0, math.inf), (0.0, 0.0), (math.nan, 0.0)]
)
def test_update_without_a_ratio_measures_again(norms):
    weight = GradientShare(0.2, every=50)
    weight.update(*norms)
    weight.set_iteration(7)
    assert weight.value == 0 and weight.is_due


def test_update_rejects_zero_gradient_at_first():
    with pytest.raises(UserError, match='weight=gradient_share: expected a gradient.*is zero; tap'):
        GradientShare(0.2).update(1.0, 0.0)


def test_update_of_a_batch_without_a_pixel_that_counts_measures_again():
    weight = GradientShare(0.2)
    weight.update(1.0, 0.0, empty=True)
    assert weight.value == 0


def test_set_iteration_is_due_every_so_often():
    weight = GradientShare(0.2, every=3)
    weight.update(1.0, 1.0)
    due = []
    for iteration in range(8):
        weight.set_iteration(iteration)
        due.append(weight.is_due)
    assert due == [True, False, False, True, False, False, True, False]


def test_state_dict_restores_weight_exactly():
    weight, other = GradientShare(0.2), GradientShare(0.2)
    weight.update(math.pi, 1 / 3)
    other.load_state_dict(weight.state_dict())
    assert other.value == weight.value


@pytest.mark.parametrize('share', [0, 1, -0.1, 1.5, math.nan, True, '0.2', None])
def test_gradient_share_rejects_bad_share(share):
    with pytest.raises(UserError, match=f'weight.share={share!r}: expected a number in .0, 1.'):
        GradientShare(share)


@pytest.mark.parametrize('every', [0, -1, 2.0, True, '50', None])
def test_gradient_share_rejects_bad_every(every):
    with pytest.raises(UserError, match=f'weight.every={every!r}: expected an integer >= 1'):
        GradientShare(0.2, every)
