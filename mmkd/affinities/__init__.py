"""Graphs of a student without attention: how much each patch draws from each other."""

from mmkd.affinities.query_key_affinity import QueryKeyAffinity
from mmkd.affinities.similarity_affinity import SimilarityAffinity

__all__ = ['QueryKeyAffinity', 'SimilarityAffinity']
