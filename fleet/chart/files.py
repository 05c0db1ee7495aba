"""The chart as files: its description, values, schema and templates; and as the one file that registries keep."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import textwrap
from typing import Any

import msgspec

from fleet.chart.templates import templates
from fleet.chart.values import ChartValues, as_json
from fleet.topology.capabilities import Json
from fleet.version import VERSION

NAME = "fleet"
CHART_VERSION = VERSION.removeprefix("v")
"""Charts have semantic versions without our "v"."""

_NOTES = """\
Fleet {{ .Chart.AppVersion }} in namespace {{ .Release.Namespace }}.
Devices reach it at {{ .Values.nats.host }}:{{ include "fleet.natsPort" . }}.

  fleet server status --namespace {{ .Release.Namespace }}
  fleet device enroll --help
"""
_ORDER = ("apiVersion", "name", "version", "appVersion", "description", "type", "kubeVersion")


def chart_files() -> dict[str, str]:
    """Every file of the chart by its path in the chart's folder."""
    about = {
        "apiVersion": "v2",
        "name": NAME,
        "version": CHART_VERSION,
        "appVersion": str(VERSION),
        "description": "Containers on fleets of small Linux devices",
        "type": "application",
        # The oldest with the fields that the pods use; pre-releases are what hosted clusters call theirs.
        "kubeVersion": ">=1.27.0-0",
    }
    return {
        "Chart.yaml": "".join(f"{name}: {json.dumps(about[name])}\n" for name in _ORDER),
        "values.yaml": values_yaml(),
        "values.schema.json": f"{json.dumps(values_schema(), indent=2)}\n",
        "templates/NOTES.txt": _NOTES,
        **{f"templates/{name}": text for name, text in sorted(templates().items())},
    }


def package() -> bytes:
    """The chart as registries keep it: the same bytes every time."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path, text in chart_files().items():
            entry = tarfile.TarInfo(f"{NAME}/{path}")
            content = text.encode()
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(tar.getvalue(), mtime=0)


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
    told = about["description"] + (f" One of: {', '.join(map(str, words))}." if words else "")
    return textwrap.wrap(told, 110)


def _referred(about: Json, groups: Json) -> Json:
    """The group or the word list that a property refers to."""
    references = [about.get("$ref", ""), *(part.get("$ref", "") for part in about.get("anyOf", about.get("allOf", [])))]
    found = [groups[reference.rpartition("/")[2]] for reference in references if reference]
    return found[0] if found else {}
