"""Which extra of the package brings a library that not everybody needs.

``pip install 'polaris-jax[EXTRA]'`` installs it. The table names import packages; ``setup.py`` has their versions.
"""

EXTRAS = {
    "apache_beam": "beam",
    "gguf": "demo",
    "google.genai": "llm",
    "h11": "serve",
    "jsonschema": "llm",
    "libtpu": "tpu",
    "openai": "llm",
    "prometheus_client": "serve",
    "pyarrow": "parquet",
    "pypandoc": "documents",
    "scipy": "evals",
    "sklearn": "evals",
    "starlette": "serve",
    "tenacity": "llm",
    "tensorboardX": "logging",
    "torch": "nli",
    "transformers": "nli",
    "uvicorn": "serve",
    "wandb": "logging",
}


def missing_extra(error: ModuleNotFoundError) -> str | None:
    """What to install after a failed import, in one line; None when the module is none of an extra's."""
    name = error.name or ""
    extra = EXTRAS.get(name) or EXTRAS.get(name.partition(".")[0])
    return None if extra is None else f"{name} is not installed; run: pip install 'polaris-jax[{extra}]'"
