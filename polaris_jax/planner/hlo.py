"""Reads the communication of a compiled program: each collective, how often it runs, and what runs meanwhile.

The compiler's own cost analysis counts the body of a loop once. Here the scheduled program is walked from its entry,
multiplying by the trip counts of loops. On TPU a collective hides behind computation in one of two ways: as a start and
a done with work scheduled between them, or cut into steps inside fusions (``chain_id``). Any other collective stops the
device until it is done.

Data for other slices leaves the device in a ``send`` to the Megascale runtime on the host, which does the collective
over the data-centre network. The result comes back in the ``recv`` of the same rendezvous.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

_MOVES = ("fusion", "copy", "reduce", "scatter", "sort", "dynamic-update-slice", "transpose")
ICI, DCN = "ici", "dcn"  # links inside a slice; the data-centre network between slices
KINDS = ("all-gather", "reduce-scatter", "all-reduce", "all-to-all", "collective-permute")
_BYTES = {
    "pred": 1,
    "s8": 1,
    "u8": 1,
    "bf16": 2,
    "f16": 2,
    "s16": 2,
    "u16": 2,
    "f32": 4,
    "s32": 4,
    "u32": 4,
    "f64": 8,
    "s64": 8,
    "u64": 8,
    "f8e4m3fn": 1,
    "f8e5m2": 1,
}
_ARRAY = re.compile(r"\b([a-z]+[0-9]*(?:e\d+m\d+\w*)?)\[([\d,]*)\]")
_HEADER = re.compile(r"^(ENTRY )?%?(\S+) \(.*\{\s*$")
_LINE = re.compile(r"^  (?:ROOT )?%(\S+) = (.*?) ([a-z][a-z0-9-]*)\((.*)$")
_CALLED = re.compile(r"\b(calls|body|condition|to_apply|branch_computations|called_computations)=(\{[^}]*\}|%[\w.-]+)")
_OP_NAME = re.compile(r'op_name="([^"]*)"')
_MEGASCALE = re.compile(r'_xla_host_transfer_rendezvous="([^"]*)".*_xla_megascale_transfer_type="(\w+)"')
_CHAIN = re.compile(r'chain_id="(\d+)"')
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')


@dataclass(frozen=True)
class Instruction:
    """One line of the schedule; ``result`` and ``rest`` are its text before and after the opcode."""

    name: str
    result: str
    opcode: str
    rest: str

    @property
    def op_name(self) -> str:
        match = _OP_NAME.search(self.rest)
        return match[1] if match else ""

    def called(self, *roles: str) -> list[str]:
        return [
            name
            for role, names in _CALLED.findall(self.rest)
            if role in roles
            for name in re.findall(r"%([\w.-]+)", names)
        ]


@dataclass(frozen=True)
class Collective:
    """One kind of collective at one kind of place in the step.

    Attributes:
      where: forward, backward or optimizer, and whether in a loop (over layers or hops).
      count: executions per step, trip counts included.
      bytes: per device and step: what it sends in permutes, all-to-alls and reductions, what it holds after a gather.
      asynchronous: whether the device can do other work meanwhile.
      overlapped_with: what is scheduled meanwhile: "attention", "matmul", "loop", "other", or "nothing".
      network: "ici" inside a slice, "dcn" between slices.
    """

    kind: str
    where: str
    count: int
    bytes: int
    asynchronous: bool
    overlapped_with: str
    network: str = ICI


@dataclass
class Program:
    """A scheduled module: computations by name, and how often each runs per step."""

    entry: str
    computations: dict[str, list[Instruction]]
    runs: dict[str, int] = field(default_factory=dict)


def estimated_cycles(instruction: Instruction) -> int:
    """The TPU compiler's estimate for one run of one of its operations; 0 if it gives none."""
    found = _CYCLES.search(instruction.rest)
    return int(found[1]) if found else 0


def all_estimated_cycles(program: Program) -> int:
    """The sum of ``estimated_cycles`` over all runs of all operations."""
    return sum(times * sum(map(estimated_cycles, program.computations[name])) for name, times in program.runs.items())


