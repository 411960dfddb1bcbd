"""Entry point: `speechssl COMMAND [group=option] [key=value]`."""

from __future__ import annotations

import errno
import importlib
import logging
import os
import sys
from typing import Any

from speechssl import __version__
from speechssl.errors import UserError, nearest
from speechssl.files import DISK_FULL

_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
"""Not permitted, or on a disk that cannot be written."""

_OTHER_PATH = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOTEMPTY)
"""A file where a folder is needed, or the other way round, or something is there already."""

_GO_ON = "run the same command again: what is finished stays, and training goes on from its newest checkpoint"

_FEWER_CLIPS = "lower clips (with another out=, for it changes what is learned)"
_SMALLER_BATCHES = "give smaller batches or shorter audio (--help lists the settings), or another device"
_SMALLER = {
    "pretrain": "lower batch.seconds, which with batch.fit=pad changes nothing but speed",
    "pretrain_clips": _FEWER_CLIPS,
    "distill": _FEWER_CLIPS,
    "finetune": _FEWER_CLIPS,
}
"""What a command can do about a GPU that is too small."""

COMMANDS = {
    "doctor": "say what is installed, what clashes, and what to do about it",
    "manifest": "list a corpus: manifests, metadata, rejected files",
    "kmeans": "fit k-means on features of a manifest",
    "label": "turn audio into frame labels with a fitted k-means",
    "topics": "fit a topic model on frame labels; one label and posterior an utterance",
    "pretrain": "HuBERT and HuBERTopic masked pretraining",
    "pretrain_clips": "pretrain an encoder of clips on unlabelled audio: DECAR, Barlow Twins, MoCo and relatives",
    "training_part": "list the recordings of a LAPE task without those that it tests",
    "cluster": "cluster whole recordings by what an encoder makes of them",
    "distill": "train a fresh encoder of clips on clusters, by self-distillation (UnFuSeD)",
    "finetune": "fine-tune an encoder on classes; the best epoch on held-out audio stays",
    "pseudo_label": "label unlabelled recordings by a fine-tuned classifier, where nearest neighbours agree",
    "evaluate": "frozen encoders side by side: probes, or a benchmark (LAPE, HEAR, SUPERB)",
    "export": "write an encoder for s3prl or Hugging Face, checked against our own",
    "report": "one HTML page and a RESULTS.md from what a run left behind",
}
"""Name and summary of every command; `speechssl/cli/<name>.py` holds its `COMMAND`."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit status. Errors that a user can mend are one line on standard error."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if arguments[0] == "--version":
        print(__version__)
        return 0
    name = arguments[0]
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    try:
        _run(name, arguments[1:])
    except UserError as error:
        print(f"speechssl {name}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output, e.g. `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        message = _system_message(error, name)
        if message is None:
            raise
        print(f"speechssl {name}: {message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"speechssl {name}: interrupted; {_GO_ON}", file=sys.stderr)
        return 130
    return 0


def _system_message(error: BaseException | None, command: str) -> str | None:
    """Return what to say of an error of the system or the installation that the user can mend, `None` for any other.

    It is the error itself, or one that it was raised from (as fairseq2 does).
    """
    # Not imported here: it is slow, and where there is such an error it is there.
    torch = sys.modules.get("torch")
    while error is not None:
        missing = error.name.split(".")[0] if isinstance(error, ModuleNotFoundError) and error.name else "speechssl"
        if missing != "speechssl":
            return (
                f"the package '{missing}' is not installed; `speechssl doctor` says which extra brings it "
                "(all of them: pip install -e '.[train,superb,export]' in the project's folder)"
            )
        if torch is not None and isinstance(error, torch.OutOfMemoryError):
            return f"the GPU's memory is full: {_SMALLER.get(command, _SMALLER_BATCHES)}, or end what else is using it"
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            where = f" while writing {error.filename}" if error.filename else ""
            return (
                f"the disk is full{where}; free some space and run the same command again: "
                "finished files are kept and no half-written file is left"
            )
        if isinstance(error, OSError) and error.errno in _OTHER_PATH and error.filename:
            return f"{error.filename}: {error.strerror}; give a folder, or a path that is not taken"
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG and error.filename:
            return f"{error.filename}: {error.strerror}; give a shorter one"
        if isinstance(error, OSError) and error.errno in _DENIED and error.filename:
            return f"{error.filename}: {error.strerror}; change its permissions, or give another file or folder"
        error = error.__cause__
    return None


def _run(name: str, arguments: list[str]) -> None:
    if name not in COMMANDS:
        raise UserError(f"no command named '{name}'{nearest(name, COMMANDS)} (known: {', '.join(COMMANDS)})")
    command = _load(name)
    if command.settings is type(None):
        _run_without_settings(command, arguments)
        return
    from speechssl.cli import configuration
    from speechssl.cli.help import command_help

    if _asks_for_help(arguments):
        print(command_help(command, arguments))
    elif "--cfg" in arguments:
        at = arguments.index("--cfg")
        if arguments[at + 1 : at + 2] != ["job"]:
            raise UserError("--cfg takes `job`")
        from omegaconf import OmegaConf

        overrides = _overrides(arguments[:at] + arguments[at + 2 :])
        print(OmegaConf.to_yaml(configuration.compose_config(command, overrides)), end="")
    else:
        settings = configuration.load_settings(command, _overrides(arguments))
        chosen, _ = command.chosen(arguments)
        chosen.run_unless_done(settings)


def _run_without_settings(command: Any, arguments: list[str]) -> None:
    if _asks_for_help(arguments):
        print(f"speechssl {command.name}: {command.summary}; it has no settings")
    elif arguments:
        raise UserError(f"it has no settings, so '{arguments[0]}' means nothing: leave it out")
    else:
        command.run(None)


def _asks_for_help(arguments: list[str]) -> bool:
    return "-h" in arguments or "--help" in arguments


def _overrides(arguments: list[str]) -> list[str]:
    """Return the arguments; one that is no setting is a `UserError`."""
    flags = [argument for argument in arguments if argument.startswith("-")]
    if flags:
        raise UserError(f"unknown option '{flags[0]}': settings are given as key=value (see --help)")
    return arguments


def _load(name: str) -> Any:
    return importlib.import_module(f"speechssl.cli.{name}").COMMAND


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        [
            "speechssl: self-supervised learning on audio and speech",
            "",
            "usage: speechssl COMMAND [group=option] [key=value]",
            "",
            "commands:",
            *lines,
            "",
            "`speechssl COMMAND --help` lists its settings with examples; `--cfg job` prints the whole configuration.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
