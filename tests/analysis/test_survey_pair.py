"""Students and teachers of many families: terms are found, built, and take one training step."""

import pytest
import torch
from mmengine.model import revert_sync_batchnorm
from torch import nn

from mmkd.analysis.choose_terms import choose_terms
from mmkd.analysis.feature_survey import survey_features
from mmkd.analysis.survey_pair import _score_taps, build, load_training_batch, survey_pair
from mmkd.config.class_names import class_names
from mmkd.config.load import load_config
from mmkd.config.student import model_config
from mmkd.registry import MODELS
from mmkd.teachers import TeacherNetwork

TEACHERS = (
    'configs/teachers/segformer_b0_streets.py',
    'mmseg::pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024.py',
    'mmseg::swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py',
)
STUDENTS = (
    'bisenetv1/bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024.py',
    'bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024.py',
    'cgnet/cgnet_fcn_4xb4-60k_cityscapes-680x680.py',
    'deeplabv3plus/deeplabv3plus_r18-d8_4xb2-80k_cityscapes-512x1024.py',
    'erfnet/erfnet_fcn_4xb4-160k_cityscapes-512x1024.py',
    'fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024.py',
    'fcn/fcn_r18-d8_4xb2-80k_cityscapes-512x1024.py',
    'hrnet/fcn_hr18s_4xb2-160k_cityscapes-512x1024.py',
    'icnet/icnet_r18-d8_4xb2-80k_cityscapes-832x832.py',
    'mobilenet_v2/mobilenet-v2-d8_fcn_4xb2-80k_cityscapes-512x1024.py',
    'mobilenet_v3/mobilenet-v3-d8-s_lraspp_4xb4-320k_cityscapes-512x1024.py',
    'ocrnet/ocrnet_hr18s_4xb2-160k_cityscapes-512x1024.py',
    'pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py',
    'segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024.py',
    'sem_fpn/fpn_r50_4xb2-80k_cityscapes-512x1024.py',
    'stdc/stdc1_4xb12-80k_cityscapes-512x1024.py',
)


class Detector(nn.Module):
    """A neck of one level and a head, which return what they are given."""

    def __init__(self, scores: torch.Tensor):
        super().__init__()
        self.neck, self.bbox_head = nn.Identity(), nn.Identity()
        self.scores = scores

    def survey(self, paths):
        def run():
            self.neck((torch.rand(2, 8, 6, 8),))
            self.bbox_head(((self.scores,), torch.rand(2, 4)))

        return survey_features(self, run, (96, 128), paths)


@pytest.mark.parametrize(
    'scores, expected',
    [
        ((2, 9, 6, 8), (['neck[0]'], ['bbox_head[0][0]'])),
        ((6, 2, 100, 81), None),  # layers, images, queries and classes of a DETR
    ],
)
def test_score_taps_are_maps_of_the_necks_sizes(scores, expected):
    network = Detector(torch.rand(scores))
    assert _score_taps(network, network, network.survey, network.survey) == expected


@pytest.mark.slow
@pytest.mark.parametrize('teacher', TEACHERS)
@pytest.mark.parametrize('student', STUDENTS)
def test_survey_pair_of_any_family_trains_one_step(student, teacher, tmp_path):
    config, teacher_config = load_config(f'mmseg::{student}'), load_config(teacher)
    config.train_dataloader = load_config('configs/students/fast_scnn_streets.py').train_dataloader
    size = (512, 512) if 'lraspp' in student else (128, 128)  # it pools over 49x49 cells of 8x8
    config.train_dataloader.dataset.pipeline[2].scale = size
    config.train_dataloader.dataset.pipeline[3].crop_size = size
    config.model.data_preprocessor.size = size  # the zoo's would pad to a megapixel
    for part in (config, teacher_config):
        _forget_pretraining(part.model)
    torch.manual_seed(0)
    network, teacher_network = build(config), build(teacher_config)
    found = TeacherNetwork(
        teacher_network,
        model_config(teacher_config).get('data_preprocessor'),
        class_names(teacher_config),
    )
    terms = choose_terms(survey_pair(network, found, config)).terms
    teacher_config.dump(tmp_path / 'teacher.py')
    torch.save(teacher_network.state_dict(), tmp_path / 'teacher.pth')
    files = dict(config=str(tmp_path / 'teacher.py'), checkpoint=str(tmp_path / 'teacher.pth'))
    distiller = MODELS.build(
        dict(type='mmkd.Distiller', student=model_config(config), teacher=files, distill=terms)
    )
    distiller = revert_sync_batchnorm(distiller).train()
    for term in distiller.distill.values():  # as mmkd.LossWeightHook does
        term.set_time(iteration=0, epoch=0)
    losses = distiller.loss(*load_training_batch(distiller.student, config, 2))
    total, logged = distiller.parse_losses(losses)
    total.backward()
    for name in terms:
        assert 0 < logged[f'distill.{name}'] < float('inf')
    assert any(name.startswith('stride_') for name in terms)
    gradients = [p.grad for p in distiller.student.parameters() if p.grad is not None]
    assert all(torch.isfinite(g).all() for g in gradients)


def _forget_pretraining(model: dict) -> None:
    # The weights lie on the web; what a network is made of does not depend on them.
    for key in ('pretrained', 'init_cfg'):
        model.pop(key, None)
    for value in model.values():
        if isinstance(value, dict):
            _forget_pretraining(value)
