#!/bin/bash
# Runs as root at every boot of every worker: mounts the shared storage and starts the trainer
# as a service, which starts it again after a preemption or a lost peer, up to a bound.
set -euo pipefail

if ! mountpoint -q /runs; then
  command -v mount.nfs >/dev/null || { apt-get update -q; apt-get install -yq nfs-common; }
  mkdir -p /runs
  mount -t nfs -o rw,hard,nolock {{NFS}} /runs
fi

registry=$(printf '%s' {{IMAGE}} | cut -d / -f 1)
case "$registry" in
  *-docker.pkg.dev | gcr.io | *.gcr.io) gcloud --quiet auth configure-docker "$registry" ;;
esac
docker pull {{IMAGE}}

cat >/etc/systemd/system/sagan.service <<'UNIT'
[Unit]
Description=sagan {{RUN_ID}}
StartLimitIntervalSec=30d
StartLimitBurst={{STARTS}}

[Service]
ExecStartPre=-/usr/bin/docker rm --force sagan
# Privileged: that is how a container reaches the chips of a TPU VM.
ExecStart=/usr/bin/docker run --rm --name sagan --privileged --net=host --volume /runs:/runs \
  --env JAX_COORDINATOR_PORT={{PORT}} --env JAX_COMPILATION_CACHE_DIR=/runs/.jax-cache \
  {{IMAGE}} {{ARGUMENTS}}
ExecStop=/usr/bin/docker stop --time {{GRACE}} sagan
TimeoutStopSec={{STOP}}
Restart=on-failure
# 1 crash, 2 config, 3 diverged, 4 no usable checkpoint: the same would only happen again.
RestartPreventExitStatus=1 2 3 4
RestartSec=10
UNIT

{{EVALUATOR}}
systemctl daemon-reload
systemctl start sagan.service
