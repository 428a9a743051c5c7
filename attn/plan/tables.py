"""Plans as tables, as JSON values and as sentences."""

from collections.abc import Sequence
from typing import Any

from attn.plan.advice import Change, changes
from attn.plan.collectives import Collective
from attn.plan.estimate import Plan
from attn.plan.roofline import least_traffic, sent
from attn.plots.tables import Cell, Column, Row, Table
from attn.plots.units import NONE, memory, milliseconds, quantity


def tables(plan: Plan) -> list[Table]:
    """The bytes of a device, what it sends, and the least time of a step."""
    return [_bytes(plan), _sent(plan), _times(plan)]


RUNS = {
    "train": "a step",
    "decode": "one decoding step",
    "attend": "one layer's attention",
}
"""One run of what is planned, in words."""


def heading(plan: Plan) -> str:
    """The experiment, its devices and its mesh, and what of it where that is a part."""
    name = f"{plan.experiment.name} on {plan.topology.name}, mesh {plan.mesh}"
    return name if plan.what == "train" else f"{name}, {plan.what}"


def _bytes(plan: Plan) -> Table:
    total, room = plan.numbers.total, plan.memory
    rows = [_byte_row(plan, name, n) for name, n in plan.numbers.held.items() if n]
    rows.append(_byte_row(plan, "in all", total, strong=True))
    if room is not None:
        rows.append(Row((Cell("memory"), Cell(memory(room), room), Cell("100%", 1.0))))
    columns = (
        Column("bytes a device", text=True),
        Column("bytes"),
        Column("of its memory"),
    )
    return Table(heading(plan), columns, tuple(rows), verdict(plan))


def _byte_row(plan: Plan, name: str, n: float | int, strong: bool = False) -> Row:
    share = None if plan.memory is None else n / plan.memory
    shown = NONE if share is None else f"{share:.1%}"
    return Row((Cell(name, strong=strong), Cell(memory(n), n), Cell(shown, share)))


def _sent(plan: Plan) -> Table:
    names = "collective", "mesh axis", "devices", "times", "bytes", "sent by each"
    columns = tuple(Column(name, text=i < 2) for i, name in enumerate(names))
    rows = []
    for one in plan.numbers.collectives:
        often = quantity(round(one.count, 1)) + (" a turn" if one.endless else "")
        axis = f"{one.axis}, between hosts" if one.hosts else one.axis
        cells = (
            Cell(one.kind),
            Cell(axis),
            Cell(str(one.devices), one.devices),
            Cell(often, one.count),
            Cell(memory(one.bytes), one.bytes),
            Cell(memory(one.sent), one.sent),
        )
        rows.append(Row(cells))
    note = "" if rows else "No device sends anything to another."
    return Table("what devices send", columns, tuple(rows), note)


def _times(plan: Plan) -> Table:
    roof = plan.roofline
    columns = (
        Column("roof", text=True),
        Column("a device"),
        Column("at most"),
        Column("ms", raw="seconds"),
    )
    rows = []
    for name, (amount, rate, unit) in _work(plan).items():
        seconds = None if rate is None else amount / rate
        shown = milliseconds(None if seconds is None else 1e3 * seconds)
        at_most = NONE if rate is None else quantity(rate, f"{unit}/s")
        bound = name.partition(",")[0] == roof.bound and seconds == roof.seconds
        cells = Cell(name), Cell(quantity(amount, unit)), Cell(at_most, rate)
        rows.append(Row((*cells, Cell(shown, seconds, strong=bound))))
    title = f"the least time of {RUNS[plan.what]}"
    return Table(title, columns, tuple(rows), f"rates: {plan.topology.chip.source}")


def _work(plan: Plan) -> dict[str, tuple[float | int, float | None, str]]:
    """The amount, the peak rate and the unit of each roof; of the network, by its parts."""
    numbers, chip = plan.numbers, plan.topology.chip
    peak = chip.flops(plan.experiment.model.dtype)
    parts = sent(numbers, chip)
    if plan.topology.hosts == 1:
        links = {"network": parts["inside hosts"]}
    else:
        links = {f"network, {name}": part for name, part in parts.items()}
    return {
        "compute": (plan.flops, peak, "FLOP"),
        "memory": (least_traffic(numbers), chip.bandwidth, "B"),
        **{name: (size, rate, "B") for name, (size, rate) in links.items()},
    }


def verdict(plan: Plan) -> str:
    """Whether it fits, and what would make it."""
    if plan.fits is None:
        return "What memory a device has is not known."
    if plan.fits:
        left = (plan.memory or 0) - plan.numbers.total
        return f"It fits, with {memory(left)} to spare."
    over = plan.numbers.total - (plan.memory or 0)
    said = [f"It does not fit: {memory(over)} too much."]
    options = changes(plan)
    for change in options:
        said.append(f"{change.option}: {_promise(change, plan.memory or 0)}")
    return "\n".join(said)


