"""VMamba as a backbone for MMSegmentation and MMDetection."""

from mmkd.models.vmamba.blocks import SS2D, FourPathScan
from mmkd.models.vmamba.vmamba import VMamba

__all__ = ['SS2D', 'FourPathScan', 'VMamba']
