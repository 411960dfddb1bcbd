"""Evaluation of encoders: probes, LAPE, HEAR and SUPERB, and what they share."""
