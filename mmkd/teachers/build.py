"""Build the teacher's network from a config, a Hugging Face folder, timm or an import path."""

from collections.abc import Mapping

from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmkd.checkpoints.load_weights import extract_state_dict, load_weights
from mmkd.checkpoints.safe_load import load_checkpoint_file
from mmkd.config.class_names import class_names
from mmkd.config.load import load_config
from mmkd.config.student import model_config
from mmkd.errors import UserError, one_line
from mmkd.openmmlab.huggingface_segformer import convert_weights, load_folder
from mmkd.registry import MODELS
from mmkd.teachers.any_module import build_module
from mmkd.teachers.keys import (
    check_teacher_keys,
    check_weights_exist,
    teacher_kind,
    teacher_weights,
    weights_source,
)
from mmkd.teachers.network import TeacherNetwork
from mmkd.teachers.timm_backbone import build_timm_backbone


def build_teacher_network(teacher: Mapping) -> TeacherNetwork:
    """Build the network that ``model.teacher`` names.

    The network of a config may have weights that are NaN or infinite: they do no harm in a layer
    that the terms do not need. ``mmkd.distillation.term_building`` refuses the others.

    Args:
        teacher: The value of ``model.teacher``.

    Raises:
        UserError: A key is wrong, the network cannot be built, or its weights are missing or do not
            fit.
    """
    check_teacher_keys(teacher)
    kind = teacher_kind(teacher)
    path = teacher_weights(teacher)
    source = weights_source(teacher)
    if kind == 'config':
        config = load_config(teacher['config'])  # one that does not exist is named first
        check_weights_exist(teacher)
        built = _from_config(config)
        load_weights(built.network, load_checkpoint_file(path), source, finite=False)
        return built
    if kind == 'huggingface':
        return _from_huggingface(teacher, path, source)
    check_weights_exist(teacher)
    arguments = teacher.get('arguments') or {}
    if kind == 'timm':
        state = extract_state_dict(load_checkpoint_file(path), source)
        return build_timm_backbone(teacher['timm'], arguments, state, source)
    network = build_module(teacher['type'], arguments)
    load_weights(network, load_checkpoint_file(path), source)
    preprocessor = dict(
        type='ImgDataPreprocessor', mean=teacher['mean'], std=teacher['std'], bgr_to_rgb=True
    )
    return TeacherNetwork(network, preprocessor)


def _from_config(config: Config) -> TeacherNetwork:
    model = model_config(config)
    with DefaultScope.overwrite_default_scope(config.get('default_scope')):
        network = MODELS.build(model)
    return TeacherNetwork(network, model.get('data_preprocessor'), class_names(config))


def _from_huggingface(teacher: Mapping, path: str, source: str) -> TeacherNetwork:
    folder = load_folder(teacher['huggingface'])
    check_weights_exist(teacher)
    with DefaultScope.overwrite_default_scope('mmseg'):
        try:
            network = MODELS.build(folder.model)
        except Exception as error:  # its layers may raise anything of sizes that do not fit
            raise UserError(
                f'{source}: config.json: expected sizes of a SegFormer; building it raises '
                f'{type(error).__name__}: {one_line(error)}'
            ) from error
    state = extract_state_dict(load_checkpoint_file(path), source)
    load_weights(network, convert_weights(state, source), source, exact=True)
    return TeacherNetwork(network, folder.model['data_preprocessor'], folder.classes)
