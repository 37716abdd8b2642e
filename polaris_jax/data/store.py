"""The token store: every tokenised trajectory in five TensorStore arrays, on a disk or in a bucket.

    STORE/manifest.json            the contents; written last, atomically: without it there is no store
    STORE/generation-000001/
        tokens        int32 [total]             all trajectories, end to end
        offsets       int64 [n + 1]             where each begins in tokens
        runs          int32 [r, 4]              start, length, role, kind (see record.Runs)
        run_weights   float32 [r]
        run_offsets   int64 [n + 1]             where each trajectory's runs begin

The arrays are zarr v3 with sharded chunks: one file per 4 Mi tokens, of which a reader fetches only the 64 Ki-token
pieces it needs, each with its CRC-32C. Missing pieces are errors, never zeros. A rebuild writes the next generation
beside the old one, which stays readable until the new manifest replaces the old one.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import tensorstore as ts

from polaris_jax.data import layout
from polaris_jax.data.record import Runs, Trajectory
from polaris_jax.data.tokenizer import Tokenizer
from polaris_jax.errors import InputError
from polaris_jax.storage import brief, kvstore


@dataclass(frozen=True)
class Entry:
    """What the manifest says about one trajectory.

    Attributes:
      n_tokens: its length.
      sha256: of its tokens, runs and weights (hex).
      meta: the caller's metadata: title, author, split, truncated, ...
    """

    n_tokens: int
    sha256: str
    meta: dict[str, Any]

    @classmethod
    def of(cls, trajectory: Trajectory, meta: Mapping[str, object]) -> "Entry":
        """The manifest entry of a trajectory with this metadata (JSON values)."""
        return cls(len(trajectory), _sha256(trajectory.tokens, Runs.of(trajectory)), json.loads(json.dumps(dict(meta))))


class TokenStore:
    """A committed store, read only. ``TokenStore.open`` reads one, ``TokenStore.create`` builds one.

    Attributes:
      path: as it was given to ``open``.
      entries: one ``Entry`` per trajectory.
      content_hash: sha256 (hex) over tokenizer and entries; equal hashes mean equal data.
    """

    def __init__(self, path: str, manifest: Mapping[str, Any], arrays: dict[str, ts.TensorStore]):
        self.path = path
        self.entries = [Entry(**entry) for entry in manifest["trajectories"]]
        self.content_hash: str = manifest["content_hash"]
        self._arrays = arrays
        self.lengths = np.array([entry.n_tokens for entry in self.entries], np.int64)
        self._offsets = np.concatenate([[0], np.cumsum(self.lengths)])
        self._run_offsets = arrays["run_offsets"].read().result()

    @staticmethod
    def create(path: str | os.PathLike[str], tokenizer: Tokenizer) -> "StoreWriter":
        """Begins a store at a local path or ``gs://bucket/prefix``; nothing is visible before ``commit``."""
        return StoreWriter(path, tokenizer)

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], tokenizer: Tokenizer | None = None, *, cache_bytes: int = 1 << 28
    ) -> "TokenStore":
        """Opens a committed store.

        Args:
          path: local path or ``gs://bucket/prefix``.
          tokenizer: if given, it must be the one the store was made with.
          cache_bytes: memory for decoded pieces that neighbouring reads share.

        Raises:
          InputError: no store there, a damaged manifest, or another tokenizer.
        """
        manifest = layout.read_manifest(path)
        if manifest is None:
            raise InputError("store", str(path), f"has no {layout.MANIFEST}; build the store first")
        if tokenizer is not None and tokenizer.fingerprint != manifest["tokenizer"]:
            raise InputError(
                "tokenizer",
                tokenizer.fingerprint[:12],
                f"the store was made with another one ({manifest['tokenizer'][:12]}); load that one, or rebuild",
            )
        root = kvstore(path) + layout.generation(manifest["generation"])
        context = ts.Context({"cache_pool": {"total_bytes_limit": cache_bytes}})
        opened = {name: ts.open(layout.reading(root, name), context=context) for name in layout.ARRAYS}
        try:
            return cls(str(path), manifest, {name: future.result() for name, future in opened.items()})
        except ValueError as error:
            raise InputError("store", str(path), f"is damaged ({error}); {layout.REBUILD}") from error

    def __len__(self) -> int:
        return len(self.entries)

    def meta(self, index: int) -> dict[str, Any]:
        """The caller's metadata of a trajectory."""
        return dict(self.entries[index].meta)

    def where(self, **wanted: object) -> np.ndarray:
        """Indices (int64) of the trajectories whose metadata has these values, e.g. ``where(split="train")``."""
        hits = [i for i, e in enumerate(self.entries) if all(e.meta.get(key) == value for key, value in wanted.items())]
        return np.array(hits, np.int64)

    def read(self, index: int, start: int = 0, stop: int | None = None) -> Trajectory:
        """Tokens ``start`` to ``stop`` (default: all) of a trajectory, fetching only the pieces they lie in."""
        return self.read_many([(index, start, self.entries[index].n_tokens if stop is None else stop)])[0]

    def read_many(self, ranges: Sequence[tuple[int, int, int]]) -> list[Trajectory]:
        """``read`` of several ``(index, start, stop)`` at once; all fetches are in flight together.

        Raises:
          InputError: a piece is missing or its checksum is wrong, or the bucket stays out of reach.
        """
        pending = []
        for index, start, stop in ranges:
            if not (0 <= index < len(self) and 0 <= start <= stop <= self.entries[index].n_tokens):
                raise IndexError(f"trajectory {index}[{start}:{stop}] is outside the store")
            base, runs = self._offsets[index], slice(*self._run_offsets[index : index + 2].tolist())
            pending.append(
                (
                    self._arrays["tokens"][base + start : base + stop].translate_to[0].read(),
                    self._arrays["runs"][runs].translate_to[0, 0].read(),
                    self._arrays["run_weights"][runs].translate_to[0].read(),
                    start,
                )
            )
        try:
            return [
                Runs(runs.result(), weights.result()).expand(tokens.result(), start)
                for tokens, runs, weights, start in pending
            ]
        except ValueError as error:  # how TensorStore reports all of these
            raise InputError("store", self.path, f"is damaged or out of reach ({brief(error)})") from error

    def verify(self) -> list[str]:
        """Reads everything again, without the cache, and compares it with the manifest.

        Returns:
          One line per damaged trajectory or array; an empty list means the store is whole, to the bit.
        """
        damage = []
        fresh = TokenStore.open(self.path, cache_bytes=0)
        if fresh.content_hash != self.content_hash:
            return [f"the store at {self.path} has been rebuilt since it was opened"]
        try:
            if not np.array_equal(fresh._arrays["offsets"].read().result(), fresh._offsets):
                damage.append("offsets: disagree with the manifest")
        except ValueError as error:
            damage.append(f"offsets: {error}")
        for index, entry in enumerate(fresh.entries):
            try:
                trajectory = fresh.read(index)
                if _sha256(trajectory.tokens, Runs.of(trajectory)) != entry.sha256:
                    damage.append(f"trajectory {index}: content differs from its sha256")
            except InputError as error:
                damage.append(f"trajectory {index}: {error}")
        return damage


