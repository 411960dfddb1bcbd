"""Clusters of whole recordings: the pseudo-labels of UnFuSeD."""
