"""speechssl: self-supervised learning on audio and speech."""

__version__ = "0.1.0"
