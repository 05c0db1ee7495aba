"""`python -m fleet.chart.generate`: writes those files of the chart anew that other code decides.

`values.yaml` and `values.schema.json` come of the typed values, and `templates/definitions.yaml` of the contract.
"""

from __future__ import annotations

import json
import textwrap
from typing import Any

import msgspec
import yaml

from fleet.chart.files import FOLDER
from fleet.chart.values import ChartValues, as_json
from fleet.install.plan import RELEASE, server_objects
from fleet.topology.capabilities import Json

_APP_VERSION = "{{ .Chart.AppVersion }}"


def generated() -> dict[str, str]:
    """The files by their paths in the chart's folder."""
    return {
        "values.yaml": values_yaml(),
        "values.schema.json": f"{json.dumps(values_schema(), indent=2)}\n",
        "templates/definitions.yaml": _definitions(),
    }


def _definitions() -> str:
    """The definitions stay when a release goes, as devices do."""
    documents: list[str] = []
    for item in server_objects(""):
        if item["kind"] == "CustomResourceDefinition":
            item["metadata"]["annotations"] |= {RELEASE: _APP_VERSION, "helm.sh/resource-policy": "keep"}
            documents.append(yaml.safe_dump(item, sort_keys=False, width=120, allow_unicode=True))
    return "".join(["{{- if .Values.definitions }}\n", *(f"---\n{document}" for document in documents), "{{- end }}\n"])


def values_schema() -> Json:
    """What helm refuses values by: types, words and ranges. What needs a sentence is checked in the templates."""
    schema = msgspec.json.schema(ChartValues)
    groups: Json = {name: _without_titles(group) for name, group in schema["$defs"].items()}
    top = groups.pop(ChartValues.__name__)
    # A chart that has this one as a part hands its own down.
    top["properties"]["global"] = {"type": "object"}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **top, "$defs": groups}


def _without_titles(node: object) -> Any:  # noqa: ANN401 - any part of a schema
    if isinstance(node, dict):
        return {key: _without_titles(value) for key, value in node.items() if key != "title"}  # type: ignore[reportUnknownVariableType]
    return node


def values_yaml() -> str:
    """The default values, each with what it is for."""
    schema = values_schema()
    return "\n".join(_group(schema, schema["$defs"], as_json(ChartValues()), 0))


def _group(group: Json, groups: Json, defaults: Json, depth: int) -> list[str]:
    lines: list[str] = []
    indent = "  " * depth
    for name, about in group["properties"].items():
        if name == "global":
            continue
        lines += [f"{indent}# {line}" for line in _explained(about, groups)]
        value = defaults[name]
        if isinstance(value, dict):
            lines += [f"{indent}{name}:", *_group(_referred(about, groups), groups, value, depth + 1)]  # type: ignore[reportUnknownArgumentType]
        else:
            lines.append(f"{indent}{name}: {json.dumps(value)}")
        lines += [] if depth else [""]
    return lines


def _explained(about: Json, groups: Json) -> list[str]:
    words = _referred(about, groups).get("enum", about.get("enum"))
    comment = about["description"] + (f" One of: {', '.join(map(str, words))}." if words else "")
    return textwrap.wrap(comment, 110)


def _referred(about: Json, groups: Json) -> Json:
    """The group or the word list that a property refers to."""
    references = [about.get("$ref", ""), *(part.get("$ref", "") for part in about.get("anyOf", about.get("allOf", [])))]
    found = [groups[reference.rpartition("/")[2]] for reference in references if reference]
    return found[0] if found else {}


if __name__ == "__main__":
    for path, text in generated().items():
        (FOLDER / path).write_text(text, encoding="utf-8")
