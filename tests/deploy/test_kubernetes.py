"""The Kubernetes manifests: every rendered document fits its schema, and what is said to be closed is closed."""

from __future__ import annotations

import ipaddress
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from nymgate.access.plan import refuse_exposure
from nymgate.config_layers import load
from tests.deploy.kustomize import render

FOLDER = Path(__file__).parents[2] / "deploy/kubernetes"
OVERLAYS = sorted(path.parent.name for path in FOLDER.glob("overlays/*/kustomization.yaml"))
NYMGATE_USER = 65532


@pytest.fixture(params=OVERLAYS)
def documents(request):
    return render(FOLDER / "overlays" / request.param)


def one(documents, kind, name):
    (found,) = [d for d in documents if (d["kind"], d["metadata"]["name"]) == (kind, name)]
    return found


def pods(documents):
    """(name, template) of everything that makes pods."""
    found = [
        (d["metadata"]["name"], d["spec"]["template"]) for d in documents if "template" in d.get("spec", {})
    ]
    assert found
    return found


def containers(template):
    return template["spec"].get("initContainers", []) + template["spec"]["containers"]


def test_the_arrangements_are_there():
    assert OVERLAYS == ["fleet", "sidecar", "sidecar-fenced"]


def test_every_document_fits_its_schema(documents, tmp_path):
    """As the newest Kubernetes has it, and as the oldest with sidecars does; unknown fields are errors."""
    path = tmp_path / "all.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    for version in ("1.29", "1.37"):
        words = [sys.executable, "-m", "kubernetes_validate"]
        said = subprocess.run(
            [*words, "--strict", "-k", version, str(path)], capture_output=True, text=True, check=False
        )
        assert said.returncode == 0, said.stdout + said.stderr


def test_a_wrong_document_would_be_found_out(tmp_path):
    wrong = one(render(FOLDER / "overlays/sidecar"), "Deployment", "app")
    wrong["spec"]["template"]["spec"]["initContainers"][0]["restartPolicies"] = "Always"
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(wrong))
    words = [sys.executable, "-m", "kubernetes_validate", "--strict", str(path)]
    said = subprocess.run(words, capture_output=True, text=True, check=False)
    assert said.returncode != 0
    assert "restartPolicies" in said.stdout + said.stderr


def test_nobody_is_root_and_nobody_can_become_it(documents):
    for _name, template in pods(documents):
        pod = template["spec"]["securityContext"]
        assert pod["runAsNonRoot"] is True
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
        assert template["spec"]["automountServiceAccountToken"] is False
        for container in containers(template):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"]["drop"] == ["ALL"]
            user = context.get("runAsUser", pod.get("runAsUser"))
            if container["name"] == "fence":
                assert container.get("restartPolicy") is None, "it ends before anything else starts"
                assert (user, context["capabilities"]["add"]) == (0, ["NET_ADMIN"])
            else:
                assert "add" not in context["capabilities"]
                assert user > 0
                assert (user == NYMGATE_USER) == (container["name"] == "nymgate")


def test_all_images_are_pinned(documents):
    for _name, template in pods(documents):
        for container in containers(template):
            assert re.fullmatch(
                r"nymgate:\d+\.\d+\.\d+|docker\.io/[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", container["image"]
            )


def test_our_image_has_the_version_of_the_project(documents):
    version = tomllib.loads((FOLDER.parents[1] / "pyproject.toml").read_text())["project"]["version"]
    ours = {
        c["image"] for _name, t in pods(documents) for c in containers(t) if c["image"].startswith("nymgate:")
    }
    assert ours == {f"nymgate:{version}"}


def test_what_is_mounted_exists(documents):
    made = {d["metadata"]["name"] for d in documents if d["kind"] == "ConfigMap"}
    claims = {d["metadata"]["name"] for d in documents if d["kind"] == "PersistentVolumeClaim"}
    templates = {
        t["metadata"]["name"] for d in documents for t in d.get("spec", {}).get("volumeClaimTemplates", [])
    }
    for _name, template in pods(documents):
        volumes = {volume["name"]: volume for volume in template["spec"].get("volumes", [])}
        for container in containers(template):
            for mount in container.get("volumeMounts", []):
                assert mount["name"] in volumes.keys() | templates
        for volume in volumes.values():
            if "configMap" in volume:
                assert volume["configMap"]["name"] in made
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims


def test_selectors_meet_their_pods(documents):
    labels = {name: template["metadata"]["labels"] for name, template in pods(documents)}
    for document in documents:
        spec = document.get("spec", {})
        if "template" in spec:
            assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
        if document["kind"] == "Service":
            assert any(spec["selector"].items() <= found.items() for found in labels.values())
        if document["kind"] == "NetworkPolicy":
            assert any(
                spec["podSelector"]["matchLabels"].items() <= found.items() for found in labels.values()
            )


