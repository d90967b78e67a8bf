"""Manifests against the published schemas, and the rules between fields that no schema knows.

Schemas: JobSet's as pydantic models (PyPI `kubeflow-trainer-api`), Kubernetes' own as JSON
schemas (PyPI `kubernetes-validate`).
"""

import pytest

from sagan.config import ConfigError
from sagan.launch import RETRY_CODES, launch_folder
from sagan.launch.gke import hosts_per_slice, slice_chips

yaml = pytest.importorskip("yaml")

IMAGE = ["--image", "example.com/sagan:1"]
TRAINERS = {
    "tpu-one-host": [],
    "tpu-pod": ["--topology", "4x4x4", "--max-restarts", "9"],
    "tpu-slices": ["--topology", "2x2x2", "--slices", "4", "--spot"],
    "tpu-v5e": ["--accelerator", "tpu-v5-lite-podslice", "--topology", "4x8", "--privileged"],
    "gpu-one": ["--accelerator", "nvidia-l4", "--gpus-per-node", "1"],
    "gpu-nodes": ["--accelerator", "nvidia-h100-80gb", "--nodes", "4", "--spot"],
}
ODD = 'data.dir=/runs/it\'s "here": #1'  # what YAML could misread
each_trainer = pytest.mark.parametrize("name", TRAINERS)


@pytest.fixture
def manifests(plan):
    def make(*words):
        files = plan("gke", *IMAGE, *words, "big_one", ODD).files
        return [yaml.safe_load(text) for text in files.values()]

    return make


def _inner_job(jobset):
    (trainer,) = jobset["spec"]["replicatedJobs"]
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": trainer["name"]}}
    return job | {"spec": trainer["template"]["spec"]}


def _differences(given, known, where=""):
    """Lists what of `given` the model did not keep."""
    if isinstance(given, dict):
        for key, value in given.items():
            if key not in known:
                yield f"{where}.{key}"
            else:
                yield from _differences(value, known[key], f"{where}.{key}")
    elif isinstance(given, list):
        for i, (one, other) in enumerate(zip(given, known, strict=True)):
            yield from _differences(one, other, f"{where}[{i}]")
    elif given != known and str(given) != str(known):
        yield f"{where}: {given!r} became {known!r}"


@each_trainer
def test_jobset_fits_its_schema_and_loses_no_key(name, manifests):
    models = pytest.importorskip("kubeflow_trainer_api.models")
    (jobset,) = manifests(*TRAINERS[name])
    assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    spec = models.JobsetV1alpha2JobSetSpec.from_dict(jobset["spec"])
    assert list(_differences(jobset["spec"], spec.to_dict())) == []


def test_the_comparison_sees_a_key_the_model_dropped(manifests):
    models = pytest.importorskip("kubeflow_trainer_api.models")
    (jobset,) = manifests()
    jobset["spec"]["failurePolicy"]["maxRestart"] = 3
    spec = models.JobsetV1alpha2JobSetSpec.from_dict(jobset["spec"])
    assert list(_differences(jobset["spec"], spec.to_dict())) == [".failurePolicy.maxRestart"]


@each_trainer
def test_inner_job_fits_kubernetes_strictly(name, manifests):
    validate = pytest.importorskip("kubernetes_validate")
    (jobset,) = manifests(*TRAINERS[name])
    validate.validate(_inner_job(jobset), validate.latest_version(), strict=True)


@pytest.mark.parametrize("evaluator", ["nvidia-l4:1", "nvidia-l4", "tpu-v5-lite-podslice:2x2"])
def test_evaluator_fits_kubernetes_strictly(evaluator, manifests):
    validate = pytest.importorskip("kubernetes_validate")
    trainer, job = manifests("--evaluator", evaluator)
    validate.validate(job, validate.latest_version(), strict=True)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["evaluator", "/runs/big-one"]
    assert job["metadata"]["name"] != trainer["metadata"]["name"]
    limits = container["resources"]["limits"]
    assert limits == {"google.com/tpu": 4} if "tpu" in evaluator else {"nvidia.com/gpu": 1}


