"""Check the class weights of the losses of a network."""

from collections.abc import Mapping

from mmengine.config import Config

from mmkd.config.student import is_distillation
from mmkd.errors import UserError


def check_class_weights(config: Config) -> None:
    """Check that lists of class weights have one number a class, in every head of a network.

    The losses of segmentors and classifiers weight the classes. ``loss_cls`` of a detector, or of
    queries, has a further weight for the background, unless it is sigmoid.

    Raises:
        UserError: A list has another length; the message names its key.
    """
    model = config.get('model') or {}
    key = 'model.student' if is_distillation(config) else 'model'
    _check_class_weights(model['student'] if is_distillation(config) else model, key)


def _check_class_weights(node: object, key: str) -> None:
    if isinstance(node, list | tuple):
        for i, part in enumerate(node):
            _check_class_weights(part, f'{key}.{i}')
    if not isinstance(node, Mapping):
        return
    for name, part in node.items():
        _check_class_weights(part, f'{key}.{name}')
    if type(node.get('num_classes')) is not int:
        return
    for name, losses in node.items():
        if not str(name).startswith('loss'):
            continue
        several = isinstance(losses, list | tuple)
        for i, loss in enumerate(losses if several else [losses]):
            path = f'{key}.{name}.{i}' if several else f'{key}.{name}'
            _check_weights_of_loss(loss, path, node, detects=name == 'loss_cls')


def _check_weights_of_loss(loss: object, key: str, head: Mapping, detects: bool) -> None:
    weights = loss.get('class_weight') if isinstance(loss, Mapping) else None
    if not isinstance(weights, list | tuple):
        return  # none, one number, or a file
    classes = head['num_classes']
    expected, what = head.get('out_channels') or classes, 'one a class'
    if detects and loss.get('use_sigmoid'):
        expected = classes
    elif detects:
        expected, what = classes + 1, f'one a class ({classes}) and one for the background'
    if len(weights) != expected:
        raise UserError(
            f'{key}.class_weight={list(weights)}: expected {expected} numbers, {what}; change it'
        )
