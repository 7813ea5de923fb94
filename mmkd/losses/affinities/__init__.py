"""Graphs of features: how much each patch attends to each other."""

from mmkd.losses.affinities.mamba_state_affinity import MambaStateAffinity
from mmkd.losses.affinities.query_key_affinity import QueryKeyAffinity
from mmkd.losses.affinities.similarity_affinity import SimilarityAffinity

__all__ = ['MambaStateAffinity', 'QueryKeyAffinity', 'SimilarityAffinity']
