"""The official corpora of SUPERB's tasks, one small file a corpus: its own folders in, rows of three parts out.

A new one is a file with a :class:`~speechssl.evaluation.superb.corpora.layout.CorpusTask`, and a line in `CORPORA`.
"""

from speechssl.evaluation.superb.corpora.covost import ST
from speechssl.evaluation.superb.corpora.fluent_speech_commands import IC
from speechssl.evaluation.superb.corpora.iemocap import ER
from speechssl.evaluation.superb.corpora.libri2mix import SD, SS
from speechssl.evaluation.superb.corpora.librispeech import ASR, PR
from speechssl.evaluation.superb.corpora.quesst14 import QBE
from speechssl.evaluation.superb.corpora.snips import SF
from speechssl.evaluation.superb.corpora.speech_commands import KS
from speechssl.evaluation.superb.corpora.voicebank_demand import SE
from speechssl.evaluation.superb.corpora.voxceleb1 import ASV, SID

CORPORA = {
    "pr": PR,
    "asr": ASR,
    "ks": KS,
    "qbe": QBE,
    "sid": SID,
    "asv": ASV,
    "sd": SD,
    "ic": IC,
    "sf": SF,
    "er": ER,
    "se": SE,
    "ss": SS,
    "st": ST,
}
"""By the name of the task."""
