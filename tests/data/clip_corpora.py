"""What tests of corpora of clips share."""

from speechssl.data.corpora import CorpusSettings, open_corpus


def entries(name, folder, **settings):
    corpus = open_corpus(CorpusSettings(name=name, audio_dir=str(folder), **settings))
    listed = list(corpus.entries())
    assert all(entry.labels.keys() <= set(corpus.labels) for entry in listed)
    found = {entry.path: entry for entry in listed}
    assert len(found) == len(listed)
    assert all((corpus.root / path).is_file() for path, entry in found.items() if not entry.rejected)
    return found


def reasons(found):
    return {path: entry.rejected for path, entry in found.items() if entry.rejected}


def touch(root, *names):
    """Make empty files: corpora do not read the audio."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
