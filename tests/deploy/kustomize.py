"""Renders our Kustomize folders, with as much of Kustomize as they use and an error for the rest."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

Document = dict[str, Any]
KNOWN = {"apiVersion", "kind", "resources", "components", "configMapGenerator", "generatorOptions", "patches"}


def render(folder: Path) -> list[Document]:
    """All documents that `kubectl apply -k` of this folder would send."""
    said = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert said["kind"] == "Kustomization"
    found: list[Document] = []
    _apply(folder, said, found)
    names = [(document["kind"], document["metadata"]["name"]) for document in found]
    assert len(set(names)) == len(names)
    return found


def _apply(folder: Path, said: Document, found: list[Document]) -> None:
    unknown = said.keys() - KNOWN
    assert not unknown, f"the reader does not know {unknown}"
    for name in said.get("resources", []):
        path = folder / name
        if path.is_dir():
            found += render(path)
        else:
            found += [document for document in yaml.safe_load_all(path.read_text()) if document]
    options = said.get("generatorOptions", {})
    for entry in said.get("configMapGenerator", []):
        assert (options | entry.get("options", {}))["disableNameSuffixHash"] is True
        _generate(folder, entry, found)
    for name in said.get("components", []):
        inner = yaml.safe_load((folder / name / "kustomization.yaml").read_text())
        assert inner["kind"] == "Component"
        _apply(folder / name, inner, found)
    for patch in said.get("patches", []):
        target = patch["target"]
        hit = [
            document
            for document in found
            if (document["kind"], document["metadata"]["name"]) == (target["kind"], target["name"])
        ]
        assert len(hit) == 1, f"{target} is not there"
        for step in yaml.safe_load(patch["patch"]):
            _add(hit[0], step)


def _generate(folder: Path, entry: Document, found: list[Document]) -> None:
    data = {name: (folder / name).read_text() for name in entry["files"]}
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": entry["name"]}, "data": data}
    there = [
        document
        for document in found
        if document["kind"] == "ConfigMap" and document["metadata"]["name"] == entry["name"]
    ]
    assert entry.get("behavior", "create") == ("replace" if there else "create")
    if there:
        found.remove(there[0])
    found.append(made)


def _add(document: Document, step: Document) -> None:
    """One step of RFC 6902; all of ours add to lists."""
    assert step["op"] == "add"
    *way, last = step["path"].strip("/").split("/")
    place: Any = document
    for part in way:
        place = place[int(part)] if isinstance(place, list) else place[part]
    assert isinstance(place, list)
    place.insert(len(place) if last == "-" else int(last), copy.deepcopy(step["value"]))
