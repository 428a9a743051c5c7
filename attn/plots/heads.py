"""The plot over heads: a line a mechanism, or a way in which heads get wider or fewer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from attn.plots.frame import draw_baselines, limits, scored
from attn.plots.style import MARKERS, Theme, dress, end_labels, new_figure
from attn.plots.units import metric_label, metric_scale, quantity
from attn.records.comparison import MATCHED, Group, knob_text
from attn.records.estimates import Estimate
from attn.records.knobs import KNOBS, heads_of
from attn.records.run import Run

Scored = tuple[Run, Estimate]
Line = list[Scored]
HEAD_DIM = "head dim"
HEADS = ("heads", "kv heads", HEAD_DIM, MATCHED)
"""The knobs that change along a line."""
COSTS: Mapping[str, Callable[[Run], float | int | None]] = {
    "parameters": lambda run: run.result.params,
    "FLOPs": lambda run: run.result.train_flops_per_step,
}
"""What models of other heads are made equal in."""
EQUAL = 0.01
"""The share by which equal costs differ at most: sizes that are solved for are whole."""
STYLES = ("-", (0, (5, 1.2)), (0, (3, 1, 1, 1)))
"""Of the lines of one family, which may lie on each other; what is dotted is no model."""
FEWEST = 3
"""The fewest numbers of heads on a line of equal cost, since two may be equal by chance."""


def draw_heads(group: Group, theme: Theme) -> Figure | None:
    """Plots the test metric against the number of heads; a line a mechanism."""
    scale = metric_scale(group.metric)
    lines = _lines_over_heads(group)
    if not lines:
        return None
    figure = new_figure(theme, 4.2)
    axes = figure.subplots()
    dress(axes, theme, grid="y")
    axes.set_xscale("log", base=2)
    ends, counts = [], {heads_of(run) for line in lines.values() for run, _ in line}
    families = {label: line[0][0].family for label, line in lines.items()}
    for number, (label, line) in enumerate(lines.items()):
        line = sorted(line, key=lambda pair: heads_of(pair[0]))
        peers = [other for other in lines if families[other] == families[label]]
        which = peers.index(label)
        hue, style = (
            theme.shades(families[label], len(peers))[which],
            STYLES[which % len(STYLES)],
        )
        # shifted a little, so that intervals of two mechanisms do not overlap
        aside = 1.015 ** (number - (len(lines) - 1) / 2)
        x = [heads_of(run) * aside for run, _ in line]
        y = [score.mean * scale for _, score in line]
        half = [(score.half or 0) * scale for _, score in line]
        marker = MARKERS.get(families[label], MARKERS["other"])
        axes.errorbar(x, y, yerr=half, fmt="none", color=hue, capsize=2.5, elinewidth=1)
        axes.plot(
            x, y, marker=marker, ls=style, color=hue, lw=1.6, ms=6, mec=theme.paper,
            mew=0.8,
        )  # fmt: skip
        ends.append((y[-1], label, hue))
    axes.set_ylim(*limits(group))
    axes.set_xlim(min(counts) / 1.12, max(counts) * 1.12)
    axes.xaxis.set_major_locator(FixedLocator(sorted(counts)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set(
        xlabel="query heads (log scale)", ylabel=f"test {metric_label(group.metric)}"
    )
    draw_baselines(axes, group, theme)
    end_labels(axes, ends, theme)
    return figure


def _lines_over_heads(group: Group) -> dict[str, Line]:
    """The runs of each line by its label: a mechanism, and all else in which runs differ.

    Where that leaves out runs of another width, lines are of equal cost, if these hold more.
    """
    apart = [name for name in group.varying if name not in HEADS]
    alone = [name for name in HEADS[1:] if _varies_alone(group, name, apart)]
    by_knobs = _lines_by_knobs(group, [*apart, *alone])
    if not {HEAD_DIM, MATCHED} & {*alone}:
        return by_knobs
    apart += [name for name in alone if name not in (HEAD_DIM, MATCHED)]
    return max(by_knobs, _lines_by_cost(group, apart), key=_num_runs)


def _num_runs(lines: Mapping[str, Line]) -> int:
    return len({run.directory for line in lines.values() for run, _ in line})


def _lines_by_knobs(group: Group, apart: Sequence[str]) -> dict[str, Line]:
    """The runs that are alike in these knobs, where they differ in heads."""
    found = {
        words: line
        for words, line in _alike(group, apart).items()
        if len({heads_of(run) for run, _ in line}) > 1
    }
    return {_line_label(words, [*found]): line for words, line in found.items()}


def _alike(group: Group, apart: Sequence[str]) -> dict[tuple[str, ...], Line]:
    """The runs by mechanism and the text of these knobs."""
    found: dict[tuple[str, ...], Line] = {}
    for run, score in scored(group):
        if heads_of(run):
            words = (knob_text(name, KNOBS[name](run)) for name in apart)
            found.setdefault((group.mechanism(run), *words), []).append((run, score))
    return found


def _lines_by_cost(group: Group, apart: Sequence[str]) -> dict[str, Line]:
    """The runs that split one width or keep one at equal cost, alike in these knobs."""
    found = {
        (words, label): line
        for words, runs in _alike(group, apart).items()
        for width, own in _by_width(runs).items()
        for label, line in _of_equal_cost(width, own)
    }
    every = [*dict.fromkeys(words for words, _ in found)]
    named = {words: f"{_line_label(words, every)} · " for words in every}
    if len(every) == 1:
        named[every[0]] = ""
    return {named[words] + label: line for (words, label), line in found.items()}


def _by_width(runs: Line) -> dict[str, Line]:
    """The runs whose heads are as wide together, and those whose heads are each as wide."""
    known = [pair for pair in runs if KNOBS[HEAD_DIM](pair[0])]
    split: dict[str, Line] = {}
    kept: dict[str, Line] = {}
    for pair in known:
        width = KNOBS[HEAD_DIM](pair[0])
        split.setdefault(f"heads split {width * heads_of(pair[0])}", []).append(pair)
        kept.setdefault(f"{HEAD_DIM} {width}", []).append(pair)
    return split | kept


def _of_equal_cost(width: str, runs: Line) -> Iterator[tuple[str, Line]]:
    """The lines of equal cost, and a label: of which cost, unless it is of all of them."""
    found: dict[frozenset[Path], tuple[Line, list[str]]] = {}
    for name, cost in COSTS.items():
        for line in _levels(runs, cost):
            members = frozenset(run.directory for run, _ in line)
            found.setdefault(members, (line, []))[1].append(name)
    # what another line holds, with more, needs none of its own
    lines = [own for it, own in found.items() if not any(it < other for other in found)]
    of_all = [len(names) == len(COSTS) for _, names in lines]
    labels = [
        width if whole else f"{width}, equal {names[0]}"
        for whole, (_, names) in zip(of_all, lines)
    ]
    for label, (line, names) in zip(labels, lines):
        if labels.count(label) > 1:
            cost = quantity(COSTS[names[0]](line[0][0]))
            label = f"{width}, {cost} {names[0]}"
        yield label, line


def _levels(runs: Line, cost: Callable[[Run], float | int | None]) -> Iterator[Line]:
    """The runs within `EQUAL` of the cost of one of them, one of each number of heads.

    That one is taken first around which are most, and of those the nearest to it.
    """
    left = [(pair, float(own)) for pair in runs if (own := cost(pair[0]))]
    while left:
        around = [(at, _nearest(left, at)) for _, at in left]
        at, line = min(
            around, key=lambda one: (-len(one[1]), sum(off for off, _ in one[1]))
        )
        if len(line) >= FEWEST:
            yield [pair for _, pair in line]
        left = [(pair, own) for pair, own in left if abs(own - at) > EQUAL * at]


def _nearest(
    costs: Sequence[tuple[Scored, float]], at: float
) -> list[tuple[float, Scored]]:
    """The run of each number of heads that is nearest a cost, and how far off it is."""
    found: dict[int, tuple[float, Scored]] = {}
    for pair, own in costs:
        off, heads = abs(own - at), heads_of(pair[0])
        if off <= EQUAL * at and (heads not in found or off < found[heads][0]):
            found[heads] = off, pair
    return [*found.values()]


def _varies_alone(group: Group, name: str, apart: Sequence[str]) -> bool:
    """Whether runs of as many heads differ in a knob, and not in what tells lines apart."""
    seen: dict[Any, set[Any]] = {}
    for run, _ in scored(group):
        same = (group.mechanism(run), heads_of(run), *(KNOBS[n](run) for n in apart))
        seen.setdefault(same, set()).add(KNOBS[name](run))
    return any(len(values) > 1 for values in seen.values())


def _line_label(words: tuple[str, ...], every: Sequence[tuple[str, ...]]) -> str:
    """The mechanism, and those words in which lines of it differ."""
    peers = [other for other in every if other[0] == words[0]]
    telling = (len(set(column)) > 1 for column in zip(*peers))
    return " · ".join([words[0], *(w for w, tells in zip(words, telling) if tells)])
