"""Everything in mmkd that depends on how the OpenMMLab libraries work."""
