"""Pictures of a graph: SVG, Graphviz's DOT language, or text. Layers that are alike are drawn once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zigai_cli.measure.graph_sections import Section, sections
from zigai_cli.measure.svg import GREY, Svg
from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.graph import Graph, Operation

BOX, GAP, PITCH = 236, 20, 96
"""Width of an operation's box, the space between boxes, and the distance of two rows of boxes, in pixels."""
HIGH, MARGIN, LANE = 60, 40, 14
FILLS = {
    "Linear": "#dbe9f6",
    "Embedding": "#dbe9f6",
    "Attention": "#fde5cc",
    "RMSNorm": "#e3f1dd",
    "LayerNorm": "#e3f1dd",
    "Add": "#eeeeee",
}
OTHER_FILL = "#f4eefa"
SUFFIXES = (".svg", ".dot", ".txt")


@dataclass(frozen=True)
class GraphPicture:
    """A graph to draw, with the tensors of its file, which give the weights' storage types."""

    graph: Graph
    tensors: Mapping[str, TensorInfo]
    title: str

    def draw(self, suffix: str) -> str:
        """The picture as the text of a file with one of `SUFFIXES`."""
        return {".svg": self.svg, ".dot": self.dot, ".txt": self.text}[suffix]()

    def text(self) -> str:
        """A line per operation; a layer that is repeated stands once, indented under its title."""
        lines = [self.title]
        for section in sections(self.graph):
            if section.title:
                lines.append(f"{section.title}:")
            for operation in section.operations:
                name, what, read = self._lines(section, operation)
                inputs = ", ".join(section.short(value.name) for value in operation.inputs)
                weights = f"; {read}" if read else ""
                lines.append(f"{'  ' if section.title else ''}{name} = {what}({inputs}{weights})")
        outputs = (f"{name} is {value.name}" for name, value in self.graph.outputs.items())
        return "\n".join([*lines, f"outputs: {', '.join(outputs)}", ""])

    def dot(self) -> str:
        """The graph in DOT (https://graphviz.org/doc/info/lang.html): `dot -Tpdf graph.dot -o graph.pdf`."""
        lines = ["digraph {", "  node [shape=box, fontname=Helvetica];", f"  label={_quoted(self.title)};"]
        drawn = {op.output.name for section in sections(self.graph) for op in section.operations}
        for number, section in enumerate(sections(self.graph)):
            inside = []
            for operation in section.operations:
                name, what, read = self._lines(section, operation)
                label = _quoted("\n".join(filter(None, (name, what, read))))
                inside.append(f"{_quoted(operation.output.name)} [label={label}];")
            if section.title:
                lines += [f"  subgraph cluster_{number} {{", f"    label={_quoted(section.title)};"]
                lines += [f"    {line}" for line in inside] + ["  }"]
            else:
                lines += [f"  {line}" for line in inside]
            for operation in section.operations:
                for value in operation.inputs:
                    source = value.name if value.name in drawn else self._last_of_layer(value.name)
                    lines.append(f"  {_quoted(source)} -> {_quoted(operation.output.name)};")
        return "\n".join([*lines, "}", ""])

    def svg(self) -> str:
        """The graph from top to bottom, a frame around each kind of layer."""
        picture, top, width = Svg(), 64.0, 0.0
        parts = [(section, _rows(section)) for section in sections(self.graph)]
        widest = max(max(map(len, rows)) for _, rows in parts)
        lanes = max(len(_long_edges(section, rows)) for section, rows in parts)
        middle = MARGIN + widest * (BOX + GAP) / 2
        width = 2 * MARGIN + widest * (BOX + GAP) + LANE * (lanes + 2)
        picture.text(MARGIN, 36, self.title, size=16, bold=True)
        for index, (section, rows) in enumerate(parts):
            height = PITCH * len(rows)
            if section.title:
                picture.rectangle(
                    MARGIN / 2, top, width - MARGIN, height + 48, fill="#fafafa", line="#aaaaaa", round=8
                )
                picture.text(MARGIN, top + 24, section.title, size=13, bold=True)
                top += 40
            self._draw_section(picture, section, rows, middle, top)
            top += height + (28 if section.title else 0)
            if index + 1 < len(parts):  # the next section reads the last value of this one
                picture.line([(middle, top - PITCH + HIGH - (28 if section.title else 0)), (middle, top)])
        return picture.document(width, top + MARGIN / 2)

    def _draw_section(
        self, picture: Svg, section: Section, rows: Sequence[Sequence[Operation]], middle: float, top: float
    ) -> None:
        places: dict[str, tuple[float, float]] = {}
        for level, row in enumerate(rows):
            left = middle - (len(row) * BOX + (len(row) - 1) * GAP) / 2
            for column, operation in enumerate(row):
                places[operation.output.name] = (left + column * (BOX + GAP), top + level * PITCH)
        lanes = _long_edges(section, rows)
        right = middle + max(map(len, rows)) * (BOX + GAP) / 2
        for row in rows:
            for operation in row:
                x, y = places[operation.output.name]
                for value in operation.inputs:
                    start = places.get(value.name)
                    if start is None:
                        if y == top:
                            picture.line([(x + BOX / 2, y - 14), (x + BOX / 2, y)], arrow=True)
                        continue
                    lane = lanes.get((value.name, operation.output.name))
                    if lane is None:
                        picture.line([(start[0] + BOX / 2, start[1] + HIGH), (x + BOX / 2, y)], arrow=True)
                    else:
                        out = right + LANE * (lane + 1)
                        # Edges leave a box below the place where others enter it.
                        ends = [(start[0] + BOX, start[1] + 0.7 * HIGH), (x + BOX, y + 0.3 * HIGH)]
                        picture.line([ends[0], (out, ends[0][1]), (out, ends[1][1]), ends[1]], arrow=True)
        entries = _entries(section)
        for source, operation in entries:  # a residual path that begins above the section
            x, y = places[operation.output.name]
            if y != top:
                out = right + LANE * (len(lanes) + 1)
                entry = y + 0.3 * HIGH
                picture.line([(out, top - 14), (out, entry), (x + BOX, entry)], arrow=True)
                name = "the layer's input" if len(section.layers) > 1 else section.short(source)
                picture.text(out - 4, top - 18, name, size=10, anchor="end", colour=GREY)
        for row in rows:
            for operation in row:
                x, y = places[operation.output.name]
                name, what, read = self._lines(section, operation)
                fill = FILLS.get(type(operation).__name__, OTHER_FILL)
                picture.rectangle(x, y, BOX, HIGH, fill=fill, line="#888888", round=4)
                lines = [line for line in (what, name, read) if line]
                for number, line in enumerate(lines):
                    height = y + HIGH / 2 + 4 + 17 * (number - (len(lines) - 1) / 2)
                    picture.text(
                        x + BOX / 2,
                        height,
                        line if len(line) <= 42 else line[:41] + "…",
                        size=12 if number == 0 else 10,
                        anchor="middle",
                        bold=number == 0,
                        colour="black" if number < 2 else GREY,
                    )

    def _lines(self, section: Section, operation: Operation) -> tuple[str, str, str]:
        """The value with its shape, the kind of operation, and the weights with their shapes and types."""
        value = operation.output
        weights = []
        for weight in operation.weights:
            tensor = self.tensors.get(weight.name)
            shape = "×".join(map(str, weight.shape))
            kind = "" if tensor is None else f" {tensor.dtype.name}"
            weights.append(f"{section.short(weight.name)} {shape}{kind}")
        name = f"{section.short(value.name)} [{value.rows}, {value.width}]"
        return name, type(operation).__name__, ", ".join(weights)

    def _last_of_layer(self, name: str) -> str:
        """The drawn value that stands for one of a layer that is not drawn itself."""
        for section in sections(self.graph):
            last = section.layers and section.prefix.replace(str(section.layers[0]), "{}", 1)
            for layer in section.layers if last else ():
                prefix = str(last).format(layer)
                if name.startswith(prefix):
                    return section.prefix + name.removeprefix(prefix)
        return name


def _rows(section: Section) -> list[list[Operation]]:
    """The operations by the length of the longest path that leads to them inside the section."""
    depths: dict[str, int] = {}
    rows: list[list[Operation]] = []
    for operation in section.operations:
        depth = 1 + max((depths.get(value.name, -1) for value in operation.inputs), default=-1)
        depths[operation.output.name] = depth
        while len(rows) <= depth:
            rows.append([])
        rows[depth].append(operation)
    return rows


def _entries(section: Section) -> list[tuple[str, Operation]]:
    own = {operation.output.name for operation in section.operations}
    return [
        (value.name, operation)
        for operation in section.operations
        for value in operation.inputs
        if value.name not in own
    ]


def _long_edges(section: Section, rows: Sequence[Sequence[Operation]]) -> dict[tuple[str, str], int]:
    """A lane at the side for each edge that passes a row of boxes, by its ends."""
    level = {operation.output.name: number for number, row in enumerate(rows) for operation in row}
    edges = [
        (value.name, operation.output.name)
        for operation in section.operations
        for value in operation.inputs
        if value.name in level and level[operation.output.name] - level[value.name] > 1
    ]
    return {edge: lane for lane, edge in enumerate(edges)}


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
