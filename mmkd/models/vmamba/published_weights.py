"""Loading VMamba's published checkpoints, whose weights already have this package's names."""

import re
from collections import OrderedDict
from collections.abc import Mapping

import torch
from mmengine.logging import print_log
from torch import nn

from mmkd.checkpoint import load_checkpoint_file, load_weights
from mmkd.errors import UserError

# Of a classifier, or of a stage that the backbone does not yield.
_OTHER_PARTS = re.compile(r'classifier\.|outnorm\d\.')


def load_published_weights(network: nn.Module, path: str, prefix: str = '') -> None:
    """Load a classifier's or backbone's checkpoint into a backbone; output norms may be missing.

    Args:
        network: a :class:`mmkd.models.vmamba.VMamba`.
        path: file or URL; the weights are its ``model`` or ``state_dict`` entry, or all of it.
        prefix: of the backbone's names in the file of a whole network, such as ``'backbone.'``;
            what has it not is no concern of this.

    Raises:
        UserError: the file cannot be read safely, or is of another network.
    """
    source = f'backbone.init_cfg.checkpoint={path}'
    # The reference saves its config, a kind of dict, beside the weights.
    with torch.serialization.safe_globals([(OrderedDict, 'yacs.config.CfgNode')]):
        published = load_checkpoint_file(path)
    for entry in ('model', 'state_dict'):
        if isinstance(published, Mapping) and entry in published:
            published = published[entry]
    if not isinstance(published, Mapping):
        raise UserError(f'{source} holds no weights')
    if prefix:
        stem = f'{prefix.rstrip(".")}.'
        published = {k.removeprefix(stem): v for k, v in published.items() if k.startswith(stem)}
        if not published:
            raise UserError(f'{source}: no weight has the name of init_cfg.prefix={prefix!r}')
    own = network.state_dict()
    others = [name for name in published if name not in own]
    unknown = [name for name in others if not _OTHER_PARTS.match(name)]
    if unknown:
        raise UserError(
            f'{source} is of another network: {len(unknown)} of its weights have no place in this '
            f'one, such as {unknown[0]}; check arch'
        )
    fresh = {k: v for k, v in own.items() if k.startswith('outnorm') and k not in published}
    load_weights(network, {**fresh, **published}, source)
    for what, names in (('left out', others), ('not in it, start fresh', fresh)):
        if names:
            print_log(f'{source}: {what}: {", ".join(names)}', logger='current')
