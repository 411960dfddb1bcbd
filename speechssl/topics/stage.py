"""The stage `speechssl topics`: from frame labels to one topic label and posterior an utterance."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from speechssl.data.columns import Columns, class_columns
from speechssl.data.labels import FrameLabels, check_labels_fit, read_labels, sidecar
from speechssl.data.manifest import read_manifest
from speechssl.data.metadata import METADATA
from speechssl.data.recording_labels import TopicInfo, write_topics
from speechssl.errors import UserError
from speechssl.files import checksum, write_json
from speechssl.progress import progress
from speechssl.topics.documents import fit_documents
from speechssl.topics.model import Provenance, TopicModel, fit_lda, load_topic_model
from speechssl.topics.plot import plot_topics
from speechssl.topics.quality import (
    LabelledSplit,
    column_quality,
    infer_topics,
    merge_splits,
    model_quality,
    split_quality,
)
from speechssl.topics.settings import TopicSettings, WordSettings
from speechssl.topics.words import Units

MODEL = "topics.safetensors"
QUALITY = "quality.json"
PICTURE = "topics.png"


def topics_inputs(settings: TopicSettings) -> Iterable[Path]:
    """Return the files that decide whether topics are still current."""
    for split in _all_splits(settings):
        yield from (_units(settings, split), sidecar(_units(settings, split)), _manifest(settings, split))
    yield _metadata(settings)
    if settings.topic_model:
        yield Path(settings.topic_model)


def topics_outputs(settings: TopicSettings) -> Iterable[Path]:
    """Return the files that the stage makes."""
    out = Path(settings.out)
    yield out / QUALITY
    yield out / PICTURE
    if not settings.topic_model:
        yield out / MODEL
    for split in settings.splits:
        yield from (out / f"{split}.topic", out / f"{split}.topic.npy", out / f"{split}.topic.json")


def run_topics(settings: TopicSettings) -> None:
    """Fit a topic model on one split (or read a fitted one), label every split, and write how good the topics are.

    Raises:
        UserError: labels or metadata of other audio, labels of different k-means, nothing to fit on, or a model of
            other units.
    """
    # gensim tells every step of every pass at INFO.
    logging.getLogger("gensim").setLevel(logging.WARNING)
    labels = {split: _open_split(settings, split) for split in _all_splits(settings)}
    _require_same_units(list(labels.values()))
    # Before the fit, which a missing row should not be told after.
    columns = {split: class_columns(read_manifest(_manifest(settings, split))) for split in settings.splits}
    if settings.topic_model:
        file = Path(settings.topic_model)
        model = load_topic_model(file)
        _require_units_of(model, settings.topic_model, labels[settings.splits[0]])
    else:
        file = Path(settings.out) / MODEL
        model = _fit(settings, labels[settings.fit_split])
        model.save(file)
    sha256 = checksum(file)
    splits = {split: _label(settings, split, labels[split], columns[split], model, sha256) for split in settings.splits}
    _write_quality(settings, model, splits)


def utterances_to_fit(labels: FrameLabels, most: int, seed: int) -> list[Units]:
    """Return the rows of at most `most` utterances, drawn without return, in the order of the file."""
    chosen = np.arange(len(labels))
    if len(labels) > most:
        chosen = np.sort(np.random.default_rng(seed).choice(len(labels), most, replace=False))
    return [labels[index] for index in progress(chosen.tolist(), "reading units", "utterance")]


def _fit(settings: TopicSettings, labels: FrameLabels) -> TopicModel:
    info = labels.info
    _check_rate(settings.words.rate, labels)
    utterances = utterances_to_fit(labels, settings.fit_utterances, settings.seed)
    documents = fit_documents(utterances, info.k, info.frame_rate, settings)
    lda = fit_lda([documents(units) for units in utterances], documents.dictionary, settings)
    return TopicModel(documents, lda, Provenance(info.k, info.frame_rate, info.kmeans_sha256, info.sha256))


def _check_rate(rate: float, labels: FrameLabels) -> None:
    """Raise a `UserError` for a rate of words, other than the default, that taking every n-th unit does not give."""
    units = labels.info.frame_rate
    if rate != WordSettings.rate and (rate > units or not (units / rate).is_integer()):
        raise UserError(
            f"words.rate={rate:g}: {labels.path} has {units:g} units a second, of which every, every second, ... one "
            f"is taken: give {units:g}, {units / 2:g} or {units / 3:g}, for instance"
        )


def _label(
    settings: TopicSettings, split: str, labels: FrameLabels, columns: Columns, model: TopicModel, model_sha256: str
) -> LabelledSplit:
    manifest = read_manifest(_manifest(settings, split))
    labelled = LabelledSplit(manifest.paths, *infer_topics(model, labels, f"topics of {split}"), columns)
    info = TopicInfo(
        topics=model.topics,
        source=labels.info.source,
        model_sha256=model_sha256,
        manifest_sha256=checksum(manifest.file),
        units_sha256=labels.info.sha256,
    )
    write_topics(Path(settings.out) / f"{split}.topic", labelled.labels, labelled.posteriors, info)
    return labelled


def _write_quality(settings: TopicSettings, model: TopicModel, splits: dict[str, LabelledSplit]) -> None:
    """Write `quality.json` and the picture, over all splits together and for each, and print the agreement."""
    everything = merge_splits(list(splits.values()))
    quality = {
        "topics": model.topics,
        "vocabulary": len(model.documents.vocabulary),
        "fitted_utterances": model.documents.dictionary.num_docs,
        "empty_documents": len(everything.empty),
        "columns": column_quality(everything),
        "splits": {split: split_quality(model, labelled) for split, labelled in splits.items()},
        **model_quality(model, everything.sample),
    }
    plot_topics(Path(settings.out) / PICTURE, everything.labels, model.topics, everything.columns)
    write_json(Path(settings.out) / QUALITY, quality)
    for name, values in quality["columns"].items():
        if "nmi" in values:
            print(f"topics: {name} ({values['values']} values): NMI {values['nmi']:.3f}")
    print(f"topics: {_summary(model.topics, len(everything.paths), len(everything.empty))}")


def _summary(topics: int, recordings: int, empty: int) -> str:
    told = f"{topics} topics, {recordings - empty} of {recordings} recordings have one"
    if not empty:
        return told
    return (
        f"{told}; {empty} have no word (n-gram of units) that is in the vocabulary and get the prior, the same for "
        f"all: {QUALITY} lists them, and a lower no_below makes the vocabulary larger"
    )


def _open_split(settings: TopicSettings, split: str) -> FrameLabels:
    labels = read_labels(_units(settings, split), frame_rate=settings.label_rate or None)
    check_labels_fit(labels, read_manifest(_manifest(settings, split)))
    return labels


def _require_same_units(labels: list[FrameLabels]) -> None:
    first = labels[0]
    for other in labels[1:]:
        same = (first.info.frame_rate, first.info.kmeans_sha256) == (other.info.frame_rate, other.info.kmeans_sha256)
        if not same or (first.info.k != other.info.k and not first.info.bare):
            raise UserError(f"{other.path} and {first.path} are units of different k-means; label both with one")


def _require_units_of(model: TopicModel, path: str, labels: FrameLabels) -> None:
    made, info = model.provenance, labels.info
    same = (made.frame_rate, made.kmeans_sha256) == (info.frame_rate, info.kmeans_sha256)
    if not same or (made.clusters != info.k and not info.bare):
        raise UserError(f"{path} was fitted on units of another k-means than {labels.path}; fit the topics again")


def _all_splits(settings: TopicSettings) -> list[str]:
    """Return the splits whose units are read: those to label, and where a model is fitted, that of the fit."""
    needed = settings.splits if settings.topic_model else [settings.fit_split, *settings.splits]
    return list(dict.fromkeys(needed))


def _units(settings: TopicSettings, split: str) -> Path:
    return Path(settings.units) / f"{split}.km"


def _manifest(settings: TopicSettings, split: str) -> Path:
    return Path(settings.data) / f"{split}.tsv"


def _metadata(settings: TopicSettings) -> Path:
    return Path(settings.data) / METADATA