class StoreWriter:
    """Builds one generation of a store.

    As a context manager, it commits at the end; after an exception it deletes what it has written.
    """

    def __init__(self, path: str | os.PathLike[str], tokenizer: Tokenizer):
        old = layout.read_manifest(path)
        self._path, self._tokenizer = path, tokenizer
        self._generation = 1 + (old["generation"] if old else 0)
        root = kvstore(path) + layout.generation(self._generation)
        try:
            layout.delete_generations(path, keep={self._generation - 1})  # leftovers of builds that died
            self._arrays = {name: ts.open(layout.creating(root, name), create=True).result() for name in layout.ARRAYS}
        except ValueError as error:
            raise InputError("store", str(path), f"cannot be written there ({error})") from error
        self._buffers: dict[str, list[np.ndarray]] = {name: [] for name in layout.ARRAYS}
        self._held = dict.fromkeys(layout.ARRAYS, 0)
        self._written = dict.fromkeys(layout.ARRAYS, 0)
        self._entries: list[Entry] = []
        self._ends = {"offsets": 0, "run_offsets": 0}
        for name in self._ends:
            self._put(name, np.zeros(1, np.int64))

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.commit()
        else:
            layout.delete_generations(self._path, keep={self._generation - 1})

    def append(self, trajectory: Trajectory, meta: Mapping[str, object]) -> None:
        """Adds a trajectory with its metadata (JSON values: title, author, split, truncated, ...)."""
        if not len(trajectory):
            raise InputError("trajectory", dict(meta), "has no tokens")
        if trajectory.tokens.min() < 0 or trajectory.tokens.max() >= self._tokenizer.vocab_size:
            raise InputError("trajectory", dict(meta), "has ids outside the tokenizer's vocabulary")
        tokens, runs = trajectory.tokens.astype(np.int32), Runs.of(trajectory)
        self._ends["offsets"] += len(tokens)
        self._ends["run_offsets"] += len(runs.weights)
        for name, end in self._ends.items():
            self._put(name, np.array([end], np.int64))
        self._put("tokens", tokens)
        self._put("runs", runs.table)
        self._put("run_weights", runs.weights)
        self._entries.append(Entry.of(trajectory, meta))

    def commit(self) -> TokenStore:
        """Publishes the build as the store, in one atomic step, and opens it.

        The generation that it replaces is kept for readers that have it open; older ones are deleted.
        """
        if not self._entries:
            raise InputError("store", str(self._path), "nothing was appended; an empty store is not written")
        for name in layout.ARRAYS:
            self._flush(name, everything=True)
            columns = [None] * (self._arrays[name].rank - 1)
            self._arrays[name].resize(exclusive_max=[self._written[name], *columns], resize_metadata_only=True).result()
        body = {
            "format": layout.FORMAT,
            "generation": self._generation,
            "tokenizer": self._tokenizer.fingerprint,
            "trajectories": [asdict(entry) for entry in self._entries],
        }
        body["content_hash"] = layout.content_hash(body)
        folder = ts.KvStore.open(kvstore(self._path)).result()
        folder.write(layout.MANIFEST, json.dumps(body, ensure_ascii=False, indent=1).encode()).result()
        layout.delete_generations(self._path, keep={self._generation - 1, self._generation})
        return TokenStore.open(self._path)

    def _put(self, name: str, array: np.ndarray) -> None:
        self._buffers[name].append(array)
        self._held[name] += len(array)
        if self._held[name] >= layout.SHARD:
            self._flush(name)

    def _flush(self, name: str, everything: bool = False) -> None:
        """Writes whole shards, so that every file is written once; ``everything`` also writes the rest."""
        size = self._held[name] if everything else self._held[name] // layout.SHARD * layout.SHARD
        if not size:
            return
        data = np.concatenate(self._buffers[name])
        self._arrays[name][self._written[name] : self._written[name] + size].write(data[:size]).result()
        self._buffers[name] = [data[size:]]
        self._held[name] -= size
        self._written[name] += size


def _sha256(tokens: np.ndarray, runs: Runs) -> str:
    digest = hashlib.sha256()
    for array, dtype in ((tokens, "<i4"), (runs.table, "<i4"), (runs.weights, "<f4")):
        digest.update(len(array).to_bytes(8, "little") + np.ascontiguousarray(array, dtype).tobytes())
    return digest.hexdigest()
