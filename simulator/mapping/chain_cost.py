"""What a fused mapping of a run of nests moves and needs, for arrays of tile sizes at once.

A structure is an ordered tuple of fused loops, each around an interval of the nests, every interval inside the one
before. Inside the loops the nests run one after the other on the current tile. For each operand from outside there is a
choice of where it is held: above some loop (a tile that stays while the inner loops turn) or not at all, in which case
it passes through a nest in slices, each element once a turn. What the nests hand on to each other stays in fast memory.

Traffic is exact for extents that tiles don't divide and for windows that overlap. Bytes throughout.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, product
from typing import Any

import numpy as np
import numpy.typing as npt

from .chain import Array, Axis, Chain, Node, Tiles
from .chain_structure import Charge, Choice, Evaluation, Floats, Fused, Placements, Structure, shared_reads

MAX_PLACEMENTS = 256
"""Placements up to which all are tried; beyond, operands are held one after another, what saves most a byte first."""


class Evaluator:
    """One structure of a chain on arrays of tile sizes."""

    def __init__(self, chain: Chain, structure: Structure, tiles: Tiles, charge: Charge | None = None) -> None:
        self.chain, self.structure, self.charge = chain, structure, charge
        self.loops = structure.loops
        self.whole: dict[str, Any] = dict(chain.extents)
        self.tile = self.whole | {loop.dim: tiles[loop.dim] for loop in self.loops}
        self.trips = {
            loop.dim: -(-chain.extents[loop.dim] // self.tile[loop.dim]) for loop in self.loops
        }
        self.size = max((np.size(self.tile[loop.dim]) for loop in self.loops), default=1)
        self.inside = range(structure.first, structure.last + 1)
        self._held: dict[Any, Any] = {}
        self.shared_reads = shared_reads(chain) if structure.share else {}

    # -- footprints and totals -----------------------------------------------------------------------------------

    def held(self, array: Array, position: int) -> Any:
        """Bytes of ``array`` under the tiles of the first ``position`` loops, the others at full extent."""
        key = (array.name, array.axes, position)
        if key not in self._held:
            tile = self._under(position)
            self._held[key] = math.prod((_clipped(axis, tile) for axis in array.axes), start=array.bytes)
        return self._held[key]

    def total(self, array: Array, position: int, skip: frozenset[str] = frozenset()) -> Any:
        """Bytes loaded if ``array`` is fetched at each turn of the first ``position`` loops (but those of ``skip``)."""
        loops = self.loops[:position]
        bytes_: Any = array.bytes
        for axis in array.axes:
            bytes_ = bytes_ * self._covered(axis, loops)
        used = array.dims | skip
        return math.prod((self.trips[loop.dim] for loop in loops if loop.dim not in used), start=bytes_)

    def _under(self, position: int) -> dict[str, Any]:
        return self.whole | {loop.dim: self.tile[loop.dim] for loop in self.loops[:position]}

    def _covered(self, axis: Axis, loops: Sequence[Fused]) -> Any:
        """Elements of an axis summed over the tiles of the loop that runs along it."""
        dim = next((loop.dim for loop in loops for name, _ in axis.terms if name == loop.dim), None)
        full = axis.span(self.whole)
        if dim is None or self.structure.retain or axis.plain is not None:
            return min(full, axis.limit)
        trips, tile = self.trips[dim], self.tile[dim]
        edge = self.chain.extents[dim] - (trips - 1) * tile
        spans = [np.minimum(axis.span(self.whole | {dim: t}), axis.limit) for t in (tile, edge)]
        padding = np.where(trips > 1, max(0, full - axis.limit), 0)
        return np.maximum((trips - 1) * spans[0] + spans[1] - padding, min(full, axis.limit))

    def work(self, index: int) -> Any:
        """How often a node's operations are done: 1, more where halos or whole tiles are recomputed."""
        node, loops = self.chain.nodes[index], self.loops[: self.structure.depth(index)]
        done: Any = 1.0
        for axis in node.domain:
            done = done * self._covered(axis, loops) / min(axis.span(self.whole), axis.limit)
        return math.prod((self.trips[loop.dim] for loop in loops if loop.dim not in node.dims), start=done)

    # -- intermediates -------------------------------------------------------------------------------------------

    def intermediates(self) -> Iterator[tuple[int, Array, tuple[int, ...]]]:
        """Node, array and consumers of what stays inside the run."""
        for i in self.inside:
            readers = self.chain.consumers[i]
            if readers and max(readers) <= self.structure.last:
                yield i, self.chain.nodes[i].write, readers

    def shared(self, producer: int, readers: Iterable[int]) -> int:
        """How many loops run around a producer and all its consumers."""
        return min(self.structure.depth(node) for node in (producer, *readers))

    def base(self) -> list[Any]:
        """Room of the intermediates while each node runs."""
        room: list[Any] = [0.0 for _ in self.inside]
        for producer, array, readers in self.intermediates():
            depth = self.shared(producer, readers)
            first, last = producer, max(readers)
            if depth < len(self.loops):  # a deeper loop fills or empties it bit by bit
                deeper = self.loops[depth]
                first = deeper.first if deeper.around(first) else first
                last = deeper.last if deeper.around(last) else last
            end = last - 1 if last == max(readers) and self._in_place(array, last, depth) else last
            tile = self._window(array, depth, max(readers))
            for node in range(first, end + 1):
                room[node - self.structure.first] = room[node - self.structure.first] + tile
            self._keep_overlap(room, array, depth, producer, max(readers))
        for i in self.inside if self.structure.retain else ():
            for array in self._outside_reads(i):
                self._keep_overlap(room, array, self.structure.depth(i), i, i)
        return room

    def _in_place(self, array: Array, reader: int, depth: int) -> bool:
        """Whether a nest can write its result over the intermediate that it is the last to read."""
        node = self.chain.nodes[reader]
        same = array.axes == node.write.axes and array.bytes >= node.write.bytes and not node.reduced
        readers = self.chain.consumers[reader]
        inside = bool(readers) and max(readers) <= self.structure.last
        return same and inside and self.shared(reader, readers) == depth == self.structure.depth(reader)

    def _window(self, array: Array, depth: int, reader: int) -> Any:
        """Bytes of an intermediate's tile; with line buffers what the reader's new results need."""
        if not self.structure.retain:
            return self.held(array, depth)
        tile = self._under(depth)
        looped = [loop.dim for loop in self.loops[:depth]]
        sides = [np.maximum(_clipped(axis, tile) - self._known(axis, looped, reader), 1) for axis in array.axes]
        return math.prod(sides, start=array.bytes)

    def _known(self, axis: Axis, looped: Sequence[str], reader: int) -> Any:
        """Elements of a window that only results need which the reader kept from the tile before."""
        for dim, step in axis.terms:
            for other in self.chain.nodes[reader].write.axes if dim in looped and axis.plain is None else ():
                stride = next((c for name, c in other.terms if name == dim), 0)
                if stride and other.plain is None:
                    return np.where(self.trips[dim] > 1, step // stride * self._overlap(other, dim), 0)
        return 0

    def _overlap(self, axis: Axis, dim: str) -> Any:
        """Elements that the window of one tile shares with the next one's."""
        step = next(abs(c) for name, c in axis.terms if name == dim)
        return np.maximum(np.minimum(axis.span(self.tile), axis.limit) - step * self.tile[dim], 0)

    def _keep_overlap(self, room: list[Any], array: Array, depth: int, first: int, last: int) -> None:
        """Room of the rows that a window shares with the next tile's, in the form that retains them."""
        if not self.structure.retain:
            return
        for j, loop in enumerate(self.loops[:depth]):
            for axis in array.axes:
                if axis.plain is not None or all(dim != loop.dim for dim, _ in axis.terms):
                    continue
                overlap = np.maximum(self._overlap(axis, loop.dim) - self._known(axis, [loop.dim], last), 0)
                overlap = np.where(self.trips[loop.dim] > 1, overlap, 0)
                tile = self._under(j)
                rest = math.prod((_clipped(other, tile) for other in array.axes if other is not axis),
                                 start=array.bytes)  # fmt: skip
                for node in range(loop.first, loop.last + 1):
                    if j + 1 < len(self.loops) or not first <= node <= last:  # else the tile itself holds them
                        room[node - self.structure.first] = room[node - self.structure.first] + overlap * rest

    # -- operands from outside -----------------------------------------------------------------------------------

    def _outside_reads(self, index: int) -> list[Array]:
        made = {array.name for _, array, _ in self.intermediates()}
        made |= self.shared_reads.keys()
        return [array for array in self.chain.nodes[index].reads if array.name not in made]

    def choices(self) -> list[list[Choice]]:
        """The ways to place each operand from outside."""
        inner = {producer for producer, _, _ in self.intermediates()}
        found: list[list[Choice]] = []
        for array, first, last in self.shared_reads.values():
            bytes_ = array.elements * array.bytes
            found.append([Choice(array, first, 0, bytes_, (first, last), bytes_, 0.0)])
        for i in self.inside:
            node = self.chain.nodes[i]
            twice = 2 if self._alone_and_coupled(i) else 1
            found += [[self._choice(array, i, p, twice * self.total(array, p), 0.0) for p in self._positions(array, i)]
                      for array in self._outside_reads(i)]  # fmt: skip
            if any(array.name not in self.shared_reads for array in node.late):
                found.append(self._late(node, i))
            if i not in inner:
                found.append([self._written(node.write, i, p, node.write.elements * node.write.bytes)
                              for p in self._positions(node.write, i)])  # fmt: skip
            if any(loop.dim in node.coupled for loop in self.loops[: self.structure.depth(i)]):
                found.append([self._statistics(node, i, p) for p in self._positions(node.rows, i)])
        return found

    def _positions(self, array: Array, index: int) -> list[int]:
        """Where an operand can be held: outside all loops, just inside one that indexes it, or (last) nowhere."""
        depth = self.structure.depth(index)
        useful = [0, *(j + 1 for j, loop in enumerate(self.loops[:depth]) if loop.dim in array.dims)]
        return sorted({p for p in useful if p < depth} | {depth})

    def _choice(self, array: Array, index: int, position: int, loads: Any, stores: Any) -> Choice:
        if position == self.structure.depth(index):
            return Choice(array, index, position, 0.0, None, loads, stores)
        loop = self.loops[position]
        return Choice(array, index, position, self.held(array, position), (loop.first, loop.last), loads, stores)

    def _written(self, array: Array, index: int, position: int, bytes_: float) -> Choice:
        """A result: stored once for every pass of the reductions outside its tile, loaded back between them."""
        passes = math.prod(
            (self.trips[loop.dim] for loop in self.loops[:position] if loop.dim not in array.dims), start=1
        )
        return self._choice(array, index, position, bytes_ * (passes - 1), bytes_ * passes)

    def _late(self, node: Node, index: int) -> list[Choice]:
        """What absorbed elementwise nests read: an element at a time with the result, or the small ones kept inside."""
        depth = self.structure.depth(index)
        late = [array for array in node.late if array.name not in self.shared_reads]
        all_ = Array(f"{node.name}.late", (), sum(array.bytes for array in late))
        loads = [self.total(array, depth, node.reduced) for array in late]
        streamed = Choice(all_, index, depth, all_.bytes, (index, index), sum(loads), 0.0)
        small = [array.dims < node.write.dims for array in late]
        if not depth or not any(small):
            return [streamed]
        kept = [self.total(a, 0) if s else load for a, s, load in zip(late, small, loads, strict=True)]
        room = all_.bytes + sum(self.held(array, 0) for array, s in zip(late, small, strict=True) if s)
        around = self.loops[0]
        return [Choice(all_, index, 0, room, (around.first, around.last), sum(kept), 0.0), streamed]

    def _statistics(self, node: Node, index: int, position: int) -> Choice:
        """Running statistics of rows that a fused loop cuts: held until the row is over, or spilled between turns."""
        rows = node.rows
        turns = math.prod(
            (self.trips[loop.dim] for loop in self.loops[:position] if loop.dim not in rows.dims), start=1
        )
        moved = rows.elements * rows.bytes * (turns - 1)
        choice = self._choice(rows, index, position, moved, moved)
        if choice.live is not None:
            return choice
        last = max((j for j in self.chain.consumers[index] if j in self.inside), default=index)
        return Choice(rows, index, position, self.held(rows, position), (index, last), moved, moved)

    def _alone_and_coupled(self, index: int) -> bool:
        """A softmax or norm on its own whose row is cut: one pass for the statistics, one for the result."""
        node = self.chain.nodes[index]
        return len(self.inside) == 1 and any(loop.dim in node.coupled for loop in self.loops)

    # -- streams -------------------------------------------------------------------------------------------------

    def stream(self, index: int, arrays: Sequence[Array]) -> Any:
        """Least room in which ``arrays`` pass through a node, each element once, while all else is held."""
        depth = self.structure.depth(index)
        best = self._slices(index, arrays, depth)
        for count in range(1, len(arrays) - 1):  # one that passes alone needs no less if another is held
            for kept in combinations(range(len(arrays)), count):
                room: Any = sum(self.held(arrays[k], depth) for k in kept)
                passing = [array for k, array in enumerate(arrays) if k not in kept]
                best = np.minimum(best, room + self._slices(index, passing, depth))
        return best

    def _slices(self, index: int, arrays: Sequence[Array], depth: int) -> Any:
        """Common dims run outermost, one step at a time; then all but one lie there as a slice, that one by element."""
        if not arrays:
            return 0.0
        node = self.chain.nodes[index]
        looped = {loop.dim for loop in self.loops[:depth]}
        rows = node.coupled - looped  # a row that hangs together is not cut
        if len(arrays) == 1:
            return self._part(arrays[0], self._under(depth), arrays[0].dims - rows)
        common = frozenset.intersection(*(array.plain_dims for array in arrays)) - rows
        tile = self._under(depth)
        slices = [self._part(array, tile, common) for array in arrays]
        single = [self._part(array, tile, array.dims - rows) for array in arrays]
        options = [sum(slices[:k] + slices[k + 1 :]) + single[k] for k in range(len(arrays))]
        best = options[0]
        for option in options[1:]:
            best = np.minimum(best, option)
        return best

    def _part(self, array: Array, tile: Tiles, ones: frozenset[str]) -> Any:
        cut = {dim: 1 if dim in ones else extent for dim, extent in tile.items()}
        return math.prod((_clipped(axis, cut) for axis in array.axes), start=array.bytes)

    def traffic(self, placement: Placements) -> dict[str, tuple[Floats, Floats]]:
        """Bytes loaded and stored of each operand under one placement; statistics that are spilled included."""
        moved: dict[str, tuple[Floats, Floats]] = {}
        for group, (name, position) in zip(self.choices(), placement, strict=True):
            choice = next(c for c in group if c.position == position)
            loads, stores = moved.get(name, (0.0, 0.0))
            moved[name] = (loads + choice.loads, stores + choice.stores)
        return moved

    # -- everything ----------------------------------------------------------------------------------------------

    def evaluate(self, only: Sequence[Placements] | None = None) -> Evaluation:
        """All placements, or just ``only``, by all tiles."""
        if only is None:
            groups = [_useful(group) for group in self.choices()]
            picks = self._picks(groups)
        else:
            groups = self.choices()
            picks = np.array(
                [[next(k for k, c in enumerate(group) if c.position == position)
                  for group, (_, position) in zip(groups, placement, strict=True)] for placement in only],
                dtype=np.intp,
            )  # fmt: skip
        picks = picks.reshape(-1, len(groups))
        shape = (len(picks), self.size)
        loads, stores, charged = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        peaks = [np.zeros(shape) + room for room in self.base()]
        streams: dict[int, list[tuple[int, Array]]] = {}
        for column, group in enumerate(groups):
            chosen = picks[:, column]
            down, up = self._stack([choice.loads for choice in group]), self._stack([choice.stores for choice in group])
            loads += down[chosen]
            stores += up[chosen]
            if self.charge is not None:
                charged += self.charge(group[0].array.name, down, up)[chosen]
            room = self._stack([choice.room for choice in group])
            for k, choice in enumerate(group):
                if choice.live is None:
                    streams.setdefault(choice.node, []).append((column, choice.array))
                    continue
                rows = np.flatnonzero(chosen == k)
                for node in range(choice.live[0], choice.live[1] + 1):
                    peaks[node - self.structure.first][rows] += room[k]
        for node, passing in streams.items():
            self._add_streams(peaks[node - self.structure.first], node, passing, groups, picks)
        stores += sum(array.elements * array.bytes for _, array, _ in self.intermediates()
                      if array.name in self.chain.results)  # fmt: skip
        self._add_rescaling(peaks, groups, picks)
        ops = np.zeros(self.size) + sum(self.chain.nodes[i].ops * self.work(i) for i in self.inside)
        positions = np.empty_like(picks)
        for column, group in enumerate(groups):
            positions[:, column] = np.array([choice.position for choice in group])[picks[:, column]]
        peak = peaks[0]
        for other in peaks[1:]:
            peak = np.maximum(peak, other)
        charged = loads + stores if self.charge is None else charged
        return Evaluation(loads, stores, charged, peak, ops, tuple(group[0].array.name for group in groups), positions)

    def _add_rescaling(self, peaks: list[Floats], groups: list[list[Choice]], picks: npt.NDArray[np.intp]) -> None:
        """Room of a factor a row where sums that are rescaled pass by; what is held is rescaled right away."""
        for column, group in enumerate(groups):
            index = group[0].node
            if group[0].array is not self.chain.nodes[index].write:
                continue
            for i, node in enumerate(self.chain.nodes[:index]):
                cut = [j for j, loop in enumerate(self.loops[: self.structure.depth(i)]) if loop.dim in node.coupled]
                if cut and index in self.chain.consumers[i]:
                    spilled = np.array([choice.position for choice in group])[picks[:, column]] > cut[0]
                    factors = self.held(node.rows, self.structure.depth(i)) / 2
                    peaks[index - self.structure.first][spilled] += factors

    def _picks(self, groups: list[list[Choice]]) -> npt.NDArray[np.intp]:
        """Which placements are tried: for each the number of every group's choice."""
        if math.prod(len(group) for group in groups) <= MAX_PLACEMENTS:
            return np.array(list(product(*(range(len(group)) for group in groups))), dtype=np.intp)
        last = [len(group) - 1 for group in groups]
        moved = [self._stack([c.loads + c.stores for c in group]) for group in groups]
        room = [self._stack([c.room for c in group]) for group in groups]
        found: dict[tuple[int, ...], None] = {tuple(last): None}
        for tile in sorted({0, self.size // 4, self.size // 2, 3 * self.size // 4, self.size - 1}):
            items = [((moved[g][-1, tile] - moved[g][k, tile]) / max(room[g][k, tile], 1e-9), g, k)
                     for g in range(len(groups)) for k in range(last[g])]  # fmt: skip
            pick = list(last)
            for worth, g, k in sorted(items, reverse=True):
                if worth > 0 and moved[g][k, tile] < moved[g][pick[g], tile]:
                    pick[g] = k
                    found[tuple(pick)] = None
        return np.array(list(found), dtype=np.intp)

    def _add_streams(self, peak: Floats, node: int, passing: list[tuple[int, Array]], groups: list[list[Choice]],
                     picks: npt.NDArray[np.intp]) -> None:  # fmt: skip
        """Add to a node's peak the room of what streams through it, which depends on what does so together."""
        streamed = np.stack([
            picks[:, column] == next(k for k, choice in enumerate(groups[column]) if choice.live is None)
            for column, _ in passing
        ])  # fmt: skip
        code = (1 << np.arange(len(passing))) @ streamed
        for mask in np.unique(code):
            arrays = [array for bit, (_, array) in enumerate(passing) if mask >> bit & 1]
            peak[code == mask] += self.stream(node, arrays)

    def _stack(self, values: Sequence[Any]) -> Floats:
        rows = np.empty((len(values), self.size))
        for i, value in enumerate(values):
            rows[i] = value
        return rows


def _clipped(axis: Axis, tile: Tiles) -> Any:
    span = axis.span(tile)
    return min(span, axis.limit) if isinstance(span, int) else np.minimum(span, axis.limit)


def _useful(group: list[Choice]) -> list[Choice]:
    """Without placements that save nothing over streaming, or over holding the operand further inside."""
    kept = [group[-1]]
    for choice in reversed(group[:-1]):  # from the innermost outwards
        moved = choice.loads + choice.stores
        if not any(np.all(other.loads + other.stores <= moved) and np.all(other.room <= choice.room) for other in kept):
            kept.insert(0, choice)
    return kept
