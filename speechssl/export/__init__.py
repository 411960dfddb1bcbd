"""Encoders for other toolkits."""