def read_program(text: str) -> Program:
    """Parses a scheduled HLO module as XLA dumps it."""
    computations: dict[str, list[Instruction]] = {}
    entry, current = "", None
    for line in text.splitlines():
        if not line.startswith(" "):
            header = _HEADER.match(line)
            if header:
                current = computations.setdefault(header[2], [])
                entry = header[2] if header[1] else entry
        elif current is not None and (match := _LINE.match(line)):
            current.append(Instruction(*match.groups()))
    program = Program(entry, computations)
    _count(program, entry, 1)
    return program


def _count(program: Program, name: str, times: int) -> None:
    program.runs[name] = program.runs.get(name, 0) + times
    for instruction in program.computations[name]:
        if instruction.opcode == "while":
            trips = _trips(program, instruction)
            for body in instruction.called("body"):
                _count(program, body, times * trips)
        elif instruction.opcode in ("conditional", "call"):
            for callee in instruction.called("branch_computations", "to_apply", "called_computations"):
                _count(program, callee, times)


def _trips(program: Program, loop: Instruction) -> int:
    """How often a loop runs: what XLA says, or the constant that its condition compares a counter from 0 with."""
    known = re.search(r'known_trip_count":\{"n":"(\d+)"', loop.rest)
    if known:
        return int(known[1])
    condition = program.computations[loop.called("condition")[0]]
    constants = {i.name: int(m[1]) for i in condition if i.opcode == "constant" and (m := re.match(r"(\d+)\)", i.rest))}
    for instruction in condition:
        if instruction.opcode == "compare" and "direction=LT" in instruction.rest:
            for operand in re.findall(r"%([\w.-]+)", instruction.rest.split(")")[0]):
                if operand in constants:
                    return constants[operand]
    return 1  # a loop whose length depends on data


def collectives(program: Program) -> list[Collective]:
    """All collectives of a step, equal ones added up, most bytes first."""
    rows: dict[tuple[str, str, bool, str, str], list[int]] = defaultdict(lambda: [0, 0])
    events = [(*event, ICI) for event in _events(program)] + [(*event, DCN) for event in _between_slices(program)]
    for times, kind, size, asynchronous, meanwhile, where, network in events:
        row = rows[kind, f"{where}, {'in a loop' if times > 1 else 'once'}", asynchronous, meanwhile, network]
        row[0] += times
        row[1] += times * size
    return sorted(
        (
            Collective(kind, where, count, size, asynchronous, meanwhile, network)
            for (kind, where, asynchronous, meanwhile, network), (count, size) in rows.items()
        ),
        key=lambda c: -c.bytes,
    )


def kernel_runs(program: Program) -> dict[str, int]:
    """How often each Pallas kernel runs per step, by its name."""
    runs: dict[str, int] = defaultdict(int)
    for name, times in program.runs.items():
        for instruction in program.computations[name]:
            for inner in (instruction, *_inside(program, instruction)):
                if _is_kernel(inner):
                    runs[re.sub(r"[.\d]+$", "", inner.name)] += times
    return dict(runs)


def matmul_flops(program: Program) -> int:
    """Floating-point operations of all matrix products, per device and step; every branch of a conditional counts."""
    total = 0
    for name, times in program.runs.items():
        waiting = [(name, instruction) for instruction in program.computations[name]]
        while waiting:
            home, instruction = waiting.pop()
            if instruction.opcode in ("dot", "convolution"):
                total += times * _product_flops(program.computations[home], instruction)
            elif instruction.opcode in ("fusion", "async-start"):
                waiting += [
                    (callee, inner)
                    for callee in instruction.called("calls", "called_computations")
                    for inner in program.computations.get(callee, ())
                ]
    return total


