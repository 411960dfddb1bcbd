"""`speechssl manifest`."""

from speechssl.cli.command import Command
from speechssl.data.listing import ManifestSettings, make_manifests

COMMAND = Command(
    name="manifest",
    summary="list a corpus: manifests, metadata, rejected files",
    settings=ManifestSettings,
    run=make_manifests,
    examples=(
        "corpus=asterisk out=data/asterisk",
        "corpus=folder corpus.audio_dir=~/recordings out=data/mine",
        "corpus=librispeech corpus.audio_dir=/corpora/LibriSpeech out=data/librispeech",
        "corpus=librispeech 'corpus.parts=[train-clean-100,dev-clean]' out=data/librispeech100",
    ),
)
