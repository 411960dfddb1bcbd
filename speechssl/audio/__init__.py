"""Decoding, resampling and features of waveforms."""
