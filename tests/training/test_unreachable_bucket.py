"""A bucket that does not answer is reported in one line within seconds, not after TensorStore's quarter of an hour."""

import os
import subprocess
import sys

from buckets import environment


def test_training_into_a_bucket_that_does_not_answer_is_refused_before_any_work(material, tmp_path):
    config = tmp_path / "config.py"
    config.write_text(
        "from polaris_jax.training import default_config\n"
        "def get_config():\n"
        "    config = default_config()\n"
        f"    config.model.path = {str(material / 'model')!r}\n"
        f"    config.data.update({{'store': {str(material / 'store')!r}, 'window': 2048, 'batch_size': 1}})\n"
        "    return config\n"
    )
    nobody = environment("http://127.0.0.1:9")  # the discard port: nothing listens there
    ran = subprocess.run(
        [sys.executable, "-m", "polaris_jax.cli", "train", f"--config={config}", "--workdir=gs://library/run"],
        env=os.environ | nobody,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 2, ran.stderr[-2000:]
    said = [line for line in ran.stderr.splitlines() if "google_auth_provider" not in line]
    assert len(said) == 1
    assert "gs://library" in said[0]
    assert "cannot be reached" in said[0]
