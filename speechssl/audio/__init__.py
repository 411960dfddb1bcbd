"""Audio: decoding, resampling, MFCC and filterbanks. Knows no models and no file lists.

Importing this package needs soundfile and torch only; torchaudio is loaded where it is first used.
"""

from speechssl.audio.decode import SAMPLE_RATE, AudioError, audio_length, read_audio

__all__ = ["SAMPLE_RATE", "AudioError", "audio_length", "read_audio"]
