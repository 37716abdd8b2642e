"""Makes the parity data of this folder with the generator of the given data, for families that it lacks.

    python tests/conformance/parity/make.py PATH/OF/shared/parity/make_golden.py

Needs torch and transformers; the layout of the files is described beside that generator.
"""

import importlib.util
import sys
from pathlib import Path

import transformers

HERE = Path(__file__).parent

spec = importlib.util.spec_from_file_location("make_golden", sys.argv[1])
generator = importlib.util.module_from_spec(spec)
spec.loader.exec_module(generator)
generator.CLASSES["qwen2"] = (transformers.Qwen2Config, transformers.Qwen2ForCausalLM)
sys.argv[1:] = ["--spec", str(HERE / "spec.json"), "--out", str(HERE)]
generator.main()