def _promise(change: Change, room: int) -> str:
    """Says what is known of a change."""
    if change.bound:
        fits = "may fit" if change.bytes <= room else "does not fit"
        of = "parameters and optimizer alone; plan it for its scratch memory"
        return f"at least {memory(change.bytes)}, {fits} ({of})."
    fits = "may fit" if change.bytes <= room else "not enough alone"
    return f"at least about {memory(change.bytes)}, {fits} (an estimate; plan it)."


def notes(plan: Plan) -> list[str]:
    """Sentences below the tables: time, FLOPs, implementations, how it was compiled."""
    roof, numbers = plan.roofline, plan.numbers
    said = []
    if roof.seconds is not None:
        share = (roof.compute or 0) / roof.seconds
        run = RUNS[plan.what][:1].upper() + RUNS[plan.what][1:]
        said.append(
            f"{run} takes at least {milliseconds(1e3 * roof.seconds)} ms, bound by {roof.bound}; at "
            f"that time {share:.0%} of the peak."
        )
    known = "no FLOPs" if numbers.flops is None else quantity(numbers.flops, "FLOP")
    own = plan.model_flops
    said.append(
        ("The" if own is None else f"Model {quantity(own, 'FLOP')} on all devices; the")
        + f" compiler counts {known} a device, outside kernels of libraries."
    )
    if numbers.repeats:
        said.append(
            "Of a loop that turns several times it counts one turn, in FLOPs and in bytes of "
            "memory: there are more."
        )
    counted = plan.what == "train"
    layers = [
        f"{n} x {name}" if counted else name for name, n in numbers.layers.items()
    ]
    if layers:
        said.append(f"Implementations: {', '.join(layers)}.")
    said.append(f"Compiled {_compiled(plan)}, in {numbers.seconds:.0f} s.")
    return said


def _compiled(plan: Plan) -> str:
    """The words for what was compiled of a model."""
    of = plan.experiment.model.repeats
    if not plan.blocks:
        return "the first attention layer alone"
    if plan.blocks == (of,):
        return "all of it"
    few, more = plan.blocks
    return (
        f"{few} and {more} of {of} blocks, and the rest on their line, of which scratch is "
        "an estimate (--whole compiles all)"
    )


def as_json(plan: Plan) -> dict[str, Any]:
    """The plan as JSON values."""
    numbers, roof = plan.numbers, plan.roofline
    return {
        "experiment": plan.experiment.name,
        "what": plan.what,
        "topology": plan.topology.name,
        "devices": plan.topology.count,
        "mesh": str(plan.mesh),
        "bytes": dict(numbers.held),
        "total_bytes": numbers.total,
        "memory_bytes": plan.memory,
        "fits": plan.fits,
        "estimates": [vars(change) for change in changes(plan)],
        "model_flops": plan.model_flops,
        "compiler_flops": numbers.flops,
        "traffic_bytes": least_traffic(numbers),
        "counts_one_turn": numbers.repeats,
        "collectives": [_collective(one) for one in numbers.collectives],
        "seconds": {**vars(roof), "step": roof.seconds},
        "bound": roof.bound,
        "layers": dict(numbers.layers),
        "blocks_compiled": list(plan.blocks),
        "compile_seconds": numbers.seconds,
        "source": plan.topology.chip.source,
    }


def _collective(one: Collective) -> dict[str, Any]:
    """The fields of a collective, and the bytes that a device sends, inside and away."""
    names = "hosts", "inside", "away", "sent"
    return vars(one) | {name: getattr(one, name) for name in names}


def ranking(plans: Sequence[Plan]) -> Table:
    """The meshes of a topology, the quickest that fits first."""
    names = "mesh", "bytes a device", "fits", "ms at least", "bound by"
    columns = tuple(Column(name, text=i in (0, 4)) for i, name in enumerate(names))
    rows = []
    for one in ranked(plans):
        seconds = one.roofline.seconds
        shown = milliseconds(None if seconds is None else 1e3 * seconds)
        fits = {True: "yes", False: "no", None: NONE}[one.fits]
        total = one.numbers.total
        cells = Cell(str(one.mesh)), Cell(memory(total), total), Cell(fits)
        more = Cell(shown, seconds), Cell(one.roofline.bound or NONE)
        rows.append(Row((*cells, *more)))
    best = ranked(plans)[0]
    word = "best" if best.fits is not False else "none fits; the nearest"
    title = f"{best.experiment.name} on {best.topology.name}"
    return Table(title, columns, tuple(rows), f"{word}: --mesh {best.mesh}")


def ranked(plans: Sequence[Plan]) -> list[Plan]:
    """Sorts plans that fit first; then by time, where it is known, and by bytes."""

    def key(one: Plan) -> tuple[bool, float | int, float | int]:
        misfit = one.fits is False
        seconds = one.roofline.seconds or 0.0
        return misfit, one.numbers.total if misfit else seconds, one.numbers.total

    return sorted(plans, key=key)
