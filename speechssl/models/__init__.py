"""Encoders in plain torch."""