def test_storage_claim_of_the_setup_fits_kubernetes():
    validate = pytest.importorskip("kubernetes_validate")
    claim, *queues = yaml.safe_load_all((launch_folder() / "gke/setup.yaml").read_text())
    validate.validate(claim, validate.latest_version(), strict=True)
    names = {q["kind"]: q["metadata"]["name"] for q in queues}
    assert names == {"ResourceFlavor": "any", "ClusterQueue": "sagan", "LocalQueue": "sagan"}


@each_trainer
def test_rules_across_fields(name, manifests):
    (jobset,) = manifests(*TRAINERS[name])
    spec, job = jobset["spec"], _inner_job(jobset)["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]

    # One pod per host, all at once, each with a rank of its own.
    assert job["parallelism"] == job["completions"]
    assert job["completionMode"] == "Indexed"
    # The gang restarts as a whole: never a pod, never a single job, only the set.
    assert job["backoffLimit"] == 0
    assert pod["restartPolicy"] == "Never"  # podFailurePolicy is refused with any other
    assert spec["failurePolicy"]["maxRestarts"] == (9 if name == "tpu-pod" else 50)
    # A code outside the retry codes fails the job by policy, and that fails the set.
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob"
    assert rule["onExitCodes"]["containerName"] == container["name"]
    assert rule["onExitCodes"]["operator"] == "NotIn"
    values = rule["onExitCodes"]["values"]
    assert values == [42, *range(127, 256)] == list(RETRY_CODES)
    assert len(values) <= 255 and values == sorted(set(values))  # the API's limits
    (set_rule,) = spec["failurePolicy"]["rules"]
    assert set_rule["action"] == "FailJobSet"
    assert set_rule["onJobFailureReasons"] == ["PodFailurePolicy"]

    # The host's network needs the cluster's names, and host ports equal to container ports.
    assert pod["hostNetwork"] is True and pod["dnsPolicy"] == "ClusterFirstWithHostNet"
    assert all(p["hostPort"] == p["containerPort"] for p in container["ports"])
    assert spec["network"]["enableDNSHostnames"] is True

    resources = container["resources"]
    assert resources["requests"] == resources["limits"]
    mounts = {m["name"] for m in container["volumeMounts"]}
    assert mounts == {v["name"] for v in pod["volumes"]}
    assert pod["terminationGracePeriodSeconds"] >= 30
    assert jobset["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "sagan"
    assert pod["automountServiceAccountToken"] is False

    # What was typed arrives as typed.
    assert container["args"] == ["train", "big_one", ODD, "--workdir", "/runs/big-one"]
    # Kubernetes would replace $(NAME) and refuse names over 63 characters of pods' hosts.
    assert len(f"{jobset['metadata']['name']}-trainer-999-9999-abcde") <= 63


@pytest.mark.parametrize("name", [n for n in TRAINERS if n.startswith("tpu")])
def test_tpu_slices_match_their_hosts(name, manifests):
    (jobset,) = manifests(*TRAINERS[name])
    (replicated,) = jobset["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    selector = pod["nodeSelector"]
    kind = selector["cloud.google.com/gke-tpu-accelerator"]
    topology = selector["cloud.google.com/gke-tpu-topology"]
    chips = container["resources"]["limits"]["google.com/tpu"]
    assert chips == 4
    assert job["parallelism"] * chips == slice_chips(kind, topology)
    assert replicated["replicas"] == (4 if name == "tpu-slices" else 1)
    exclusive = "alpha.jobset.sigs.k8s.io/exclusive-topology"
    assert jobset["metadata"]["annotations"][exclusive] == "cloud.google.com/gke-nodepool"
    environment = {e["name"]: e.get("value") for e in container["env"]}
    assert environment["JAX_COORDINATOR_PORT"] == str(container["ports"][0]["containerPort"])
    assert not any(key.startswith("SAGAN_") for key in environment)  # jax finds slices itself
    assert container["securityContext"]["privileged"] is (name == "tpu-v5e")
    assert ("cloud.google.com/gke-spot" in selector) is (name == "tpu-slices")


@pytest.mark.parametrize("name", [n for n in TRAINERS if n.startswith("gpu")])
def test_gpu_ranks_find_each_other(name, manifests):
    (jobset,) = manifests(*TRAINERS[name])
    (replicated,) = jobset["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    environment = {e["name"]: e for e in container["env"]}
    # <jobset>-<job>-<replica>-<index>.<subdomain>, the subdomain being the JobSet's name.
    port = container["ports"][0]["containerPort"]
    expected = f"big-one-{replicated['name']}-0-0.big-one:{port}"
    assert environment["SAGAN_COORDINATOR"]["value"] == expected
    assert environment["SAGAN_NUM_PROCESSES"]["value"] == str(job["completions"])
    rank = environment["SAGAN_PROCESS_ID"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert rank == "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    assert replicated["replicas"] == 1  # ranks count within one job
    security = container["securityContext"]
    assert security["privileged"] is False and security["allowPrivilegeEscalation"] is False
    assert container["resources"]["limits"]["nvidia.com/gpu"] == (1 if name == "gpu-one" else 8)


@pytest.mark.parametrize(
    "kind, topology, chips, hosts",
    [  # cloud.google.com/tpu/docs/v4, v5p, v5e: configurations
        ("tpu-v4-podslice", "2x2x1", 4, 1),
        ("tpu-v4-podslice", "2x2x2", 8, 2),
        ("tpu-v4-podslice", "2x2x4", 16, 4),
        ("tpu-v4-podslice", "2x4x4", 32, 8),
        ("tpu-v4-podslice", "4x4x4", 64, 16),
        ("tpu-v5p-slice", "4x4x8", 128, 32),
        ("tpu-v5-lite-podslice", "1x1", 1, 1),
        ("tpu-v5-lite-podslice", "2x4", 8, 2),
        ("tpu-v6e-slice", "8x16", 128, 32),
    ],
)
def test_hosts_of_published_topologies(kind, topology, chips, hosts):
    assert (slice_chips(kind, topology), hosts_per_slice(kind, topology)) == (chips, hosts)


def test_kubernetes_expands_nothing_in_what_was_typed(plan):
    (text,) = plan("gke", *IMAGE, "big_one", "data.dir=$(HOME)/x").files.values()
    # $$( is how the API is told a plain $(.
    assert '"data.dir=$$(HOME)/x"' in text


def test_topologies_that_do_not_exist_are_refused():
    for topology in ("", "4", "0x4x4", "2x2x3", "x2x2", "2x2x2x2"):
        with pytest.raises(ConfigError, match="allowed"):
            slice_chips("tpu-v4-podslice", topology)


def test_a_second_launch_is_refused_by_the_cluster_unless_it_replaces(plan):
    verbs = [command[1] for command in plan("gke", *IMAGE, "--evaluator", "nvidia-l4").commands]
    assert verbs == ["create", "create"]
    verbs = [command[1] for command in plan("gke", *IMAGE, "--replace").commands]
    assert verbs == ["delete", "create"]


def test_sky_task_is_what_skypilot_reads(plan):
    words = ["sky", *IMAGE, "--bucket", "gs://some-runs", "--nodes", "2", "--spot", "--evaluator"]
    texts = plan(*words, "big_one", ODD).files.values()
    for text, nodes in zip(texts, (2, 1), strict=True):
        task = yaml.safe_load(text)
        fields = {"name", "num_nodes", "resources", "envs", "file_mounts", "run"}
        assert set(task) == fields and task["num_nodes"] == nodes
        assert task["resources"]["use_spot"] is True
        assert task["resources"]["job_recovery"]["recover_on_exit_codes"] == [42]
        assert task["file_mounts"]["/runs"] == {"source": "gs://some-runs", "mode": "MOUNT"}
        assert task["run"].startswith("exec ")


def test_sky_parses_its_task(plan, tmp_path):
    sky = pytest.importorskip("sky")
    words = ["sky", *IMAGE, "--bucket", "gs://some-runs", "--nodes", "2"]
    (text,) = plan(*words, "big_one", ODD).files.values()
    path = tmp_path / "task.yaml"
    path.write_text(text)
    task = sky.Task.from_yaml(str(path))
    assert task.num_nodes == 2 and ODD.split("=")[0] in task.run
