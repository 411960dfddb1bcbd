import json
import shutil

import numpy as np

from speechssl.report.clusters import clusters_section
from speechssl.report.findings import input_files, read_findings
from speechssl.report.tables import Table


def texts(table: Table) -> dict[str, list[str]]:
    return {row.name: [cell.text for cell in row.cells] for row in table.rows}


def test_number_and_sizes_of_each_clustering(clip_exp):
    sizes, _ = clusters_section(read_findings(clip_exp)).tables
    assert [column.name for column in sizes.columns] == ["clusters-seed1", "clusters-seed2"]
    assert texts(sizes) == {
        "clusters": ["4", "2"],
        "chosen by": ["highest silhouette, 0.230", "given"],
        "recordings, train": ["75", "75"],
        "largest cluster, train": ["40", "40"],
        "median cluster, train": ["5", "35"],
        "smallest cluster, train": ["0", "35"],
        "empty clusters, train": ["1", "0"],
        "recordings, valid": ["37", "37"],
        "largest cluster, valid": ["20", "20"],
        "median cluster, valid": ["2", "17"],
        "smallest cluster, valid": ["0", "17"],
        "empty clusters, valid": ["1", "0"],
    }


def test_agreement_with_the_metadata_is_mean_and_spread_of_the_seeds(clip_exp):
    _, agreement = clusters_section(read_findings(clip_exp)).tables
    assert [(column.group, column.name, column.better) for column in agreement.columns] == [
        ("", "values", ""),
        ("NMI", "train", "more"),
        ("NMI", "valid", "more"),
        ("homogeneity", "train", "more"),
        ("homogeneity", "valid", "more"),
    ]
    nmi = np.array([0.62, 0.48])
    both, half = (f"{values.mean():.3f} ±\u00a0{values.std(ddof=1):.3f}" for values in (nmi, nmi / 2))
    assert texts(agreement) == {"language": ["5", both, both, half, half], "speaker": ["1", *["\u2013"] * 4]}


def test_what_the_number_was_chosen_by_is_drawn_for_those_that_chose(clip_exp):
    figures = clusters_section(read_findings(clip_exp)).figures
    assert [figure.caption.partition(",")[0] for figure in figures] == [
        "Silhouette of each number of clusters that was tried; the highest counts: clusters-seed1 has 4 clusters",
        *["Sizes of the clusters"] * 2,
        "Clusters and metadata",
    ]
    assert "clusters-seed1 from 40 to 0; clusters-seed2 from 40 to 35" in figures[1].alt
    assert figures[3].alt == "NMI of clusters with metadata: language 0.550."


def test_seeds_come_in_their_order(clip_exp):
    (clip_exp / "clusters-seed1").rename(clip_exp / "clusters-seed10")
    assert list(read_findings(clip_exp).clusters) == ["clusters-seed2", "clusters-seed10"]


def test_a_split_that_one_clustering_lacks_is_told(clip_exp):
    file = clip_exp / "clusters-seed2/quality.json"
    quality = json.loads(file.read_text())
    del quality["valid"]
    file.write_text(json.dumps(quality))
    sizes, agreement = clusters_section(read_findings(clip_exp)).tables
    assert texts(sizes)["recordings, valid"] == ["37", "\u2013"]
    assert texts(agreement)["language"][2] == "0.620"


def test_several_targets_are_told_apart(clip_exp):
    """As `recipes/lape/objectives` leaves them; seeds of one target are summed up, targets are not."""
    (clip_exp / "clusters").mkdir()
    (clip_exp / "clusters-seed1").rename(clip_exp / "clusters/birds-seed1")
    (clip_exp / "clusters-seed2").rename(clip_exp / "clusters/words-seed1")
    (clip_exp / "unfused").mkdir()
    shutil.copytree(clip_exp / "unfused-seed1", clip_exp / "unfused/birds-seed2")
    found = read_findings(clip_exp)
    section = clusters_section(found)
    sizes, agreement = section.tables
    assert [column.name for column in sizes.columns] == ["clusters/birds-seed1", "clusters/words-seed1"]
    nmi = {name: cells[1] for name, cells in texts(agreement).items() if "language" in name}
    assert nmi == {"language, clusters/birds": "0.620", "language, clusters/words": "0.480"}
    assert section.figures[-1].alt == (
        "NMI of clusters with metadata: language, clusters/birds 0.620; language, clusters/words 0.480."
    )
    assert [(run.folder, run.label) for run in found.runs][-1] == ("unfused/birds-seed2", "unfused/birds seed 2")
    assert not any("clusters" in line for line in found.missing)
    assert clip_exp / "clusters/birds-seed1/quality.json" in input_files(clip_exp)


def test_no_clusters_are_no_section(exp):
    assert clusters_section(read_findings(exp)).is_empty()
