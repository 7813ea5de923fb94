"""The renderer of StreetScenes: from (split, index) to an image, its labels and its boxes."""

from mmkd.datasets.street.renderer import Street, check_street, render_street

__all__ = ['Street', 'check_street', 'render_street']
