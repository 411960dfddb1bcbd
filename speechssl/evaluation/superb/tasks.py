"""The tasks of SUPERB, with the settings that its paper publishes (arXiv 2105.01051)."""

from __future__ import annotations

from dataclasses import dataclass

from speechssl.evaluation.superb.beside import Beside
from speechssl.evaluation.superb.data import PARTS
from speechssl.evaluation.superb.problems.classification import Classification, KeywordSpotting
from speechssl.evaluation.superb.problems.diarization import Diarization
from speechssl.evaluation.superb.problems.problem import MakeProblem
from speechssl.evaluation.superb.problems.separation import SourceSeparation, SpeechEnhancement
from speechssl.evaluation.superb.problems.slots import SlotFilling
from speechssl.evaluation.superb.problems.transcription import PhoneRecognition, SpeechRecognition
from speechssl.evaluation.superb.problems.translation import SpeechTranslation
from speechssl.evaluation.superb.problems.verification import SpeakerVerification


@dataclass(frozen=True)
class Task:
    """How a task is trained."""

    title: str
    """In words."""
    problem: MakeProblem
    steps: int
    """Updates."""
    batch_size: int
    """Utterances in an update."""
    check_every: int
    """Updates between looks at the validation part."""
    lr: tuple[float, ...]
    """Learning rates to choose from, in steps of ten. The published one is among them."""
    published_lr: float
    columns: tuple[str, ...] = ("label",)
    """Label columns, unless others are named."""
    recordings: bool = False
    """Whether those name recordings, which are to be heard in the utterance."""
    balanced: bool = False
    """Whether training draws all classes of the first column equally often, as s3prl does for KS."""
    labelled: tuple[str, ...] = PARTS
    """Parts whose utterances need labels."""
    beside: Beside | None = None
    """Another table that it reads."""
    gain: float = 1.0
    """Factor on the waveform."""
    optimizer: str = "adam"
    clip: float = 1.0
    """Largest norm of the gradient."""
    warmup: int = 0
    """Updates in which the learning rate rises, of all `steps`; 0 for a constant one."""
    passes: int = 1
    """Parts of a batch that go through the head one after the other."""
    notes: tuple[str, ...] = ()
    """What a reader of its results should know: how training differs from s3prl's."""


@dataclass(frozen=True)
class Search:
    """A task in which nothing is trained: queries are searched in documents."""

    title: str
    """In words."""
    parts: tuple[str, ...]
    """Queries and documents of validation and test. They have no labels."""
    beside: Beside
    """Which query is in which document."""
    gain: float = 1.0
    """Factor on the waveform."""
    recordings: bool = False
    columns: tuple[str, ...] = ()
    labelled: tuple[str, ...] = ()


_CLASSIFICATION_RATES = (1e-1, 1e-2, 1e-3, 1e-4)

TASKS = {
    "pr": Task("phone recognition", PhoneRecognition, 100_000, 32, 1_000, (1e-2, 1e-3), 1e-2, ("phones",)),
    # s3prl's settings say 32, and a longest utterance of 2000 samples, above which it halves a batch: all of them.
    "asr": Task("speech recognition", SpeechRecognition, 200_000, 16, 2_000, (1e-3, 1e-4), 1e-4, ("transcription",)),
    "ks": Task(
        "keyword spotting",
        KeywordSpotting,
        200_000,
        32,
        5_000,
        _CLASSIFICATION_RATES,
        1e-4,
        balanced=True,
        gain=10 ** (-3 / 20),
        notes=(
            "accuracy (valid) is the mean over the classes, as s3prl draws that part; that of the test part is not",
        ),
    ),
    "sid": Task(
        "speaker identification",
        Classification,
        200_000,
        32,
        5_000,
        _CLASSIFICATION_RATES,
        1e-4,
        notes=("training hears whole utterances; s3prl draws 8 s of a longer one at random",),
    ),
    "er": Task("emotion recognition", Classification, 30_000, 32, 1_000, _CLASSIFICATION_RATES, 1e-4),
    "ic": Task("intent classification", Classification, 200_000, 32, 5_000, _CLASSIFICATION_RATES, 1e-4),
    "sf": Task("slot filling", SlotFilling, 200_000, 32, 2_000, (1e-3, 1e-4), 1e-4, columns=("transcription", "iob")),
    "asv": Task(
        "speaker verification",
        SpeakerVerification,
        200_000,
        50,
        10_000,
        (1e-3, 1e-4, 1e-5),
        1e-4,
        labelled=("train",),
        beside=Beside("trials", ("label", "first", "second"), ("valid", "test")),
        optimizer="adamw",
        clip=1e3,
        notes=(
            "training hears the first 8 s of an utterance; s3prl draws 8 s of a longer one at random",
            "training hears utterances as they are; s3prl takes silence and utterances below 2 s out, and makes it "
            "3 dB quieter",
            "the published EER is the best of ten heads on the test trials, whose utterances have no silence either",
        ),
    ),
    "sd": Task(
        "speaker diarization",
        Diarization,
        30_000,
        32,
        500,
        (1e-2, 1e-3, 1e-4),
        1e-4,
        columns=(),
        # 32 chunks of 2000 frames of HuBERT Base are 640 million numbers.
        passes=4,
        beside=Beside("segments", ("id", "start", "end", "speaker"), PARTS, rttm=True),
    ),
    "se": Task(
        "speech enhancement",
        SpeechEnhancement,
        150_000,
        8,
        1_250,
        (1e-3, 1e-4),
        1e-4,
        columns=("clean",),
        recordings=True,
    ),
    "ss": Task(
        "source separation",
        SourceSeparation,
        150_000,
        8,
        2_000,
        (1e-3, 1e-4),
        1e-4,
        columns=("source1", "source2"),
        recordings=True,
    ),
    "st": Task(
        "speech translation",
        SpeechTranslation,
        32_000,
        256,
        2_000,
        (1e-3, 1e-4),
        1e-3,
        columns=("translation",),
        clip=10.0,
        warmup=10_000,
        passes=8,
    ),
}
"""Those that train heads, by the name that SUPERB gives them."""

SEARCHES = {
    "qbe": Search(
        "query by example",
        ("valid_queries", "valid_documents", "test_queries", "test_documents"),
        beside=Beside("matches", ("query", "document"), ("valid", "test")),
        gain=10 ** (-3 / 20),
    )
}

ALL_TASKS: dict[str, Task | Search] = {**TASKS, **SEARCHES}
"""Those that train heads, and those that do not."""

RECURRENT = ("asr", "sf", "se", "ss")
"""Tasks whose head is several BLSTMs, of a width that may be set."""

PRESETS = {"full": 1.0, "quick": 0.1}
"""Part of the published updates. A tenth is this project's choice; MiniSUPERB (arXiv 2305.19011), which ranks encoders
as SUPERB does, has fewer tasks and less data instead."""


def parts_of(task: str) -> tuple[str, ...]:
    """Return the names of a task's parts."""
    return SEARCHES[task].parts if task in SEARCHES else PARTS