def test_proxies_take_their_configuration(documents, tmp_path):
    """The file and the environment of each container of nymgate are read without an error."""
    (text,) = one(documents, "ConfigMap", "nymgate")["data"].values()
    (tmp_path / "nymgate.toml").write_text(text)
    contents = {
        "phrase": "word " * 24,
        "store-url": "postgresql+asyncpg://nymgate:secret@nymgate-postgres/nymgate",
        "store-key": "ab" * 32,
    }
    seen = 0
    for _name, template in pods(documents):
        for container in containers(template):
            if container["name"] != "nymgate":
                continue
            environment = {entry["name"]: entry["value"] for entry in container["env"]}
            assert environment.pop("NYMGATE_CONFIG") == "/etc/nymgate/nymgate.toml"
            for variable, value in environment.items():
                assert variable.endswith("_FILE"), "what is secret comes as a file"
                path = tmp_path / Path(value).name
                path.write_text(contents[path.name])
                environment[variable] = str(path)
            environment["NYMGATE_CONFIG"] = str(tmp_path / "nymgate.toml")
            environment["NYMGATE_SERVICE_HOST"] = (
                "10.0.0.1"  # set in every pod of a namespace with the service
            )
            config = load(environ=environment).config
            refuse_exposure(config)
            assert config.listen.mixed
            assert config.budget.per_day
            seen += 1
    assert seen == 1


def policies(documents, role):
    """Policies of egress for pods with that role."""
    return [
        d["spec"]
        for d in documents
        if d["kind"] == "NetworkPolicy"
        and d["spec"]["podSelector"]["matchLabels"].get("nymgate/role") == role
        and "Egress" in d["spec"]["policyTypes"]
    ]


def test_pods_with_the_proxy_reach_gateways_and_name_servers_and_nothing_private(documents):
    (policy,) = policies(documents, "proxy")
    servers, world = policy["egress"]
    assert {port["port"] for port in servers["ports"]} == {53}
    assert all("namespaceSelector" in to and "podSelector" in to for to in servers["to"])
    assert {(port["protocol"], port["port"]) for port in world["ports"]} == {
        ("TCP", 443),
        ("TCP", 9000),
        ("TCP", 9001),
    }
    for to in world["to"]:
        block = to["ipBlock"]
        network = ipaddress.ip_network(block["cidr"])
        exceptions = [ipaddress.ip_network(text) for text in block["except"]]
        assert all(exception.subnet_of(network) for exception in exceptions)
        private = (
            ("10.1.2.3", "172.20.0.1", "192.168.1.1", "169.254.169.254", "100.100.0.1")
            if network.version == 4
            else ("fd00::1", "fe80::1")
        )
        for text in private:
            assert any(ipaddress.ip_address(text) in exception for exception in exceptions)


def test_the_sidecar_is_a_native_one_and_asks_itself_for_its_health():
    for overlay in ("sidecar", "sidecar-fenced"):
        deployment = one(render(FOLDER / "overlays" / overlay), "Deployment", "app")
        (sidecar,) = [
            c for c in deployment["spec"]["template"]["spec"]["initContainers"] if c["name"] == "nymgate"
        ]
        assert sidecar["restartPolicy"] == "Always"
        for probe in ("startupProbe", "readinessProbe"):
            assert sidecar[probe]["exec"]["command"] == ["nymgate", "healthcheck"]
        assert deployment["spec"]["strategy"] == {"type": "Recreate"}, "two pods must not share a data folder"


def test_the_fence_comes_first():
    deployment = one(render(FOLDER / "overlays/sidecar-fenced"), "Deployment", "app")
    names = [c["name"] for c in deployment["spec"]["template"]["spec"]["initContainers"]]
    assert names == ["fence", "nymgate"]
    fence = deployment["spec"]["template"]["spec"]["initContainers"][0]
    assert fence["command"] == ["python", "/fence/fence.py", str(NYMGATE_USER)]


def test_clients_of_the_fleet_reach_the_proxy_and_nothing_else():
    documents = render(FOLDER / "overlays/fleet")
    (policy,) = policies(documents, "client")
    (rule,) = policy["egress"]
    assert rule["to"] == [{"podSelector": {"matchLabels": {"nymgate/role": "proxy"}}}]
    assert rule["ports"] == [{"protocol": "TCP", "port": 1080}]
    labels = one(documents, "Deployment", "app")["spec"]["template"]["metadata"]["labels"]
    selecting = [
        d["spec"]
        for d in documents
        if d["kind"] == "NetworkPolicy"
        and "Egress" in d["spec"]["policyTypes"]
        and d["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    ]
    assert selecting == [policy], "policies add up: another one would open another way"


def test_the_proxies_of_the_fleet_are_reached_by_clients_and_their_metrics_by_monitoring():
    documents = render(FOLDER / "overlays/fleet")
    spec = one(documents, "NetworkPolicy", "nymgate-proxy-from-clients")["spec"]
    assert spec["policyTypes"] == ["Ingress"]
    doors = {port["port"]: rule["from"] for rule in spec["ingress"] for port in rule["ports"]}
    assert doors == {
        1080: [{"podSelector": {"matchLabels": {"nymgate/role": "client"}}}],
        9470: [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
    }
    (container,) = one(documents, "StatefulSet", "nymgate")["spec"]["template"]["spec"]["containers"]
    assert {port["containerPort"] for port in container["ports"]} == doors.keys()


def test_the_fleet_shares_a_store_and_nothing_of_an_identity():
    documents = render(FOLDER / "overlays/fleet")
    fleet = one(documents, "StatefulSet", "nymgate")["spec"]
    assert fleet["replicas"] > 1
    (claim,) = fleet["volumeClaimTemplates"]
    (container,) = fleet["template"]["spec"]["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert mounts["/data"] == claim["metadata"]["name"], "a folder of its own for each"
    assert "NYMGATE_STORE__URL_FILE" in {entry["name"] for entry in container["env"]}
