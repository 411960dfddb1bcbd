"""`speechssl pretrain`."""

from speechssl.cli.command import Command
from speechssl.training.settings import PretrainSettings


def _run(settings: PretrainSettings) -> None:
    # fairseq2's trainer is slow to import, and `--help` and a wrong setting do not need it.
    from speechssl.training.pretrain import pretrain

    pretrain(settings)


COMMAND = Command(
    name="pretrain",
    summary="masked pretraining: HuBERT, or HuBERTopic where topics are an auxiliary task",
    settings=PretrainSettings,
    run=_run,
    keeps_memory=True,
    examples=(
        "data.train=data/mini/train.tsv data.valid=data/mini/valid.tsv data.labels=[exp/mini/units] "
        "data.topics=exp/mini/topics objective=hubertopic model=tiny mask=fast batch=mini optim=mini "
        "schedule.minutes=8 out=exp/mini/hubertopic-seed1",
        "... objective=hubert schedule.steps=250000 out=exp/hubert",
        "... init_from=exp/hubert schedule=infinite schedule.steps=100000 out=exp/hubert-more",
    ),
)
