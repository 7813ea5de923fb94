import pytest
import torch
from torch import nn

from mmkd.analysis.term_gradients import term_gradients
from mmkd.distillation.distiller import Distiller
from mmkd.registry import MODELS


def gradients(distiller: Distiller, batch: tuple, kind: str) -> dict[str, torch.Tensor]:
    """Of one part of the loss, by parameter, as a training step would leave them."""
    distiller.zero_grad(set_to_none=True)
    losses = distiller.loss(*batch)
    sum(value for name, value in losses.items() if name.startswith(kind)).backward()
    named = distiller.student.named_parameters()
    return {name: p.grad.contiguous() for name, p in named if p.grad is not None}


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_term_gradients_compare_over_reached_parameters(distiller, batch, layout):
    distiller.student.to(memory_format=layout)
    distiller.eval()  # the same pass every time
    found = term_gradients(distiller, *batch)
    assert list(found) == ['encoder', 'decoder']
    losses = distiller.loss(*batch)
    of_task = gradients(distiller, batch, 'student.')
    for name, gradient in found.items():
        of_term = gradients(distiller, batch, f'distill.{name}')
        assert 0 < len(of_term) < len(of_task)  # neither reaches the head
        task = nn.utils.parameters_to_vector([of_task[key] for key in of_term])
        term = nn.utils.parameters_to_vector(of_term.values())
        assert gradient.value == pytest.approx(losses[f'distill.{name}'].item())
        assert gradient.ratio == pytest.approx((term.norm() / task.norm()).item(), rel=1e-4)
        cosine = (term @ task / (term.norm() * task.norm())).item()
        assert gradient.cosine == pytest.approx(cosine, abs=1e-4)


def test_term_gradients_of_task_like_term_have_cosine_1(model_config, batch):
    """The task's cross entropy at the logits' own size, in place of the teacher's."""

    @MODELS.register_module(name='LabelsAtLogits', force=True)
    class _LabelsAtLogits(nn.Module):
        def forward(self, student, teacher, labels=None):
            if labels is None:  # while the Distiller is built
                return student.mean()
            size = labels.shape[-2:]
            student = nn.functional.interpolate(student, size, mode='bilinear')
            return nn.functional.cross_entropy(student, labels)

    head = 'decode_head.conv_seg'
    loss = dict(type='mmkd.LabelsAtLogits')
    model_config['distill'] = dict(same=dict(student=head, teacher=head, loss=loss, weight=0.25))
    model_config['student']['auxiliary_head'] = None
    (gradient,) = term_gradients(MODELS.build(model_config).eval(), *batch).values()
    assert gradient.ratio == pytest.approx(0.25, rel=1e-3)
    assert gradient.cosine == pytest.approx(1, abs=1e-4)


def test_term_gradients_term_of_zero_weight_is_omitted(model_config, batch):
    model_config['distill']['encoder']['weight'] = 0.0
    assert list(term_gradients(MODELS.build(model_config).eval(), *batch)) == ['decoder']
