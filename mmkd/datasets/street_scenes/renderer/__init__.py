"""The renderer of StreetScenes: from (split, index) to an image, its labels and its boxes."""

from mmkd.datasets.street_scenes.renderer.renderer import Street, check_scenes, render_street

__all__ = ['Street', 'check_scenes', 'render_street']
