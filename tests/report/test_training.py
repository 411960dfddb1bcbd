from speechssl.report.findings import read_findings
from speechssl.report.training import training_section


def test_runs_on_clips_are_drawn_by_what_they_measure(clip_exp):
    section = training_section(read_findings(clip_exp))
    assert [figure.caption for figure in section.figures] == [
        "Cluster loss (nats a clip), train",
        "Distillation loss, of all terms, train",
        "Distillation loss, of all terms, valid",
        "Pseudo-label accuracy, train",
        "Pseudo-label accuracy, valid",
        "RankMe, valid",
        "Feature variance, valid",
        "Accuracy of nearest neighbours, valid",
    ]
    told = {figure.caption: figure.alt for figure in section.figures + section.more_figures}
    assert (
        "pretrained seed 1 ends at 3.000; pretrained seed 2 ends at 3.000." in told["Cluster loss (nats a clip), train"]
    )
    assert "unfused" not in told["RankMe, valid"]
    assert "unfused seed 2 ends at 0.250" in told["Pseudo label accuracy tap1, valid"]


def test_collapse_stands_in_a_table_of_first_lowest_and_last(clip_exp):
    section = training_section(read_findings(clip_exp))
    ended, collapse = section.tables
    assert [(column.group, column.name) for column in collapse.columns[:4]] == [
        *(("RankMe", when) for when in ("first", "lowest", "last")),
        ("feature variance", "first"),
    ]
    assert {row.name: [cell.text for cell in row.cells] for row in collapse.rows} == {
        "pretrained seed 1": ["20.0", "15.0", "30.0", "0.200", "0.150", "0.300", "0.400", "0.300", "0.600"],
        "pretrained seed 2": ["20.0", "1.020", "1.020", "0.200", "0.010", "0.010", "0.400", "0.020", "0.020"],
    }
    last = {row.name: [cell.text for cell in row.cells] for row in ended.rows}
    assert last["pseudo-label accuracy, valid"] == ["\u2013", "0.650 ±\u00a00.071"]


def test_masked_pretraining_has_no_table_of_collapse(exp):
    assert [table.caption for table in training_section(read_findings(exp)).tables] == ["Where the runs ended"]


def test_folders_of_clusters_are_no_runs(clip_exp):
    labels = [run.label for run in read_findings(clip_exp).runs]
    assert labels == ["pretrained seed 1", "pretrained seed 2", "unfused seed 1", "unfused seed 2"]
