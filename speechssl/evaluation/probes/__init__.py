"""Probes of frozen encoders: metadata columns, phones, masked accuracy, retrieval, rank."""
