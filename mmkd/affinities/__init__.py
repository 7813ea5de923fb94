"""Graphs of a student without attention: how much each patch draws from each other."""

from mmkd.affinities.mamba_state_affinity import MambaStateAffinity
from mmkd.affinities.query_key_affinity import QueryKeyAffinity
from mmkd.affinities.similarity_affinity import SimilarityAffinity

__all__ = ['MambaStateAffinity', 'QueryKeyAffinity', 'SimilarityAffinity']
