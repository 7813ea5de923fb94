"""The network inside whatever a runner wraps around it."""

from mmengine.model import is_model_wrapper
from torch import nn


def unwrapped(model: nn.Module) -> nn.Module:
    """``model`` itself, or what a distributed wrapper holds."""
    return model.module if is_model_wrapper(model) else model
