"""`speechssl finetune`."""

from speechssl.cli.command import Command
from speechssl.training.clips.settings import FinetuneSettings


def _run(settings: FinetuneSettings) -> None:
    # fairseq2's trainer is slow to import, and `--help` and a wrong setting do not need it.
    from speechssl.training.clips.finetune import finetune

    finetune(settings)


COMMAND = Command(
    name="finetune",
    summary="fine-tune an encoder of any kind on the classes of a metadata column; the best epoch stays",
    settings=FinetuneSettings,
    run=_run,
    keeps_memory=True,
    examples=(
        "data.train=data/esc50/train.tsv data.valid=data/esc50/valid.tsv column=category data.seconds=5 "
        "init_from=exp/unfused out=exp/esc50",
        "... column=species pseudo_labels.confidence=0.9 init_from=exp/unfused out=exp/birds",
    ),
)
