"""Load VMamba's published checkpoints, which use the same weight names as this package."""

import re
from collections import OrderedDict
from collections.abc import Mapping

import torch
from mmengine.logging import print_log
from torch import nn

from mmkd.checkpoints.load_weights import load_weights
from mmkd.checkpoints.safe_load import load_checkpoint_file
from mmkd.errors import UserError

# Weights of a classifier, or of a stage that the backbone does not return.
_OTHER_PARTS = re.compile(r'classifier\.|outnorm\d\.')


def load_published_weights(network: nn.Module, path: str, prefix: str = '') -> None:
    """Load the checkpoint of a classifier or backbone into a backbone; output norms may be missing.

    Args:
        network: A :class:`mmkd.models.vmamba.VMamba`.
        path: File or URL. The weights are its ``model`` or ``state_dict`` entry, or the whole file.
        prefix: Prefix of the backbone's weights in the file of a whole network, such as
            ``'backbone.'``. Other weights are ignored.

    Raises:
        UserError: The file cannot be read safely, or belongs to another network.
    """
    source = f'backbone.init_cfg.checkpoint={path}'
    # The reference code saves its config, a kind of dict, beside the weights.
    with torch.serialization.safe_globals([(OrderedDict, 'yacs.config.CfgNode')]):
        published = load_checkpoint_file(path)
    for entry in ('model', 'state_dict'):
        if isinstance(published, Mapping) and entry in published:
            published = published[entry]
    if not isinstance(published, Mapping):
        raise UserError(f'{source}: expected a file with weights')
    if prefix:
        stem = f'{prefix.rstrip(".")}.'
        published = {k.removeprefix(stem): v for k, v in published.items() if k.startswith(stem)}
        if not published:
            raise UserError(f'{source}: no weight starts with init_cfg.prefix={prefix!r}')
    own = network.state_dict()
    others = [name for name in published if name not in own]
    unknown = [name for name in others if not _OTHER_PARTS.match(name)]
    if unknown:
        raise UserError(
            f'{source}: expected the weights of this network, got {len(unknown)} others, such as '
            f'{unknown[0]}; check arch'
        )
    fresh = {k: v for k, v in own.items() if k.startswith('outnorm') and k not in published}
    load_weights(network, {**fresh, **published}, source)
    for what, names in (('left out', others), ('not in it, start fresh', fresh)):
        if names:
            print_log(f'{source}: {what}: {", ".join(names)}', logger='current')
