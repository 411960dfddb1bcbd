"""The units that scores are shown in: shares in per cent, and some in units of their own."""

from __future__ import annotations

UNITS = {"pesq": "MOS", "si_sdr": "dB", "si_sdri": "dB"}
"""Of the scores that are no shares: opinion scores (ITU-T P.862.2, 1 to 4.6), decibels."""


def label(score: str) -> str:
    """Return what tables call a score: its name, and its unit unless that is per cent."""
    return f"{score} {UNITS[score]}" if score in UNITS else score


def shown(score: str, value: float) -> str:
    """Return a value as tables show it."""
    return f"{value if score in UNITS else 100 * value:.2f}"