def _product_flops(computation: list[Instruction], product: Instruction) -> int:
    """Two per term of every sum. TPU writes products as convolutions, and batched products with a dilated window."""
    left = _found(r"%([\w.-]+)", product.rest)[1]
    shape = next(_dims(i.result) for i in computation if i.name == left)
    if product.opcode == "dot":
        dims = _found(r"lhs_contracting_dims=\{([\d,]*)\}", product.rest)[1]
        summed = [shape[int(dim)] for dim in dims.split(",") if dim]
    else:
        summed = [shape[_found(r"dim_labels=(\w+)_", product.rest)[1].index("f")]]
    return 2 * math.prod(_dims(product.result)) * math.prod(summed)


def _dims(text: str) -> list[int]:
    """The shape of the first array named in a type."""
    return [int(dim) for dim in _found(_ARRAY, text)[2].split(",") if dim]


def _found(pattern: str | re.Pattern[str], text: str) -> re.Match[str]:
    """The first match of a pattern that every program of XLA has.

    Raises:
      ValueError: there is no match; the text is from another compiler.
    """
    match = re.search(pattern, text)
    if match is None:
        raise ValueError(f"no {pattern!r} in the compiler's program: {text[:200]}")
    return match


def _events(program: Program) -> Iterator[tuple[int, str, int, bool, str, str]]:
    """(runs per step, kind, bytes, asynchronous, meanwhile, where) of every collective."""
    steps: dict[str, list[tuple[str, int, Instruction]]] = defaultdict(list)  # of collectives inside fusions
    for name, times in program.runs.items():
        schedule = program.computations[name]
        phase = _phase(schedule)
        for place, instruction in enumerate(schedule):
            for held in (instruction, *_inside(program, instruction)):
                kind = held.opcode.removesuffix("-start")
                if kind not in KINDS:
                    continue
                if chain := _CHAIN.search(held.rest):
                    steps[chain[1]].append((name, place, held))
                    continue
                if "all-reduce-scatter" in instruction.rest:  # TPU's form of a reduce-scatter along a minor axis
                    kind = "reduce-scatter"
                started = instruction.opcode.endswith("-start")
                meanwhile = _work(program, schedule[place + 1 : _done(schedule, place)]) if started else "nothing"
                where = _where(held.op_name or instruction.op_name) or phase
                yield times, kind, _size(kind, held), started, meanwhile, where
    for parts in steps.values():
        # The steps of one collective may reach into a loop that runs meanwhile; the collective still runs once.
        outer = min((name for name, _, _ in parts), key=lambda name: program.runs[name])
        places = [place for name, place, _ in parts if name == outer]
        meanwhile = _work(program, program.computations[outer][min(places) : max(places) + 1])
        held = parts[0][2]
        where = _where(held.op_name) or _phase(program.computations[outer])
        yield program.runs[outer], held.opcode, _size(held.opcode, held), True, meanwhile, where


def _between_slices(program: Program) -> Iterator[tuple[int, str, int, bool, str, str]]:
    """As ``_events``, of every collective over the data-centre network."""
    for name, times in program.runs.items():
        schedule = program.computations[name]
        ends: dict[str, list[tuple[int, Instruction]]] = defaultdict(list)
        kinds: dict[str, str] = {}
        for place, instruction in enumerate(schedule):
            if instruction.opcode in ("send", "recv") and (found := _MEGASCALE.search(instruction.rest)):
                ends[found[1]].append((place, instruction))
                kinds[found[1]] = found[2].lower().replace("_", "-")
        for rendezvous, both in ends.items():
            kind = kinds[rendezvous] if kinds[rendezvous] in KINDS else "collective-permute"
            sent = [pair for pair in both if pair[1].opcode == "send"]
            start = max(place for place, _ in both)
            done = min(_done(schedule, place) for place, each in both if each.opcode == "recv" or len(both) == 1)
            size = max(_first_array(instruction) for _, instruction in both)
            where = _where(_origin(schedule, sent[0][1])) if sent else ""
            yield times, kind, size, True, _work(program, schedule[start + 1 : done]), where or _phase(schedule)


