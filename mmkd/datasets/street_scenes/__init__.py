"""StreetScenes: rendered streets for segmentation and detection, and their renderer."""
