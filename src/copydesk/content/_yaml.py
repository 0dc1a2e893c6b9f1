"""A small, safe part of YAML: mappings, lists and text.

Every scalar is text, so that a title such as `1984` or `10:30` stays what was typed; an empty
value, `~` and `null` are None. Aliases and private tags are refused.
"""

from typing import Final

import yaml

MAX_BYTES: Final = 64 * 1024
_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}"
    for name in ["str", "int", "float", "bool", "null", "timestamp", "value", "merge", "map", "seq"]
)
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


class BadYamlError(ValueError):
    """What is wrong with the YAML, and on which line; the caller knows the file."""


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        # A few bytes of nested aliases expand to gigabytes.
        if self.check_event(yaml.AliasEvent):
            line: int = self.peek_event().start_mark.line
            raise BadYamlError(f"line {line + 1}: aliases (`*name`) are not allowed")
        return super().compose_node(parent, index)


def parse_yaml(text: str, *, first_line: int = 1, most_bytes: int = MAX_BYTES) -> object:
    """Parse one document into `dict`, `list`, `str` and None.

    Args:
        text: YAML.
        first_line: the line of the file that the text starts on, for messages.
        most_bytes: of the text in UTF-8.

    Raises:
        BadYamlError: too large, not YAML, an alias, a private tag or a key that is there twice.
    """
    if len(text.encode("utf-8", "replace")) > most_bytes:
        raise BadYamlError(f"more than {most_bytes // 1024} KiB of YAML")
    # Blank lines put the parser's line numbers in step with the file's.
    padded = "\n" * (first_line - 1) + text
    try:
        node: yaml.Node | None = yaml.compose(padded, Loader=_Loader)
        return None if node is None else _value(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        raise BadYamlError(f"{line}{error.problem or error.context or 'not YAML'}") from error
    except yaml.YAMLError as error:
        raise BadYamlError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise BadYamlError("it is nested too deeply") from error


def _value(node: yaml.Node) -> object:
    line = f"line {node.start_mark.line + 1}"
    if node.tag not in _TAGS:
        raise BadYamlError(f"{line}: the tag {node.tag} is not allowed")
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, object] = {}
        for key_node, value_node in node.value:
            key = _value(key_node)
            if not isinstance(key, str):
                raise BadYamlError(f"{line}: a key must be a word")
            if key in mapping:
                at = key_node.start_mark.line + 1
                raise BadYamlError(f"line {at}: the key `{key}` is there twice")
            mapping[key] = _value(value_node)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_value(item) for item in node.value]
    text = str(node.value)
    plain = getattr(node, "style", None) is None
    return None if plain and text in _NULLS else text
