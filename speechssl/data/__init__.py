"""Corpora, manifests, metadata, label files."""
