"""One encoder's search: the layer is chosen on validation, and the test part is searched in it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from speechssl.evaluation.encoders.contestants import Contestant
from speechssl.evaluation.superb.data import TaskData
from speechssl.evaluation.superb.grouping import rows_by_value
from speechssl.evaluation.superb.search.layers import MIN_FRAMES, search_layers
from speechssl.evaluation.superb.search.terms import Terms, read_terms
from speechssl.evaluation.superb.settings import SuperbSettings
from speechssl.evaluation.superb.states import FrozenEncoder, States
from speechssl.evaluation.superb.store import StateStore
from speechssl.evaluation.superb.tasks import SEARCHES
from speechssl.models.device import pick_device
from speechssl.models.encoder import Encoder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchScore:
    """What the search in the best layer gave."""

    layer: int
    """The chosen one: 0 is what goes into the first layer."""
    threshold: float | None
    """The best one on validation. None: there, to find nothing is best."""
    valid: Mapping[str, float]
    test: Mapping[str, float]
    groups: Mapping[str, Mapping[str, Mapping[str, float]]]
    """Column of the test queries -> value -> scores of those that have it, and `utterances`, how many those are."""
    tried: Sequence[Mapping[str, float]]
    """Of every layer: `layer`, and `mtwv` on validation."""
    predictions: Mapping[str, float]
    """How well each test document matches each query, by both names."""

    @property
    def posteriors(self) -> None:
        """A search has none."""
        return None

    def to_json(self) -> dict[str, Any]:
        """Return all but the predictions."""
        return {name: value for name, value in asdict(self).items() if name != "predictions"}


class TermSearch:
    """QbE: spoken queries are searched in documents, by subsequence DTW over the frames of one hidden state.

    The layer is the one with the largest term-weighted value of the validation part, as in s3prl's
    `downstream/quesst14_dtw`. Nothing of a search is kept: a killed one begins again, with the stored hidden states.

    Args:
        data: of the task.
        settings: of the command.
        groups: columns of the test queries whose values have scores of their own.
    """

    protocol = (
        "frozen encoder; layer chosen on the validation part by the first score; the test part read once after that"
    )

    def __init__(self, data: TaskData, settings: SuperbSettings, groups: Sequence[str]) -> None:
        self._settings = settings
        self._groups = groups
        self._device = pick_device(settings.device)
        self._terms = {part: read_terms(data, part) for part in ("valid", "test")}

    def facts(self) -> dict[str, Any]:
        """Return what a reader of the results should know of the scores and the data."""
        notes = [
            "mtwv: the largest term-weighted value of all thresholds; atwv: that at the best threshold of valid",
            *(f"{part}: {terms.note()}" for part, terms in self._terms.items()),
        ]
        return {"metrics": ["mtwv", "atwv"], "lower_is_better": False, "notes": notes}

    def score(self, rival: Contestant) -> tuple[Encoder, SearchScore]:
        """Compute the encoder's hidden states, or find them, and search in them."""
        started = time.monotonic()
        encoder = rival.build()
        gain = SEARCHES[self._settings.task].gain
        frozen = FrozenEncoder(encoder, rival.source, self._device, gain, self._settings.batch_seconds)
        states = self._states(frozen)
        encoded = time.monotonic()
        layers = list(range(frozen.layers))
        valid, test = self._terms.values()
        values = [
            valid.values(found, range(len(valid.queries))).best()
            for found in self._search("valid", states, layers, rival.source)
        ]
        layer = max(layers, key=lambda layer: values[layer][0])
        best, threshold = values[layer]
        (found,) = self._search("test", states, [layer], rival.source)
        score = SearchScore(
            layer=layer,
            threshold=threshold if math.isfinite(threshold) else None,
            valid={"mtwv": best, "atwv": best},
            test=_scores(test, found, range(len(test.queries)), threshold),
            groups={column: _by_value(test, found, column, threshold) for column in self._groups},
            tried=[{"layer": layer, "mtwv": value} for layer, (value, _) in enumerate(values)],
            predictions=_pairs(test, found),
        )
        logger.info(
            "%s (%s): encoding %.1f s, search %.1f s",
            rival.name,
            rival.source,
            encoded - started,
            time.monotonic() - encoded,
        )
        return encoder, score

    def _states(self, frozen: FrozenEncoder) -> dict[str, tuple[States, States]]:
        """Return the hidden states of queries and documents of each part; documents of both are encoded once."""
        store = StateStore(self._settings.cache_dir, self._settings.cache_gb * 1e9)
        task = self._settings.task
        return {
            part: (
                store.states(frozen, terms.queries, False, f"{task} {part}_queries"),
                store.states(frozen, terms.documents, False, f"{task} {part}_documents"),
            )
            for part, terms in self._terms.items()
        }

    def _search(
        self, part: str, states: Mapping[str, tuple[States, States]], layers: Sequence[int], source: str
    ) -> npt.NDArray[np.float64]:
        queries, documents = states[part]
        short = int((queries.frames < MIN_FRAMES).sum())
        if short:
            print(
                f"superb: {short} queries of {part} are shorter than {MIN_FRAMES} frames of {source}: to them all "
                "documents are alike"
            )
        return search_layers(queries, documents, layers, self._device, f"{part}: search with {source}")


def _scores(terms: Terms, found: npt.NDArray[np.float64], rows: Sequence[int], threshold: float) -> dict[str, float]:
    """Return the scores of some queries; none where none of them is in a document."""
    values = terms.values(found, rows)
    return {"mtwv": values.best()[0], "atwv": values.at(threshold)} if values.queries else {}


def _by_value(
    terms: Terms, found: npt.NDArray[np.float64], column: str, threshold: float
) -> dict[str, dict[str, float]]:
    """Return the scores of each value of a column. Queries without one are a group of their own, `unknown`."""
    return {
        value: {**_scores(terms, found, rows, threshold), "utterances": float(len(rows))}
        for value, rows in rows_by_value(terms.queries, column).items()
    }


def _pairs(terms: Terms, found: npt.NDArray[np.float64]) -> dict[str, float]:
    return {
        f"{query.name} {document.name}": round(float(score), 4)
        for query, of_query in zip(terms.queries, found, strict=True)
        for document, score in zip(terms.documents, of_query, strict=True)
    }
