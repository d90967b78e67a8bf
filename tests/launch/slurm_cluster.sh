#!/bin/bash
# A Slurm cluster of two virtual nodes on this machine, for tests.
#
#   slurm_cluster.sh start DIR     starts it; then SLURM_CONF=DIR/slurm.conf is all clients need
#   slurm_cluster.sh stop DIR      ends its jobs, and what start started by process id
#
# Needs root and the Debian packages slurm-wlm and munge. Everything is kept in DIR, which must
# not lie under a folder that other users cannot enter: munged runs as its own user.
set -euo pipefail

folder=$2
socket=$folder/munge/socket

start() {
  local host
  host=$(hostname -s)
  mkdir -p "$folder"/{munge,state,"spool-$host","spool-$host-b",log}
  chmod 755 "$folder" "$folder/munge"
  head -c 1024 /dev/urandom >"$folder/munge/key"
  chmod 600 "$folder/munge/key"
  chown -R munge: "$folder/munge"
  setpriv --reuid=munge --regid=munge --clear-groups munged --foreground \
    --socket="$socket" --key-file="$folder/munge/key" --log-file="$folder/munge/log" \
    --pid-file="$folder/munge/pid" --seed-file="$folder/munge/seed" &
  remember
  wait_for test -S "$socket"

  local port
  port=$((20000 + RANDOM % 10000))
  # jax looks up the first node's name, so that one is this machine's own.
  cat >"$folder/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# A requeued job waits until its old credential has expired: not 2 minutes here.
AuthInfo=socket=$socket,cred_expire=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool-%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd-%n.pid
SlurmctldLogFile=$folder/log/slurmctld
SlurmdLogFile=$folder/log/slurmd-%n
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SelectType=select/cons_tres
ReturnToService=2
MpiDefault=none
KillWait=10
FirstJobId=$((RANDOM % 4000 + 1))
SlurmdParameters=config_overrides
NodeName=$host NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=2 RealMemory=4000
NodeName=$host-b NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=2 RealMemory=4000
PartitionName=main Nodes=ALL Default=YES MaxTime=60 State=UP
CONF
  export SLURM_CONF=$folder/slurm.conf
  slurmctld -D -c &
  remember
  local node
  for node in "$host" "$host-b"; do
    slurmd -D -N "$node" &
    remember
  done
  wait_for both_idle
}

# Notes the process just started, with its start time: ids are used again.
remember() {
  echo "$! $(started $!)" >>"$folder/pids"
}

started() {
  sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20
}

both_idle() {
  [ "$(timeout 5 sinfo --noheader --Node --states=idle --format=%N 2>/dev/null | wc -l)" = 2 ]
}

wait_for() {
  local i
  for ((i = 0; i < 100; i++)); do
    if "$@"; then return; fi
    if [ "$(jobs -r | wc -l)" -lt "$(wc -l <"$folder/pids")" ]; then break; fi
    sleep 0.2
  done
  echo "slurm_cluster.sh: gave up waiting for: $*; or a daemon ended" >&2
  stop
  exit 1
}

stop() {
  [ -e "$folder/pids" ] || return 0
  export SLURM_CONF=$folder/slurm.conf
  timeout 10 scancel --full --signal=KILL --user="$(id -un)" || true
  timeout 10 scancel --user="$(id -un)" || true
  local i
  for ((i = 0; i < 50; i++)); do
    [ -n "$(timeout 5 squeue --noheader --states=running,completing)" ] || break
    sleep 0.2
  done
  local pid birth signal
  for signal in TERM KILL; do
    while read -r pid birth; do
      if [ "$(started "$pid")" = "$birth" ]; then kill -"$signal" "$pid" || true; fi
    done < <(tac "$folder/pids")
    sleep 1
  done
  rm "$folder/pids"
}

case "$1" in
  start) start </dev/null >"$folder.log" 2>&1 ;;
  stop) stop ;;
  *) exit 2 ;;
esac
