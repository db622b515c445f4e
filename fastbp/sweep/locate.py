"""Where a key stands in a TOML text: a path of keys and indices to a line.

Imports the standard library and, only inside functions, tree-sitter: a file without errors never loads it.
"""

import tomllib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

Path = tuple[str | int, ...]


class Entry(NamedTuple):
    """A table header or a key of a table: its full path, its 1-based line, its value (headers have none)."""

    path: Path
    line: int
    value: Any


class Outline:
    """The headers and keys of a TOML text, in file order.

    Parameters
    ----------
    text : str
        A TOML document. Where it is not well formed, the outline holds what could be recognised.
    """

    def __init__(self, text: str) -> None:
        self.entries = list(_entries(_parse(text)))

    def line(self, path: Sequence[str | int]) -> int:
        """Return the 1-based line of `path`, or of its nearest parent that exists (line 1 without any).

        Parameters
        ----------
        path : sequence of str and int
            Keys and 0-based indices from the root, such as ``("grid", 1, "learning_rate", 3)``.
        """
        wanted = tuple(path)
        best = max(self.entries, key=lambda entry: _common(entry.path, wanted), default=None)
        if best is None or not _common(best.path, wanted):
            return 1
        depth = _common(best.path, wanted)
        if depth < len(best.path) or best.value is None:
            return best.line
        return _descend(best.value, wanted[depth:], best.line)

    def values(self, longer_than: int) -> list[tuple[int, int]]:
        """Return where the long values begin and end, as offsets into the UTF-8 text, in order."""
        nodes = [entry.value for entry in self.entries if entry.value is not None]
        spans = [(int(node.start_byte), int(node.end_byte)) for node in nodes]
        return [(start, end) for start, end in spans if end - start > longer_than]

    def repeated(self) -> Entry | None:
        """Return the first key or table that is named a second time, where it is named the second time."""
        seen: set[Path] = set()
        for entry in self.entries:
            if entry.path in seen:
                return entry
            seen.add(entry.path)
        return None


def _parse(text: str) -> Any:
    import tree_sitter
    import tree_sitter_toml

    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_toml.language()))
    return parser.parse(text.encode()).root_node


def _entries(document: Any) -> Iterator[Entry]:
    """Yield every header and every key of every table; values are not looked into."""
    counts: dict[Path, int] = {}
    for node in document.children:
        if node.type == "pair":
            yield _pair((), node)
        elif node.type in ("table", "table_array_element"):
            section = _section(node, counts)
            yield Entry(section, _row(node), None)
            yield from (_pair(section, child) for child in node.children if child.type == "pair")


def _section(header: Any, counts: dict[Path, int]) -> Path:
    """Return the path of a table header; tables of an array are numbered through `counts`."""
    path: Path = ()
    keys = _keys(header.children[1])
    for key in keys:
        path = (*path, key)
        is_new_element = header.type == "table_array_element" and len(path) == len(keys) + sum(
            isinstance(part, int) for part in path
        )
        if is_new_element:
            counts[path] = counts.get(path, 0) + 1
        if path in counts:
            path = (*path, counts[path] - 1)
    return path


def _pair(section: Path, node: Any) -> Entry:
    key, value = node.named_children[:2]  # a comment may follow
    return Entry(section + _keys(key), _row(node), value)


def _keys(node: Any) -> Path:
    """Return the parts of a bare, quoted or dotted key."""
    try:
        table: Any = tomllib.loads(f"{node.text.decode()} = 0")
    except tomllib.TOMLDecodeError:  # only in a text that is itself not TOML
        return (node.text.decode(),)
    path: list[str] = []
    while isinstance(table, dict):
        ((key, table),) = table.items()
        path.append(key)
    return tuple(path)


def _row(node: Any) -> int:
    return int(node.start_point.row) + 1


def _common(path: Path, wanted: Path) -> int:
    """Return how many leading parts two paths share."""
    count = 0
    for ours, theirs in zip(path, wanted, strict=False):
        if ours != theirs:
            break
        count += 1
    return count


def _descend(value: Any, rest: Path, line: int) -> int:
    """Return the line of `rest` inside an array or an inline table that begins on `line`."""
    if not rest:
        return line
    if value.type == "array" and isinstance(rest[0], int):
        elements = [child for child in value.named_children if child.type != "comment"]
        if rest[0] < len(elements):
            element = elements[rest[0]]
            return _descend(element, rest[1:], _row(element))
    if value.type == "inline_table":
        pairs = [_pair((), child) for child in value.named_children if child.type == "pair"]
        best = max(pairs, key=lambda pair: _common(pair.path, rest), default=None)
        if best is not None and (depth := _common(best.path, rest)):
            return _descend(best.value, rest[depth:], best.line) if depth == len(best.path) else best.line
    return line