def _first_array(instruction: Instruction) -> int:
    """Bytes of what a send or recv carries: (array, context, token)."""
    found = _ARRAY.search(instruction.result)
    return array_bytes(found[0]) if found else 0


def _origin(schedule: list[Instruction], instruction: Instruction) -> str:
    """The name of the operation that made an operand; operations that only move it have no name and are skipped."""
    by_name = {each.name: each for each in schedule}
    for _ in range(8):
        if instruction.op_name:
            break
        operand = re.search(r"%([\w.-]+)", instruction.rest)
        if operand is None or operand[1] not in by_name:
            break
        instruction = by_name[operand[1]]
    return instruction.op_name


def _inside(program: Program, instruction: Instruction) -> Iterator[Instruction]:
    """Everything in the computations that a fusion or an asynchronous call stands for."""
    if instruction.opcode in ("fusion", "async-start", "custom-call"):
        waiting = instruction.called("calls", "called_computations")
        while waiting:
            for inner in program.computations.get(waiting.pop(), ()):
                yield inner
                if inner.opcode in ("fusion", "call"):
                    waiting += inner.called("calls", "to_apply")


def _is_kernel(instruction: Instruction) -> bool:
    return instruction.opcode == "custom-call" and "tpu_custom_call" in instruction.rest


def _done(schedule: list[Instruction], start: int) -> int:
    name = f"%{schedule[start].name}"
    for place in range(start + 1, len(schedule)):
        if "-done" in schedule[place].opcode and re.search(re.escape(name) + r"[,)]", schedule[place].rest):
            return place
    return len(schedule)


def _work(program: Program, schedule: list[Instruction]) -> str:
    """The most substantial kind of work among scheduled instructions."""
    best = "nothing"
    for instruction in schedule:
        inside = (instruction, *_inside(program, instruction))
        for inner in inside:
            if _is_kernel(inner):
                return "attention" if "attention" in inner.name + inner.op_name else "kernel"
        if instruction.opcode == "while":
            best = "loop"
        elif best != "loop" and any(inner.opcode in ("convolution", "dot") for inner in inside):
            best = "matmul"
        elif best == "nothing" and instruction.opcode in _MOVES:
            best = "other"
    return best


def _size(kind: str, instruction: Instruction) -> int:
    """Bytes of the operand, from the result's shape: the scheduled text does not repeat shapes of operands."""
    result = array_bytes(instruction.result)
    if instruction.opcode.endswith("-start"):  # (operand, result, flags): take the operand, for gathers the result
        parts = [array_bytes(part) for part in re.findall(r"[a-z0-9]+\[[\d,]*\]", instruction.result)]
        return max(parts) if parts else 0
    if kind == "reduce-scatter" and instruction.opcode == "reduce-scatter":
        return result * _group(instruction)
    return result


def _group(instruction: Instruction) -> int:
    """The number of devices that take part together."""
    match = re.search(r"replica_groups=\{\{([\d,]+)\}", instruction.rest)
    if match:
        return match[1].count(",") + 1
    match = re.search(r"replica_groups=\[(\d+),(\d+)\]", instruction.rest)
    return int(match[2]) if match else 1


def array_bytes(text: str) -> int:
    """Bytes of all arrays named in a type such as ``(bf16[2,8]{1,0}, s32[])``."""
    total = 0
    for dtype, dims in _ARRAY.findall(text):
        if dtype in _BYTES:
            size = _BYTES[dtype]
            for dim in filter(None, dims.split(",")):
                size *= int(dim)
            total += size
    return total


def _where(op_name: str) -> str:
    if "transpose(" in op_name:
        return "backward"
    return "forward" if "jvp(" in op_name else "optimizer" if op_name else ""


def _phase(schedule: list[Instruction]) -> str:
    """The phase of most of a computation's instructions, for collectives that have lost their own name."""
    votes: dict[str, int] = defaultdict(int)
    for instruction in schedule:
        votes[_where(instruction.op_name)] += 1
    votes.pop("", None)
    return max(votes, key=lambda phase: votes[phase]) if votes else "optimizer"
