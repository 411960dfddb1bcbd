"""`speechssl topics`."""

from __future__ import annotations

from speechssl.cli.command import Command
from speechssl.topics.settings import TopicSettings
from speechssl.topics.stage import run_topics, topics_inputs, topics_outputs

COMMAND = Command(
    name="topics",
    summary="fit a topic model on frame labels; give every utterance a topic label and a topic posterior",
    settings=TopicSettings,
    run=run_topics,
    examples=(
        "units=exp/units data=data/asterisk out=exp/topics",
        "units=exp/units data=data/asterisk out=exp/topics words=subword topics=50",
        "units=exp/units data=data/other splits=[test] out=exp/topics-other topic_model=exp/topics/topics.safetensors",
    ),
    inputs=topics_inputs,
    outputs=topics_outputs,
)
