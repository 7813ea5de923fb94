"""Find the network inside the wrappers of a runner."""

from mmengine.model import is_model_wrapper
from torch import nn


def unwrapped(model: nn.Module) -> nn.Module:
    """Return ``model``, or the network inside a distributed wrapper."""
    return model.module if is_model_wrapper(model) else model
